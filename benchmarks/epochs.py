"""An epoch of training beside PyTorch: `python benchmarks/epochs.py` (needs torch).

The work of the estimators in `lstmkit.tasks` at the sizes of small real tasks, with everything that
an epoch has: batches, forward, loss, backward, clipping at a norm of 1, Adam. Both train the same
network on the same batches in the same order. Before anything is timed, both do an epoch from the
same weights, and the weights that come out are compared.

lstmkit runs `training.train` as `fit` does and cuts its batches anew in every epoch. PyTorch enters
with several configurations, of which the fastest is timed: packed or (where that gives the same
numbers) padded batches, Adam fused or over lists, one thread or more. Its batches are made, and
packed, before the clock starts. Both are timed in turn, in runs of twenty epochs; the ratio of a
row is the median over pairs. With ``--processor-time`` the time is the processors', for a machine
that others use too; then threads that wait by spinning count as well, so give it ``--threads 1``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import timing
import torch
from grid import Contender
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lstmkit as lk
from lstmkit import losses, optimizers, training
from lstmkit.tasks.network import Network, SequenceBatches

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LSTMKIT_NUM_THREADS")
"""Libraries read these as they are imported: `main` sets them, and begins anew."""
RATE, CLIP, BOUND = 1e-3, 1.0, 1.5
EPOCHS = 20  # of a run that is timed
TOLERANCE = 1e-2
"""Of the largest change of each array; a wrong gate order or a missing term gives about 1. Adam
divides by the gradient's size, so that where a gradient is near 0 its rounding is seen; and PyTorch
clips at norm + 1e-6."""


class Work(NamedTuple):
    """A network and what it learns: ``shortest`` to ``longest`` steps, all lengths as likely."""

    name: str
    count: int
    shortest: int
    longest: int
    features: int
    outputs: int
    labels: bool
    batch: int
    hidden: int = 64
    bidirectional: bool = False
    pooling: str = "last"


# JapaneseVowels: 270 utterances of 7 to 26 steps. Airline passengers: of 144 months, the windows
# that lie in the first nine years; 15 features with the calendar's and others.
WORKS = (
    Work("JapaneseVowels", 270, 7, 26, 12, 9, True, 32),
    Work("JapaneseVowels, both directions, mean", 270, 7, 26, 12, 9, True, 32, 64, True, "mean"),
    Work("airline, 24 steps of 1", 73, 24, 24, 1, 12, False, 16),
    Work("airline, 24 steps of 15", 73, 24, 24, 15, 12, False, 16),
    Work("airline, 36 steps of 1", 61, 36, 36, 1, 12, False, 32),
    Work("airline, 36 steps of 15", 61, 36, 36, 15, 12, False, 32),
)


class Problem:
    """The numbers of one row, and both contenders' first weights."""

    def __init__(self, work: Work) -> None:
        self.work = work
        rng = np.random.default_rng(0)
        self.lengths = rng.integers(work.shortest, work.longest + 1, work.count)
        tokens = int(self.lengths.sum())
        self.values = rng.standard_normal((tokens, work.features), np.float32)
        if work.labels:
            self.targets = rng.integers(0, work.outputs, work.count)
        else:
            self.targets = rng.standard_normal((work.count, work.outputs), np.float32)

    def network(self) -> Network:
        work = self.work
        lstm = lk.LSTM(work.features, work.hidden, bidirectional=work.bidirectional, seed=1)
        head = lk.Linear(lstm.output_size, work.outputs, seed=2)
        return Network(lstm, head, work.pooling, 0.0)

    def batches(self) -> SequenceBatches:
        return SequenceBatches(
            self.values,
            self.lengths,
            self.targets,
            steps=False,
            batch_size=self.work.batch,
            seed=3,
        )


def lstmkit_run(problem: Problem, epochs: int) -> tuple[Callable[[], None], Network]:
    network, batches = problem.network(), problem.batches()
    loss = losses.cross_entropy if problem.work.labels else losses.mean_squared_error

    def run() -> None:
        training.train(
            network,
            batches,
            loss,
            optimizer=optimizers.adamw(weight_decay=0.0),
            learning_rate=RATE,
            steps=epochs * batches.steps_per_epoch,
            report_every=batches.steps_per_epoch,
            clip_norm=CLIP,
        )

    return run, network


