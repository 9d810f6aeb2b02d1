"""The readers, each with its valid files and with the mutations that reach far into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import archives
import blobs
import fields
import hdf
import opcodes
import safefiles
import seeds
import trees

import lstmkit as lk
from lstmkit import loading
from lstmkit.formats import keras, onnx, pytorch

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


def _foreign(module: Any) -> Callable[[Path, bytes], Any]:
    """Read a file by one of the two doors of its room."""

    def read(path: Path, data: bytes) -> Any:
        return module.read(path) if len(data) % 2 else module.load(path)

    return read


def _pytorch_member(name: str) -> Mutation:
    return opcodes.mutate if name.endswith(".pkl") else blobs.mutate


def _keras_member(name: str) -> Mutation:
    if name.endswith(".json"):
        return lambda random, data, others: trees.mutate_text(random, data)
    return hdf.mutate


READERS = {
    "own": Reader(seeds.own, safefiles.mutate, _own),
    "snapshot": Reader(seeds.snapshots, safefiles.mutate, _snapshot, opens=False),
    "pytorch": Reader(seeds.state_dicts, archives.mutation(_pytorch_member), _foreign(pytorch)),
    "safetensors": Reader(seeds.safe_dicts, safefiles.mutate, _foreign(pytorch)),
    "onnx": Reader(seeds.graphs, fields.mutate, _foreign(onnx)),
    "keras": Reader(seeds.archives, archives.mutation(_keras_member), _foreign(keras)),
    "hdf5": Reader(seeds.trees, hdf.mutate, _foreign(keras)),
}
