"""Which axis of a value is time, which the batch, which the features, through every reshape.

An axis is a group of bases, the axes that were before they were merged: ``(D, F)`` are the
features of a layer with two directions, ``(N, T)`` all steps of all rows. A base is a label and a
size; an axis of size one that stands for nothing is the empty group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Base = tuple[str, int]
Axis = tuple[Base, ...]
FEATURES, DIRECTION = "F", "D"


def size_of(axis: Axis) -> int:
    """Return the size of an axis."""
    return math.prod(size for _, size in axis)


def labels(axis: Axis) -> tuple[str, ...]:
    """Return what an axis consists of, without a direction that is the only one."""
    return tuple(label for label, size in axis if (label, size) != (DIRECTION, 1))


def is_features(axis: Axis) -> bool:
    """Whether an axis is the features of a layer, in our order."""
    return labels(axis) in ((FEATURES,), (DIRECTION, FEATURES))


def regroup(axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis] | None:
    """Return the axes after a reshape, or None where they cannot be followed."""
    bases = [base for axis in axes for base in axis]
    found: list[Axis] = []
    at = 0
    for size in shape:
        group: list[Base] = []
        product = 1
        while product != size:
            if at == len(bases) or size == 0:
                return None
            if bases[at][1] != 1:  # one of size one was squeezed away, or adds nothing
                group.append(bases[at])
            product *= bases[at][1]
            at += 1
            if product > size:
                return None
        # A base of size one goes with the axis of size one that stands in its place.
        if size == 1 and not group and at < len(bases) and bases[at][1] == 1:
            group.append(bases[at])
            at += 1
        found.append(tuple(group))
    if any(size != 1 for _, size in bases[at:]):
        return None
    return found
