"""A PyTorch checkpoint opened and run for 1,000 steps: whole processes, with lstmkit and with torch.

    python benchmarks/open_checkpoint.py [--pairs 5] [--threads 1] [--keep]

Makes an `nn.LSTM(256, 512, 2, bidirectional=True)`'s checkpoint, then starts each of the two in turn:
a process that imports, loads, runs one sequence of 1,000 steps and ends. Both write their output, and
the outputs are compared. For each pair: seconds on the clock, seconds of the processors (user and
system), and the peak of resident memory, all as the operating system counts them at the end of the
process. The medians of the ratios are printed; other programs on the machine disturb both alike.

lstmkit leaves the matrices in the file (``in_file=True``), or with ``--keep`` reads them into memory
as usual. Needs torch; not numpy's or torch's own settings of threads, which --threads sets for both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

INPUT = "x = np.sin(np.arange(1000 * 256, dtype=np.float32).reshape(1, 1000, 256))"
MAKE = """
import torch
torch.manual_seed(0)
torch.save(torch.nn.LSTM(256, 512, 2, bidirectional=True).state_dict(), {path!r})
"""
OURS = f"""
import numpy as np, lstmkit as lk
lstm = lk.load({{path!r}}, in_file={{in_file}})
{INPUT}
y, _ = lstm(x)
np.save({{out!r}}, y)
"""
THEIRS = f"""
import numpy as np, torch
lstm = torch.nn.LSTM(256, 512, 2, bidirectional=True, batch_first=True)
lstm.load_state_dict(torch.load({{path!r}}, weights_only=True))
{INPUT}
with torch.no_grad():
    y, _ = lstm(torch.from_numpy(x))
np.save({{out!r}}, y.numpy())
"""


def run(code: str, threads: int) -> tuple[float, float, float]:
    """Start Python on the code; give seconds, seconds of the processors, and MB at the peak."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LSTMKIT_NUM_THREADS")
    env = {**os.environ, **dict.fromkeys(names, str(threads))}
    start = os.times().elapsed
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", code], env)
    _, status, used = os.wait4(child, 0)
    seconds = os.times().elapsed - start
    if status:
        raise SystemExit(f"a process ended with {status}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="read the weights into memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "lstm.pt")
        subprocess.run([sys.executable, "-c", MAKE.format(path=path)], check=True)
        outs = [str(Path(folder) / f"{name}.npy") for name in ("ours", "theirs")]
        ours = OURS.format(path=path, out=outs[0], in_file=not arguments.keep)
        theirs = THEIRS.format(path=path, out=outs[1])
        run(ours, arguments.threads), run(theirs, arguments.threads)  # fills the system's caches
        pairs = []
        for k in range(arguments.pairs):
            order = (ours, theirs) if k % 2 == 0 else (theirs, ours)
            found = [run(code, arguments.threads) for code in order]
            pairs.append(found if k % 2 == 0 else found[::-1])
        difference = np.abs(np.load(outs[0]) - np.load(outs[1])).max()
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads each; ")
    print(f"{len(pairs)} pairs; largest difference of the outputs {difference:.1e}")
    print(
        f"{'':22}{'lstmkit':>10}{'torch':>10}{'ratio':>8}   (medians; ratios of {len(pairs)} pairs)"
    )
    for k, name in enumerate(("seconds", "processor seconds", "peak memory, MB")):
        a, b = ([pair[who][k] for pair in pairs] for who in (0, 1))
        ratios = sorted(their / our for our, their in zip(a, b, strict=True))
        print(
            f"{name:22}{statistics.median(a):10.2f}{statistics.median(b):10.2f}"
            f"{statistics.median(ratios):8.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    if difference > 1e-5:
        raise SystemExit("the outputs differ")


if __name__ == "__main__":
    main()