class Torch(torch.nn.Module):
    """The same network; of PyTorch's two biases the second is zero at first."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        work, ours = problem.work, problem.network()
        self.pooling = work.pooling
        self.lstm = torch.nn.LSTM(
            work.features, work.hidden, bidirectional=work.bidirectional, batch_first=True
        )
        self.head = torch.nn.Linear(ours.lstm.output_size, work.outputs)
        with torch.no_grad():
            for name, tensor in self.named_parameters():
                layer, _, short = name.partition(".")
                if short.startswith("bias_hh"):
                    tensor.zero_()
                    tensor.requires_grad_(False)
                    continue
                tensor.copy_(
                    torch.from_numpy(ours.parameters[f"{layer}.{short.replace('_ih_', '_')}"])
                    if short.startswith("bias_ih")
                    else torch.from_numpy(ours.parameters[name])
                )

    def forward(self, x: object, lengths: torch.Tensor | None) -> torch.Tensor:
        y, (h, _) = self.lstm(x)
        if self.pooling == "last":
            if lengths is not None and isinstance(y, torch.Tensor):  # padded: one direction
                pooled = y[torch.arange(len(lengths)), lengths - 1]
            else:
                pooled = h.transpose(0, 1).flatten(1)
        elif isinstance(y, torch.Tensor):
            pooled = y.mean(dim=1)
        else:
            y, lengths = pad_packed_sequence(y, batch_first=True)
            pooled = y.sum(dim=1) / lengths[:, None]
        return self.head(pooled)

    def weights(self) -> dict[str, np.ndarray]:
        """By lstmkit's names."""
        return {
            name.replace("bias_ih_", "bias_"): tensor.detach().numpy().copy()
            for name, tensor in self.named_parameters()
            if "bias_hh" not in name
        }


def torch_run(
    problem: Problem, epochs: int, packed: bool, fused: bool
) -> tuple[Callable[[], None], Torch]:
    network, ours = Torch(problem), problem.batches()
    learned = [tensor for tensor in network.parameters() if tensor.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=RATE, fused=fused, foreach=not fused)
    loss = functional.cross_entropy if problem.work.labels else functional.mse_loss
    batches = []
    for position in range(ours.steps_per_epoch):
        batch = ours.batch(position)
        x, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        lengths = None
        if batch.lengths is not None:
            lengths = torch.from_numpy(batch.lengths)
            if packed:
                order = torch.argsort(lengths, descending=True, stable=True)
                x = pack_padded_sequence(x[order], lengths[order], batch_first=True)
                targets = targets[order]
        batches.append((x, lengths, targets))

    def run() -> None:
        for x, lengths, targets in batches * epochs:
            optimizer.zero_grad()
            loss(network(x, lengths), targets).backward()
            torch.nn.utils.clip_grad_norm_(learned, CLIP)
            optimizer.step()

    return run, network


@contextmanager
def held(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def contenders(problem: Problem, epochs: int, most: int) -> list[Contender]:
    work = problem.work
    ragged = work.shortest < work.longest
    ways = [True] if ragged else [False]
    if ragged and work.pooling == "last" and not work.bidirectional:
        ways.append(False)
    found = []
    for packed in ways:
        for fused in (True, False):
            for count in range(1, most + 1):
                run, network = torch_run(problem, epochs, packed, fused)
                words = ["packed" if packed else "padded"] if ragged else []
                words += ["fused" if fused else "foreach", f"{count} thread{'s' * (count > 1)}"]
                around = partial(held, count)
                found.append(Contender(", ".join(words), run, network.weights, around))
    return found


def check(problem: Problem) -> None:
    """Raise unless every contender, after an epoch, has the weights that lstmkit has."""
    run, network = lstmkit_run(problem, 1)
    first = {name: array.copy() for name, array in network.parameters.items()}
    run()
    for peer in contenders(problem, 1, 1):
        peer.call()
        for name, array in peer.outputs().items():
            change = np.abs(network.parameters[name] - first[name]).max()
            error = np.abs(array - network.parameters[name]).max() / change
            if not error <= TOLERANCE:
                which = f"{problem.work.name}, {peer.configuration}"
                sys.exit(f"epochs: {which}: {name} is off by {error:.1g} of its change")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    threads = arguments.threads
    wanted = dict.fromkeys(POOLS, str(threads))
    if not wanted.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    if arguments.processor_time:
        timing.clock = time.process_time
    print(f"{lk.backend()}; PyTorch {torch.__version__}, at most {threads} thread(s)\n")
    print("| an epoch of | lstmkit | PyTorch | ratio (quartiles) | at least | met |")
    print("| --- | --- | --- | --- | --- | --- |")
    for work in WORKS:
        problem = Problem(work)
        check(problem)
        ours = Contender(lk.backend(), lstmkit_run(problem, EPOCHS)[0], dict)
        peer, repeats = timing.fastest(contenders(problem, EPOCHS, threads))
        pairs = timing.pairs((ours, timing.repeats(ours)), (peer, repeats), arguments.pairs)
        mine, theirs = np.median(pairs, axis=0) / EPOCHS
        low, ratio, high = np.quantile([b / a for a, b in pairs], (0.25, 0.5, 0.75))
        times = f"{1e3 * mine:.1f} ms | {1e3 * theirs:.1f} ms ({peer.configuration})"
        met = "yes" if ratio >= BOUND else "no"
        spread = f"**{ratio:.2f}** ({low:.2f} to {high:.2f})"
        print(f"| {work.name} | {times} | {spread} | {BOUND} | {met} |", flush=True)


if __name__ == "__main__":
    main()
