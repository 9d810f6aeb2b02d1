"""Mutations of safetensors files: the header's JSON, its length, and the bytes of the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import blobs
import trees


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a file that is read as far as its damage is not."""
    if random.random() < 0.2:
        return blobs.mutate(random, data, others)
    length = int.from_bytes(data[:8], "little")
    header, arrays = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.1:
        header = blobs.mutate(random, header, others)
    else:
        header = trees.mutate_text(random, header)
    if random.random() < 0.15:
        arrays = blobs.mutate(random, arrays, others)
    told = len(header)
    if random.random() < 0.05:
        told = abs(blobs.number(random)) % 2**64
    return told.to_bytes(8, "little") + header + arrays
