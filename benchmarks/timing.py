"""Two contenders in turn on a machine that is not ours alone: pairs, medians, quartiles."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from grid import Contender

clock = time.perf_counter
"""What times a sample; `time.process_time` on a machine that is not ours alone."""

SAMPLE_SECONDS = 0.02  # a sample repeats a short call until it takes about so long


def settle(limit: float = 0.5) -> None:
    """Wait until the threads of whoever came before have stopped spinning.

    The pools of PyTorch, ONNX Runtime and lstmkit go on spinning for a while after a call, in the
    hope of the next one. With two processors that would be paid by the next contender.
    """
    start = time.perf_counter()
    while time.perf_counter() - start < limit:
        used = time.process_time()
        # The system counts what another processor does only at its ticks, up to 10 ms apart.
        time.sleep(0.03)
        if time.process_time() - used < 0.002:
            return


WARM_SECONDS = 0.003


def seconds(contender: Contender, repeats: int) -> float:
    """One sample, in seconds a call, after calls that wake its threads and fill the caches."""
    call = contender.call
    settle()
    with contender.around():
        start = clock()
        call()
        while clock() - start < WARM_SECONDS:
            call()
        start = clock()
        for _ in range(repeats):
            call()
        return (clock() - start) / repeats


def repeats(contender: Contender, sample: float = SAMPLE_SECONDS) -> int:
    """How many calls make a sample."""
    count = 1
    while count < 20_000:
        taken = count * seconds(contender, count)
        if taken >= sample / 2:
            return math.ceil(count * max(1.0, sample / taken))
        count *= 8
    return count


def fastest(contenders: Sequence[Contender], tries: int = 3) -> tuple[Contender, int]:
    """Return the fastest configuration of one peer, and its repeats."""
    field = [(contender, repeats(contender)) for contender in contenders]
    if len(field) == 1:
        return field[0]
    best = [seconds(*entry) for entry in field]
    for _ in range(1, tries):
        for k, entry in enumerate(field):
            if best[k] < 2 * min(best):  # who is twice as slow is not tried again
                best[k] = min(best[k], seconds(*entry))
    return field[int(np.argmin(best))]


def pairs(
    ours: tuple[Contender, int], theirs: tuple[Contender, int], count: int
) -> list[tuple[float, float]]:
    """Time the two as neighbours, each first in turn: (ours, theirs) in seconds a call."""
    samples = []
    for k in range(count):
        order = (ours, theirs) if k % 2 == 0 else (theirs, ours)
        found = [seconds(*contender) for contender in order]
        samples.append((found[0], found[1]) if k % 2 == 0 else (found[1], found[0]))
    return samples


class Elsewhere:
    """The share of the processors that other programs used meanwhile: how far to trust a row."""

    def __init__(self) -> None:
        self.began, self.ours, self.busy = time.perf_counter(), time.process_time(), self._busy()

    @staticmethod
    def _busy() -> float | None:
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _, _, irq, soft, steal = (int(value) for value in fields[:8])
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")

    def share(self) -> float | None:
        """Return 0 on a quiet machine, 1 when all processors were taken; None if unknown."""
        busy = self._busy()
        if busy is None or self.busy is None:
            return None
        # A child's time (the compiler's) counts as ours only when it has ended; then as nobody's.
        rest = (busy - self.busy) - (time.process_time() - self.ours)
        elapsed = time.perf_counter() - self.began
        return max(0.0, rest / elapsed / (os.cpu_count() or 1))
