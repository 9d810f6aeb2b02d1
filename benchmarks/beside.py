"""What stands beside the grid: `python benchmarks/beside.py` (needs lstmkit alone).

The error and the gain of bfloat16 weights, the cost of a step that computes nothing, ragged batches
against full ones, the time of `import lstmkit`, the size of the installed package.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "2")

import argparse  # noqa: E402  (the thread counts must be set first)
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from grid import Contender, Problem, Work  # noqa: E402
from timing import pairs, repeats  # noqa: E402

import lstmkit as lk  # noqa: E402

SIZES = (64, 128, 256, 512)
STEPS = 1000


def timed(call: Any) -> tuple[Contender, int]:
    contender = Contender("", call, dict)
    return contender, repeats(contender)


def compare(first: Any, second: Any, count: int) -> tuple[float, float]:
    """Return the median seconds of two calls that were timed in turn."""
    one, two = np.median(pairs(timed(first), timed(second), count), axis=0)
    return float(one), float(two)


def bfloat16(count: int) -> list[dict[str, float]]:
    """How far y is off after up to 1000 steps of noise, and what a step of one stream costs."""
    found = []
    for size in SIZES:
        problem = Problem(Work("sequence", 8, STEPS, size, size))
        full, half = problem.lstm, problem.lstm.quantize("bfloat16")
        y = full(problem.x)[0]
        error = np.abs(half(problem.x)[0] - y)
        x = problem.x[:1, 0].copy()
        seconds = compare(partial(full.stream().step, x), partial(half.stream().step, x), count)
        found.append(
            {
                "size": size,
                "largest": float(error.max() / np.abs(y).max()),
                "typical": float(np.sqrt((error**2).mean() / (y**2).mean())),
                "step_float32": seconds[0],
                "step_bfloat16": seconds[1],
            }
        )
    return found


def ragged(count: int) -> dict[str, float]:
    """Training on 32 sequences of 10 … 200 steps, and on full ones with as many real steps."""
    ragged = Problem(Work("train", 32, 200, 128, 128, ragged=True))
    full = Problem(Work("train", 32, ragged.tokens // 32, 128, 128))

    def train(problem: Problem) -> None:
        _, _, tape = problem.lstm.forward(problem.x, lengths=problem.lengths)
        problem.lstm.backward(tape, problem.dy)

    seconds = compare(partial(train, ragged), partial(train, full), count)
    tokens = [ragged.tokens, full.tokens]
    return {"ragged": seconds[0] / tokens[0], "full": seconds[1] / tokens[1]}


def empty_step(count: int) -> float:
    """A stream of one unit fed one number: what is left when there is nothing to compute."""
    step = partial(lk.LSTM(1, 1, seed=0).stream().step, np.zeros((1, 1), np.float32))
    return compare(step, step, count)[0]


def imports(count: int) -> dict[str, float]:
    """Return the median seconds of a fresh interpreter that imports one thing, in turn."""
    found: dict[str, list[float]] = {"numpy": [], "lstmkit": []}
    for _ in range(count + 1):  # the first of each fills the file cache
        for name, samples in found.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            samples.append(time.perf_counter() - start)
    return {name: float(np.median(samples[1:])) for name, samples in found.items()}


def package_bytes() -> int:
    """Return the size of the installed package without what Python compiled from it."""
    folder = Path(lk.__file__).parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    results = {
        "backend": lk.backend(),
        "bfloat16": bfloat16(options.pairs),
        "ragged_seconds_a_step": ragged(options.pairs),
        "empty_step": empty_step(options.pairs),
        "import": imports(options.pairs),
        "package_bytes": package_bytes(),
    }
    text = json.dumps(results, indent=1) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
