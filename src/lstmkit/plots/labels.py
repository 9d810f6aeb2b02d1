"""A picture of a classifier: which label it took for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.plots.base import figure_class
from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks.metrics import confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 24  # letters of a class's name
_COUNTED = 40  # classes, beyond which there is no room for figures in the cells
_MARGIN = 0.15  # inches at the left and the right
_NAMED = 120  # classes, beyond which only some names stand at the axes


def confusion_matrix(
    source: Any,
    X: Any,
    y: Any = None,
    *,
    classes: ArrayLike | None = None,
    title: str = "Which label was taken for which",
) -> Figure:
    """Draw how often which label was predicted for which: a row an actual label.

    The colour is the share of the row, so that rare labels are seen as well as frequent ones; the
    figure in a cell is the count. The diagonal is what is right.

    Parameters
    ----------
    source
        A fitted classifier or tagger; or the actual labels (N,), or a list of (T_k,) of them.
    X
        With a model: what it is to label. With labels: the predicted ones, of the same shape.
    y
        With a model: the actual labels.
    classes : (K,), optional
        The labels in the order of the rows; by default the model's ``classes_``, or all that
        occur, sorted.
    title : str
        Stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure
        `save` writes it to a file. Under the title stand the accuracy and the labels that are never
        predicted.

    Raises
    ------
    InputError
        If y is missing or too much, shapes differ, a label is not among the classes, or matplotlib
        is missing.
    """
    new_figure = figure_class()
    if callable(getattr(source, "predict", None)):
        if y is None:
            raise InputError("confusion_matrix: y is missing; expected the actual labels")
        actual, predicted = y, source.predict(X)
        classes = getattr(source, "classes_", None) if classes is None else classes
    else:
        if y is not None:
            raise InputError("confusion_matrix: y is given with labels; expected it with a model")
        actual, predicted = source, X
    truth, guess = _flat("the actual labels", actual), _flat("the predicted labels", predicted)
    if classes is None:
        classes = np.unique(np.concatenate([truth, guess]))
    table = confusion(truth, guess, classes)
    names = [_name(label) for label in np.asarray(classes).tolist()]
    return _draw(new_figure, table, names, title)


def _draw(new_figure: type[Figure], table: Array, names: list[str], title: str) -> Figure:
    count, rows = len(names), table.sum(axis=1)
    share = np.where(rows[:, None] > 0, table / np.maximum(rows, 1)[:, None], np.nan)
    longest = max(len(name) for name in names)
    cell = float(np.clip(8.0 / count, 0.3, 0.8)) if count <= _COUNTED else 10.0 / count
    size = max(cell * count, 1.6)
    counted = len(f" ({rows.max():,})")  # behind the names at the left
    edge = 0.5 + 0.085 * (longest + counted)  # inches that the names take
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Square cells move once more as they are drawn, and the names at the left with them.
    figure = new_figure(
        figsize=(max(size + edge + 1.6, 5.0), size + min(edge, 2.6) + 1.0),
        layout=ConstrainedLayoutEngine(w_pad=_MARGIN),
        dpi=150,
    )
    axes = figure.add_subplot()
    axes.set_facecolor("#e8e8e8")  # of a label that does not occur
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("share of the row")

    small = float(np.clip(72 * cell * 0.3, 5.0, 11.0))
    if count <= _COUNTED:
        # A figure has to fit into its cell, and a letter is about 0.6 of its height wide.
        digits = len(f"{table.max():,}")
        letter = min(small, 72 * cell * 0.92 / (0.6 * digits))
        for row, column in np.argwhere(table > 0):
            colour = "white" if share[row, column] > 0.55 else "black"
            look: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "color": colour,
                "fontsize": letter,
            }
            axes.text(column, row, f"{table[row, column]:,}", **look)
    every = 1 if count <= _NAMED else -(-count // _NAMED)
    places = np.arange(0, count, every)
    size_of_names = min(9.0, max(72 * cell * every * 0.75, 5.0))
    turned = longest > max(2.0, 72 * cell * every / (0.62 * size_of_names))
    below = [names[k] for k in places]
    beside = [f"{names[k]} ({rows[k]:,})" for k in places]
    axes.set_xticks(places, below, rotation=90 if turned else 0, fontsize=size_of_names)
    axes.set_yticks(places, beside, fontsize=size_of_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual (how many)")
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    if count <= _COUNTED:
        axes.grid(which="minor", color="#d0d0d0", linewidth=0.4)
    axes.tick_params(which="minor", length=0)

    note = f"right: {np.trace(table) / table.sum():.1%} of {table.sum():,}"
    unseen = [names[k] for k in np.flatnonzero((table.sum(axis=0) == 0) & (rows > 0))]
    if unseen:
        more = f" and {len(unseen) - 3} more" if len(unseen) > 3 else ""
        note += f"\nnever predicted: {', '.join(unseen[:3])}{more}"
    figure.suptitle(title)
    axes.set_title(note, fontsize=9)
    return figure


def _flat(what: str, labels: Any) -> Array:
    """(N,) or (n, T) labels, or a list of (T_k,) → (N,)."""
    parts = [np.asarray(part) for part in labels] if isinstance(labels, list | tuple) else None
    if parts and all(part.ndim == 1 for part in parts):
        return np.concatenate(parts)
    array = np.asarray(labels)
    if array.dtype.kind == "O" and all(isinstance(label, str) for label in array.flat):
        array = array.astype(str)  # pandas and polars give text as objects
    if array.dtype.kind == "O":
        raise InputError(
            f"confusion_matrix: {what} have dtype object; expected numbers, booleans or text"
        )
    return array.ravel()


def _name(label: Any) -> str:
    return shown(label, _LONGEST)
