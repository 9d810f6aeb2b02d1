"""Pictures of a run: how the loss or the error fell."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmkit.plots.base import colours_of, figure_class, tidy
from lstmkit.run import read_log
from lstmkit.shapes import Array, InputError

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
    new_figure = figure_class()
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

    figure = new_figure(figsize=(8, 4.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    if trained:
        x, loss = _curve(trained, across, "loss")
        bits = loss / math.log(2)
        axes.plot(x / scale, bits, color=_TRAIN, linewidth=1, label="training, each report")
        axes.plot(x / scale, _smooth(bits), color=_SMOOTH, linewidth=2, label="training, smoothed")
    if checked:
        x, loss = _curve(checked, across, "validation_loss")
        bits = loss / math.log(2)
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
    tidy(axes)
    axes.legend(frameon=False)
    return figure


def training_curve(source: Any, *, loss: str = "loss", title: str = "Training") -> Figure:
    """Draw how the loss fell in training and in validation, in the loss's own unit.

    Parameters
    ----------
    source
        A fitted model with ``result_``; such a result, or several, of the members of an ensemble;
        the JSON-lines file of a run, or its reports: dicts with ``step``, ``loss`` and, where
        there was one, ``validation_loss``.
    loss : str
        What the loss is: ``"cross-entropy, nats"``; for the axis.
    title : str
        Stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
        The best validation of each run is marked: with patience it is the one whose weights the
        model has. The axis is logarithmic where the losses span more than a factor of 30.

    Raises
    ------
    InputError
        If there is no loss in it, or matplotlib is missing.
    """
    new_figure = figure_class()
    runs = [
        (
            [report for report in reports if _finite(report.get("loss"))],
            [report for report in reports if _finite(report.get("validation_loss"))],
        )
        for reports in _runs(source)
    ]
    if not any(trained or checked for trained, checked in runs):
        raise InputError("training_curve: source holds no loss; expected a fitted model or reports")
    figure = new_figure(figsize=(8, 4.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    drawn = [np.zeros(0)]
    alone = len(runs) == 1  # of several, smoothed curves and no single reports
    for number, (trained, checked) in enumerate(runs):
        mark = "" if number == 0 else "_"  # a label that begins with _ stays out of the legend
        if trained:
            x, y = _curve(trained, "step", "loss")
            if alone:
                few: dict[str, Any] = {"marker": "."} if len(x) <= 20 else {}
                axes.plot(x, y, color=_TRAIN, linewidth=1, label="training, each report", **few)
            smooth: dict[str, Any] = {"color": _SMOOTH, "linewidth": 2 if alone else 1}
            axes.plot(x, _smooth(y), label=f"{mark}training, smoothed", **smooth)
            drawn.append(y)
        if checked:
            x, y = _curve(checked, "step", "validation_loss")
            line: dict[str, Any] = {"color": _VALIDATION, "linewidth": 1.5 if alone else 1}
            best = int(y.argmin())
            point: dict[str, Any] = {
                "marker": "o",
                "color": _VALIDATION,
                "linestyle": "none",
                "markersize": 7,
            }
            words = f"best validation: {y[best]:.4g} at step {x[best]:,.0f}"
            axes.plot(x, y, label=f"{mark}validation", **line)
            axes.plot(x[best], y[best], label=words if alone else f"{mark}best validation", **point)
            drawn.append(y)
    values = np.concatenate(drawn)
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.set_title(title if alone else f"{title}: {len(runs)} members")
    axes.set_xlabel("training steps")
    axes.set_ylabel(loss)
    axes.margins(x=0.03)
    tidy(axes)
    axes.legend(frameon=False)
    return figure


def error_curves(
    runs: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    *,
    guess: float | None = None,
    title: str = "Error on sequences never seen",
) -> Figure:
    """Draw the error of several runs against the training step, one colour a name.

    Parameters
    ----------
    runs
        For each name its runs, for example one a seed; a run is (step, error) pairs.
    guess : float, optional
        The error of who always gives the same answer, drawn as a line.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If there is no run or an error is not above 0, or matplotlib is missing.
    """
    new_figure = figure_class()
    curves = {name: [np.array(run, np.float64) for run in group] for name, group in runs.items()}
    every = [curve for group in curves.values() for curve in group]
    if not every or not all(c.ndim == 2 and c.shape[1] == 2 and (c[:, 1] > 0).all() for c in every):
        raise InputError("error_curves: runs hold no pairs (step, error above 0) to draw")
    figure = new_figure(figsize=(8, 4.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for colour, (name, group) in zip(colours_of(len(curves)), curves.items(), strict=True):
        for number, curve in enumerate(group):
            label = f"{name} ({len(group)} seed{'s' * (len(group) != 1)})" if number == 0 else None
            axes.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=1.5, label=label)
    if guess is not None:
        axes.axhline(guess, color="black", linestyle=":", label=f"always the mean: {guess:.3f}")
    axes.set_yscale("log")
    axes.set_xlabel("training steps")
    axes.set_ylabel("mean squared error")
    axes.set_title(title)
    tidy(axes)
    axes.legend(frameon=False)
    return figure


def _runs(source: Any) -> list[Sequence[Mapping[str, Any]]]:
    """Return the reports of each run in what `training_curve` was given."""
    source = getattr(source, "result_", source)
    if isinstance(source, str | os.PathLike):
        return [read_log(source)]
    if hasattr(source, "history"):
        return [source.history]
    members = list(source) if isinstance(source, Sequence) else []
    if members and all(hasattr(member, "history") for member in members):
        return [member.history for member in members]
    return [[report for report in members if isinstance(report, Mapping)]]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _curve(reports: Sequence[Mapping[str, Any]], across: str, key: str) -> tuple[Array, Array]:
    x = np.array([report[across] for report in reports], np.float64)
    return x, np.array([report[key] for report in reports], np.float64)


def _smooth(values: Array) -> Array:
    """Average each value with those around it, a twentieth of the run in all."""
    place = np.arange(len(values))
    reach = np.minimum(max(1, len(values) // 40), place)  # the steep start is not averaged away
    first, last = place - reach, np.minimum(place + reach, len(values) - 1)
    total = np.concatenate([[0.0], np.cumsum(values)])
    smoothed: Array = (total[last + 1] - total[first]) / (last + 1 - first)
    return smoothed
