"""What every picture shares: matplotlib's own objects, without a display or global state."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from lstmkit.shapes import Array, InputError
from lstmkit.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5f99", "#d1495b", "#2e8b57", "#b8860b", "#7a5195", "#555555", "#17a2b8", "#8c564b")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG, whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    with atomic_write(path) as file:
        file.write(picture.getvalue())


def figure_class() -> type[Figure]:
    """Return matplotlib's Figure, or say which extra brings it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            'plots: matplotlib is missing; expected it for pictures (pip install "lstmkit[plots]")'
        ) from None
    return Figure


def colours_of(count: int) -> list[str]:
    """Return a colour for each of ``count`` things; after eight they come again."""
    return [COLOURS[k % len(COLOURS)] for k in range(count)]


def tidy(axes: Axes) -> None:
    """Take away the ink that says nothing."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def dates(axes: Axes, times: Array) -> None:
    """Write dates short where the axis has dates."""
    if times.dtype.kind != "M":
        return
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    make: Any = AutoDateLocator
    locator = make(minticks=3, maxticks=9)
    write: Any = ConciseDateFormatter
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(write(locator))
