"""The demo's figure and its stability over seeds: `python experiments/demo_seeds.py`.

Each seed is a whole `lstmkit demo` in a process of its own, with its own time budget. Stable means
that no logged loss is nan and none lies more than half a bit above the best one before it, once a
tenth of the run is over.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUND, SPIKE = 2.3, 0.5  # bits per character; bits


def one_run(seed: int, seconds: float, folder: Path) -> tuple[float, float, int, float]:
    """Bits per character on the held-out files, the worst spike, the steps, and the wall time."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "lstmkit", "demo", "--seed", str(seed)]
    command += ["--seconds", str(seconds), "--output", str(folder)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    took = time.perf_counter() - start
    found = re.search(r"([\d.]+) bits per character", shown)
    assert found is not None, shown
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    bits = [line["bits"] for line in lines]
    later = range(max(1, len(bits) // 10), len(bits))
    spike = max((bits[k] - min(bits[:k]) for k in later), default=0.0)
    return float(found[1]), spike, lines[-1]["step"], took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=90.0)
    options = parser.parse_args()
    print("| seed | bits per character | worst spike, bits | steps | seconds in all |")
    print("| --- | --- | --- | --- | --- |")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            bits, spike, steps, took = one_run(seed, options.seconds, Path(folder, str(seed)))
            good &= bits <= BOUND and spike <= SPIKE
            print(f"| {seed} | {bits:.2f} | {spike:.2f} | {steps} | {took:.1f} |", flush=True)
    if not good:
        sys.exit(f"demo_seeds: expected at most {BOUND} bits and spikes of at most {SPIKE}")


if __name__ == "__main__":
    main()
