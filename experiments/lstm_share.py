"""What the LSTM itself adds to the Forecaster: `python experiments/lstm_share.py`.

A forecast is a naive one, corrected by a linear model, corrected by an LSTM (tasks/horizon.py).
Here the same trained networks forecast twice from every row of the last part: as they are, and with
the LSTM's weights in the answer (its head) set to zero. Data and split as in forecasts.py.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import lstmkit as lk
from lstmkit import datasets

LEVELS = (0.1, 0.5, 0.9)


def shares(name: str, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the measures with the LSTM and without it."""
    table = datasets.load_airline() if name == "airline" else datasets.load_sunspots()
    rows = len(table["month"])
    learned, context = (96, 24) if name == "airline" else (int(0.7 * rows), 132)
    model = lk.Forecaster(context, 12, quantiles=LEVELS, random_state=seed)
    model.fit({column: values[:learned] for column, values in table.items()})
    origins = rows - learned - 12 + 1
    whole = model.evaluate(table, origins=origins, stride=1).table["LSTM"]
    for network in model.model_.networks_:
        network.head.parameters["weight"][...] = 0
    return whole, model.evaluate(table, origins=origins, stride=1).table["LSTM"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("airline", "sunspots"), help="one data set")
    options = parser.parse_args()
    for name in ("airline", "sunspots"):
        if options.only not in (None, name):
            continue
        begun = time.process_time()
        found = [shares(name, seed) for seed in range(options.seeds)]
        print(f"\n{name}\n| network | MASE | coverage |\n| --- | --- | --- |")
        for k, words in enumerate(("with its LSTM", "without")):
            mase, covered = ([run[k][head] for run in found] for head in ("MASE", "coverage"))
            spread = f"({min(mase):.3f} to {max(mase):.3f})"
            print(f"| {words} | {np.median(mase):.3f} {spread} | {np.median(covered):.3f} |")
        print(f"{options.seeds} seeds; {time.process_time() - begun:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
