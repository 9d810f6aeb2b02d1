"""Pictures of a run, drawn with matplotlib's own objects: no display, no global state."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmkit.run import read_log
from lstmkit.shapes import Array, InputError
from lstmkit.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRAIN, _SMOOTH, _VALIDATION = "#b9cfe4", "#1f5f99", "#d1495b"


def learning_curve(
    metrics: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    title: str = "Learning curve",
    unit: str = "token",
) -> Figure:
    """Draw how the bits per token fell, in training and in validation.

    Parameters
    ----------
    metrics
        The JSON-lines file of a run, or its reports: dicts with ``step`` and ``loss`` (nats), and
        ``tokens`` and ``validation_loss`` where there are such.
    title : str
        Stands above the picture.
    unit : str
        What a token is: ``"character"``, ``"byte"``; for the axes.

    Returns
    -------
    matplotlib.figure.Figure
        `save` writes it to a file.

    Raises
    ------
    InputError
        If the reports hold no loss, the file is not JSON lines, or matplotlib is missing.
    """
    figure_class = _figure_class()
    reports = read_log(metrics) if isinstance(metrics, str | os.PathLike) else metrics
    trained = [report for report in reports if _finite(report.get("loss"))]
    checked = [report for report in reports if _finite(report.get("validation_loss"))]
    if not trained and not checked:
        raise InputError("learning_curve: metrics hold no loss; expected reports of a run")
    across = "tokens" if all("tokens" in report for report in trained + checked) else "step"
    most = max(float(report[across]) for report in trained + checked)
    scale, word = (1e6, "millions") if most >= 2e6 else (1e3, "thousands")
    if across == "step":
        scale = 1.0

    figure = figure_class(figsize=(8, 4.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    if trained:
        x, bits = _curve(trained, across, "loss")
        axes.plot(x / scale, bits, color=_TRAIN, linewidth=1, label="training, each report")
        axes.plot(x / scale, _smooth(bits), color=_SMOOTH, linewidth=2, label="training, smoothed")
    if checked:
        x, bits = _curve(checked, across, "validation_loss")
        axes.plot(x / scale, bits, "o-", color=_VALIDATION, markersize=4, label="validation")
        axes.annotate(
            f"{bits[-1]:.2f}",
            (x[-1] / scale, bits[-1]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=_VALIDATION,
        )
    axes.set_title(title)
    axes.set_xlabel(f"training {unit}s read ({word})" if across == "tokens" else "training steps")
    axes.set_ylabel(f"bits per {unit}")
    axes.margins(x=0.04)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


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


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            'plots: matplotlib is missing; expected it for pictures (pip install "lstmkit[plots]")'
        ) from None
    return Figure


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _curve(reports: Sequence[Mapping[str, Any]], across: str, key: str) -> tuple[Array, Array]:
    x = np.array([report[across] for report in reports], np.float64)
    return x, np.array([report[key] for report in reports], np.float64) / math.log(2)


def _smooth(values: Array) -> Array:
    """Average each value with those around it, a twentieth of the run in all."""
    place = np.arange(len(values))
    reach = np.minimum(max(1, len(values) // 40), place)  # the steep start is not averaged away
    first, last = place - reach, np.minimum(place + reach, len(values) - 1)
    total = np.concatenate([[0.0], np.cumsum(values)])
    smoothed: Array = (total[last + 1] - total[first]) / (last + 1 - first)
    return smoothed
