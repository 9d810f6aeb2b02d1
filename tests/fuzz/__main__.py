"""Fuzzes the readers: `python tests/fuzz --help`.

Each input follows from the reader's name and a number alone. The inputs of a reader are shared out
to processes; one that dies or comes to a standstill has named its input before.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from readers import READERS
from watch import Verdict, Watch

STANDSTILL = 20.0  # seconds in one input after which its process is ended
MEMORY = 4 * 2**30  # bytes of addresses that a process may take
TRACED = 4  # of so many inputs the allocations of one are counted
MOST_SHOWN = 10


class Problem(NamedTuple):
    """What went wrong with an input."""

    number: int
    text: str


class Inputs:
    """The inputs of one reader, and its watch, in this process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._path, self._reader = name, folder / "input", READERS[name]
        self._seeds = self._reader.seeds(folder)
        self._watch = Watch()
        for _ in range(3):  # what is imported and kept on a first call is nobody's input
            verdicts = [self.judge(data) for data in self._seeds]
        for number in range(-100, 0):
            self.judge(self.make(number), number % TRACED == 0)
        if verdicts[0].refusal or any(verdict.problem for verdict in verdicts):
            raise SystemExit(f"fuzz: {name}: the reader fails on valid files: {verdicts}")

    def make(self, number: int) -> bytes:
        """Make an input."""
        random = Random(f"{self._name} {number}")
        return self._reader.mutate(random, random.choice(self._seeds), self._seeds)

    def judge(self, data: bytes, traced: bool = False) -> Verdict:
        """Give an input to the reader; count what it allocates, which takes three times as long."""
        if traced != tracemalloc.is_tracing():
            (tracemalloc.start if traced else tracemalloc.stop)()
        path = self._written(data)
        only = str(path) if self._reader.opens else None
        return self._watch.judge(lambda: self._reader.read(path, data), len(data), only)

    def _written(self, data: bytes) -> Path:
        if self._reader.opens:
            self._path.write_bytes(data)
        return self._path


def work(name: str, first: int, end: int, step: int, place: str) -> None:
    """Judge each step-th input of a range; print problems and a count, a JSON line each."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    refusals: Counter[str] = Counter()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # faster than a disk
    with tempfile.TemporaryDirectory(dir=memory) as folder, open(place, "r+b") as file:
        at = mmap.mmap(file.fileno(), 8)
        inputs = Inputs(name, Path(folder))
        for number in range(first, end, step):
            at[:8] = number.to_bytes(8, "little")
            data = inputs.make(number)
            verdict = inputs.judge(data, number % TRACED == 0)
            refusals["refused" if verdict.refusal else "read"] += 1
            if verdict.problem:
                print(json.dumps(Problem(number, verdict.problem)), flush=True)
    print(json.dumps(dict(refusals)), flush=True)


class Worker:
    """A process that does each step-th input of a range, and is replaced when it dies."""

    def __init__(self, name: str, first: int, end: int, step: int, folder: Path) -> None:
        self.name, self.end, self.step = name, end, step
        self.problems: list[Problem] = []
        self.done = False
        self.counts: Counter[str] = Counter()
        self._place = folder / f"{name}-{first}.place"
        self._output = folder / f"{name}-{first}.txt"
        self._start(first)

    def _start(self, first: int) -> None:
        self._place.write_bytes(first.to_bytes(8, "little"))
        asked = [self.name, "--work", f"{first}:{self.end}:{self.step}:{self._place}"]
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent), *asked],
                stdout=output,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "LSTMKIT_NUM_THREADS": "1"},
            )
        self._seen, self._since = first, time.monotonic()

    def number(self) -> int:
        """Tell which input it is at."""
        return int.from_bytes(self._place.read_bytes(), "little")

    def look(self) -> None:
        """Look after it."""
        if self.done:
            return
        code = self._process.poll()
        if code is None:
            now = time.monotonic()
            if self.number() != self._seen:
                self._seen, self._since = self.number(), now
            elif now - self._since > STANDSTILL and self._seen >= 0:
                self._process.send_signal(signal.SIGABRT)  # its stack is shown
                self._since = now
            return
        said = self._process.communicate()[1].decode(errors="replace")
        for line in self._output.read_text().splitlines():
            value = json.loads(line)
            if isinstance(value, dict):
                self.counts.update(value)
            else:
                self.problems.append(Problem(*value))
        if code == 0:
            self.done = True
            return
        if code > 0:
            raise SystemExit(f"fuzz: {self.name}: {said}")
        last = self.number()
        where = [line.strip() for line in said.splitlines() if line.startswith("  File")]
        self.problems.append(Problem(last, f"ended the process ({code}) {' < '.join(where[:3])}"))
        self._start(last + self.step)


def run(name: str, first: int, count: int, processes: int, folder: Path) -> list[Problem]:
    """Give a reader its inputs, in several processes, and say what came of them."""
    began = time.monotonic()
    processes = min(processes, count)
    workers = [Worker(name, first + k, first + count, processes, folder) for k in range(processes)]
    while not all(worker.done for worker in workers):
        time.sleep(0.05)
        for worker in workers:
            worker.look()
    seconds = time.monotonic() - began
    counts: Counter[str] = Counter()
    for worker in workers:
        counts += worker.counts
    problems = sorted(problem for worker in workers for problem in worker.problems)
    print(
        f"{name}: {count} inputs in {seconds:.0f} s ({count / seconds:.0f} a second): "
        f"{counts['read']} read, {counts['refused']} refused, {len(problems)} problems",
        flush=True,
    )
    kinds = Counter(problem.text for problem in problems)
    shown: Counter[str] = Counter()
    for problem in problems:
        shown[problem.text] += 1
        if shown[problem.text] == 1 and len(shown) <= MOST_SHOWN:
            print(f"  input {problem.number}: {problem.text} (×{kinds[problem.text]})")
    return problems


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz the readers.")
    parser.add_argument("reader", nargs="*", help=f"{', '.join(READERS)}; all if not given")
    parser.add_argument("--count", type=int, default=100_000, help="inputs a reader")
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="write the inputs into this folder, judge none")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    for name in given.reader:
        if name not in READERS:
            parser.error(f"no reader {name!r}; there are {', '.join(READERS)}")
    if given.work:
        first, end, step, place = given.work.split(":", 3)
        return work(given.reader[0], int(first), int(end), int(step), place)
    bad = False
    for name in given.reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            if given.keep is None:
                found = run(name, given.first, given.count, given.processes, Path(folder))
                bad = bad or bool(found)
                continue
            inputs = Inputs(name, Path(folder))
            given.keep.mkdir(parents=True, exist_ok=True)
            for number in range(given.first, given.first + given.count):
                (given.keep / f"{name}-{number}").write_bytes(inputs.make(number))
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
