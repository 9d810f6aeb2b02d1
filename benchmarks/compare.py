"""lstmkit beside PyTorch, in one run: `python benchmarks/compare.py` (needs torch==2.13.0).

Each row first checks that the two agree on the same weights and numbers, then times them in turn,
A B A B …, and reports the median of each and the median of the ratios of neighbours, so that a
machine whose speed drifts does not favour one of them. Two threads each, float32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

THREADS = "2"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, THREADS)

import numpy as np  # noqa: E402  (the thread counts must be set first)
import torch  # noqa: E402

import lstmkit as lk  # noqa: E402


class Row(NamedTuple):
    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    repeats: int  # calls in one timing
    bound: float | None  # what theirs ÷ ours must reach


def twins(input_size: int, hidden_size: int, layers: int = 1) -> tuple[lk.LSTM, torch.nn.LSTM]:
    """The same weights in both libraries."""
    ours = lk.LSTM(input_size, hidden_size, layers, seed=0)
    theirs = torch.nn.LSTM(input_size, hidden_size, layers, batch_first=True)
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "bias_hh" in name:
                tensor.zero_()
            else:
                tensor.copy_(torch.from_numpy(ours.parameters[name.replace("bias_ih", "bias")]))
    return ours, theirs


def agree(what: str, ours: np.ndarray, theirs: torch.Tensor) -> None:
    """Float32 sums of some hundred terms in another order: 1e-4 of the largest number."""
    expected = theirs.detach().numpy()
    error = np.abs(ours - expected).max() / max(np.abs(expected).max(), 1e-30)
    if not error < 1e-4:
        sys.exit(f"compare: {what} differs by {error:.1e} of its largest value; nothing was timed")


def forward_row(batch: int, steps: int, input_size: int, hidden_size: int, bound=None) -> Row:
    ours, theirs = twins(input_size, hidden_size)
    x = np.random.default_rng(1).standard_normal((batch, steps, input_size)).astype(np.float32)
    x_torch = torch.from_numpy(x)
    name = f"forward B={batch} T={steps} I={input_size} H={hidden_size}"

    def run_theirs():
        with torch.inference_mode():
            return theirs(x_torch)

    agree(name, ours(x)[0], run_theirs()[0])
    return Row(name, lambda: ours(x), run_theirs, 1, bound)


def train_row(batch: int, steps: int, input_size: int, hidden_size: int, bound=None) -> Row:
    ours, theirs = twins(input_size, hidden_size)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, steps, input_size)).astype(np.float32)
    dy = rng.standard_normal((batch, steps, hidden_size)).astype(np.float32)
    x_torch, dy_torch = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
    name = f"forward + backward B={batch} T={steps} I={input_size} H={hidden_size}"

    def run_ours():
        _, _, tape = ours.forward(x)
        return ours.backward(tape, dy)

    def run_theirs():
        theirs.zero_grad(set_to_none=True)
        x_torch.grad = None
        theirs(x_torch)[0].backward(dy_torch)

    dx, _, grads = run_ours()
    run_theirs()
    agree(f"{name}, dx", dx, x_torch.grad)
    for key, gradient in grads.items():
        theirs_gradient = getattr(theirs, key.replace("bias", "bias_ih")).grad
        agree(f"{name}, {key}", gradient, theirs_gradient)
    return Row(name, run_ours, run_theirs, 1, bound)


def step_row(input_size: int, hidden_size: int, bound=None) -> Row:
    ours, theirs = twins(input_size, hidden_size)
    x = np.random.default_rng(1).standard_normal((1, input_size)).astype(np.float32)
    x_torch = torch.from_numpy(x)[None]
    stream = ours.stream()
    state = [None]

    def run_theirs():
        with torch.inference_mode():
            y, state[0] = theirs(x_torch, state[0])
        return y

    name = f"one step B=1 I={input_size} H={hidden_size}"
    for _ in range(3):
        agree(name, stream.step(x), run_theirs()[0])
    return Row(name, lambda: stream.step(x), run_theirs, 300, bound)


def measure(row: Row, pairs: int) -> dict[str, object]:
    """Time the two in turn; seconds a call."""

    def timed(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        for _ in range(row.repeats):
            call()
        return (time.perf_counter() - start) / row.repeats

    timed(row.ours), timed(row.theirs)  # warm up
    both = np.array([(timed(row.ours), timed(row.theirs)) for _ in range(pairs)])
    ratios = both[:, 1] / both[:, 0]
    return {
        "row": row.name,
        "ours": float(np.median(both[:, 0])),
        "theirs": float(np.median(both[:, 1])),
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": [float(q) for q in np.quantile(ratios, (0.25, 0.75))],
        "bound": row.bound,
    }


def show(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="timings of each, in turn")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(int(THREADS))
    rows = [
        forward_row(32, 100, 256, 256),
        train_row(32, 100, 256, 256, bound=1 / 3),
        forward_row(64, 100, 1, 64),
        train_row(64, 100, 1, 64),
        step_row(64, 64, bound=1.0),
        step_row(256, 256),
    ]
    machine = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "lstmkit": lk.__version__,
        "backend": lk.backend(),
        "threads": int(THREADS),
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print("\n| work | lstmkit | PyTorch | PyTorch ÷ lstmkit (quartiles) | at least |")
    print("| --- | --- | --- | --- | --- |")
    found = []
    for row in rows:
        result = measure(row, options.pairs)
        found.append(result)
        low, high = result["ratio_quartiles"]
        bound = "" if row.bound is None else f"{row.bound:.2f}"
        print(
            f"| {row.name} | {show(result['ours'])} | {show(result['theirs'])} "
            f"| {result['ratio']:.2f} ({low:.2f}–{high:.2f}) | {bound} |",
            flush=True,
        )
    missed = [r["row"] for r in found if r["bound"] is not None and r["ratio"] < r["bound"]]
    if options.json:
        options.json.write_text(json.dumps({**machine, "rows": found}, indent=1) + "\n")
    if missed:
        sys.exit(f"compare: below the bound: {', '.join(missed)}")


if __name__ == "__main__":
    main()
