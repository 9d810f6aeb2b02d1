"""The readers, each with its valid files and with the mutations that reach far into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import safefiles
import seeds

import lstmkit as lk
from lstmkit import loading

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


class Reader(NamedTuple):
    """A reader under test."""

    seeds: Callable[[Path], list[bytes]]  # files made in an empty folder, the first valid here
    mutate: Mutation
    read: Callable[[Path, bytes], Any]  # a file, and what is in it
    opens: bool = True  # whether it reads the file, or the bytes alone


def _own(path: Path, data: bytes) -> Any:
    loading.describe(path)
    return lk.load(path)


def _snapshot(path: Path, data: bytes) -> Any:
    stream = lk.LSTM(3, 4, 2, seed=0).stream(batch_size=2)
    stream.restore(data)
    return stream.state


READERS = {
    "own": Reader(seeds.own, safefiles.mutate, _own),
    "snapshot": Reader(seeds.snapshots, safefiles.mutate, _snapshot, opens=False),
}
