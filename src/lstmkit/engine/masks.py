"""Random masks, drawn here and handed to the engine, so that both twins see the same ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.cell import Cell
from lstmkit.engine.base import Masks
from lstmkit.shapes import Array


def dropout(
    rng: np.random.Generator, rate: float, shape: tuple[int, ...], dtype: DTypeLike
) -> Array:
    """Return 0 with probability ``rate``, else 1/(1 − rate)."""
    mask: Array = (rng.random(shape, dtype=np.float32) >= rate).astype(dtype)
    mask /= 1 - rate
    return mask


def draw(
    cell: Cell,
    rng: np.random.Generator,
    recurrent_dropout: float,
    batch: int,
    tokens: int,
    dtype: DTypeLike,
) -> Masks:
    """Draw the masks of one cell for one forward pass; only those that it uses."""
    of_c, of_h = cell.zoneout
    sizes = cell.hidden_size, cell.output_size

    def zoneout(rate: float, size: int) -> Array | None:
        return (rng.random((tokens, size), np.float32) < rate).astype(dtype) if rate else None

    return Masks(
        dropout(rng, recurrent_dropout, (batch, sizes[1]), dtype) if recurrent_dropout else None,
        zoneout(of_c, sizes[0]),
        zoneout(of_h, sizes[1]),
    )
