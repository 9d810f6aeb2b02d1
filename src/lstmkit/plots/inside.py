"""Pictures of what is inside: gates over time, how they are set, the weights, the gradients.

Where a figure asks for a model it takes an `lstmkit.LSTM` or the parameters of
`lstmkit.textbook`'s LSTM, a learner's own: ``Wf Wi WC Wo`` and ``bf bi bC bo``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.flow import Flow, measure
from lstmkit.layers import LSTM
from lstmkit.layers.lstm import Trace
from lstmkit.plots.base import COLOURS, colours_of, figure_class, tidy
from lstmkit.shapes import Array, InputError, positive_integer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Source = LSTM | Mapping[str, ArrayLike]

_GATES = {"i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o"}
_STATES = {"c": "cell state c", "h": "hidden state h"}
_SHUT, _OPEN = 0.1, 0.9  # beyond these a gate is saturated (Karpathy et al. 2016, section 4.2)


def gradient_flow(
    source: Mapping[str, Flow] | Source,
    X: ArrayLike | None = None,
    dy: ArrayLike | None = None,
    *,
    title: str = "How far back the loss reaches",
) -> Figure:
    """Draw the gradient in the states against their distance from the loss, and ``∏ f``.

    Gradients are divided by their value at distance 0, so that curves of different losses compare:
    0.01 says that a hundredth arrives.

    Parameters
    ----------
    source
        `lstmkit.flow.Flow`s by name; or a model, whose flow is measured.
    X : array (N, T, I) or (T, I)
        With a model: what it reads.
    dy : array (N, H), optional
        With a model: the gradient of the loss in its last output, ones by default.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If there is nothing to draw, X is missing or too much, or matplotlib is missing.
    """
    new_figure = figure_class()
    flows: dict[str, Flow] = {}
    if isinstance(source, Mapping) and all(isinstance(v, Flow) for v in source.values()):
        if X is not None:
            raise InputError("gradient_flow: X is given with flows; expected it with a model only")
        flows = {name: flow for name, flow in source.items() if isinstance(flow, Flow)}
    else:
        model: Any = source
        if X is None:
            raise InputError("gradient_flow: X is missing; expected what the model is to read")
        flows = {"this model": measure(model, X, dy)}
    if not flows:
        raise InputError("gradient_flow: source holds no flow; expected one at least")
    gated = any(flow.kept is not None for flow in flows.values())
    figure = new_figure(figsize=(11 if gated else 7, 4.6), layout="constrained", dpi=150)
    grid = figure.subplots(1, 2 if gated else 1, sharey=True, squeeze=False)
    left, *right = grid[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        for colour, (name, flow) in zip(colours_of(len(flows)), flows.items(), strict=True):
            left.plot(flow.dh / flow.dh[0], color=colour, label=name)
            if flow.dc is not None:  # a label that begins with _ stays out of the legend
                line = {"color": colour, "linestyle": "--", "label": f"_{name}: c"}
                left.plot(flow.dc / flow.dc[0], **line)
            if flow.kept is not None and flow.kept_most is not None:
                right[0].plot(flow.kept, color=colour, label=name)
                line = {"color": colour, "linestyle": ":", "label": f"_{name}: most"}
                right[0].plot(flow.kept_most, **line)
    left.set_ylabel("share of the value at distance 0")
    left.set_title("‖∂L/∂h‖" + (" (solid), ‖∂L/∂c‖ (dashed)" if gated else ""))
    for axes in (left, *right):
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 1e-12), high)  # beyond that nothing is left to tell apart
        axes.set_xlabel("distance from the loss, steps")
        tidy(axes)
        axes.legend(frameon=False, fontsize="small")
    for axes in right:
        axes.set_title("∏ f: mean unit (solid), most lasting unit (dotted)")
    figure.suptitle(title)
    return figure


def gates_over_time(
    source: Source | Trace,
    X: ArrayLike | None = None,
    *,
    cell: int = 0,
    sequence: int = 0,
    labels: Sequence[str] | None = None,
    title: str = "Gates and states over time",
) -> Figure:
    """Draw i, f, g, o, c and h of one cell as heat maps: a row a unit, a column a step.

    Parameters
    ----------
    source
        A model, or what `lstmkit.LSTM.trace` returned.
    X : array (N, T, I) or (T, I)
        With a model: what it reads.
    cell : int
        Which layer and direction: ``layer·D + direction``.
    sequence : int
        Which sequence of the batch.
    labels : sequence of T str, optional
        What stood at each step, a text's characters for example; written below.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If an index or a shape does not fit, or matplotlib is missing.
    """
    new_figure = figure_class()
    trace = _trace("gates_over_time", source, X)
    names = {**_GATES, **_STATES}
    arrays = {name: _one(trace, name, "gates_over_time", cell, sequence) for name in names}
    steps = len(arrays["c"])
    if labels is not None and len(labels) != steps:
        raise InputError(f"gates_over_time: labels has length {len(labels)}; expected {steps}")
    figure = new_figure(figsize=(9, 11), layout="constrained", dpi=150)
    panels = figure.subplots(len(names), 1, sharex=True)
    for axes, (name, words) in zip(panels, names.items(), strict=True):
        values = arrays[name]
        low, high, colours = (0.0, 1.0, "viridis") if name in "ifo" else (-1.0, 1.0, "RdBu_r")
        if name == "c":
            high = max(1.0, float(np.abs(values).max(initial=0.0)))
            low = -high
        look = {"vmin": low, "vmax": high, "cmap": colours, "aspect": "auto"}
        image = axes.imshow(values.T, interpolation="nearest", **look)
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set_ylabel(f"{words}\nunit")
    panels[-1].set_xlabel("time step")
    if labels is not None:
        shown = [repr(label)[1:-1] if len(label) == 1 else label for label in labels]
        panels[-1].set_xticks(range(steps), shown, fontsize="small")
    figure.suptitle(title)
    return figure


def gate_histograms(
    source: Source | Trace,
    X: ArrayLike | None = None,
    *,
    cell: int = 0,
    title: str = "How the gates are set",
) -> Figure:
    """Draw how often each gate takes which value, and how much of it is saturated.

    A gate below 0.1 or above 0.9 hardly lets a gradient through to its weights (Karpathy, Johnson
    and Fei-Fei 2016, section 4.2, count the same); of the candidate it is |g| above 0.9.

    Parameters
    ----------
    source, X, cell, title
        As for `gates_over_time`; every sequence and step counts.

    Raises
    ------
    InputError
        If an index or a shape does not fit, or matplotlib is missing.
    """
    new_figure = figure_class()
    trace = _trace("gate_histograms", source, X)
    figure = new_figure(figsize=(12, 3.6), layout="constrained", dpi=150)
    panels = figure.subplots(1, 4)
    for axes, colour, (name, words) in zip(panels, COLOURS, _GATES.items(), strict=False):
        values = np.ravel(_one(trace, name, "gate_histograms", cell))
        low = -1.0 if name == "g" else 0.0
        axes.hist(values, bins=40, range=(low, 1.0), color=colour, weights=_shares(values))
        beyond = float(np.mean(values > _OPEN))
        limit = -_OPEN if name == "g" else _SHUT
        below = float(np.mean(values < limit))
        axes.set_title(words)
        axes.set_xlabel(f"below {limit:g}: {below:.0%}, above {_OPEN:g}: {beyond:.0%}")
        tidy(axes)
    panels[0].set_ylabel("share of all steps and units")
    figure.suptitle(title)
    return figure


def weight_histograms(source: Source, *, cell: int = 0, title: str = "The weights") -> Figure:
    """Draw the weights of each gate: those on x, those on h, and the biases as marks below.

    Parameters
    ----------
    source
        A model.
    cell : int
        Which layer and direction: ``layer·D + direction``.
    title : str
        Stands above the picture.

    Raises
    ------
    InputError
        If there is no such cell, the parameters are not whole, or matplotlib is missing.
    """
    new_figure = figure_class()
    lstm = source if isinstance(source, LSTM) else LSTM.from_textbook(dict(source))
    _check_index("weight_histograms", "cell", cell, len(lstm.cells))
    weights = lstm.stack.weights(lstm.parameters, cell)
    gates = [letter for letter in lstm.cells[cell].gates]
    figure = new_figure(figsize=(3 * len(gates), 3.6), layout="constrained", dpi=150)
    panels = figure.subplots(1, len(gates), sharey=True, squeeze=False)[0]
    for k, (axes, letter) in enumerate(zip(panels, gates, strict=True)):
        rows = slice(k * lstm.hidden_size, (k + 1) * lstm.hidden_size)
        both = [np.abs(weights[name][rows]).max() for name in ("weight_ih", "weight_hh")]
        most = float(max(both)) or 1.0
        for name, colour, words in (
            ("weight_ih", COLOURS[0], "on x"),
            ("weight_hh", COLOURS[1], "on h"),
        ):
            values = np.ravel(weights[name][rows])
            bins = np.linspace(-most, most, 1 + int(np.clip(2 * np.sqrt(values.size), 8, 60)))
            look = {"bins": bins, "histtype": "step", "linewidth": 1.5, "color": colour}
            axes.hist(
                values, weights=_shares(values), label=f"{words}, sd {values.std():.2f}", **look
            )
        if "bias" in weights:
            bias = weights["bias"][rows]
            mark = {"color": "black", "marker": "|", "linestyle": "none", "markersize": 12}
            axes.plot(bias, np.zeros_like(bias), label=f"bias, mean {bias.mean():.2f}", **mark)
        axes.set_title(_GATES[letter])
        axes.set_xlabel("weight")
        tidy(axes)
        axes.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("share of the weights")
    figure.suptitle(title)
    return figure


def _trace(owner: str, source: Source | Trace, X: ArrayLike | None) -> Trace:
    if isinstance(source, Trace):
        if X is not None:
            raise InputError(f"{owner}: X is given with a trace; expected it with a model only")
        return source
    if X is None:
        raise InputError(f"{owner}: X is missing; expected what the model is to read")
    lstm = source if isinstance(source, LSTM) else LSTM.from_textbook(dict(source))
    return lstm.trace(np.asarray(X)[None] if np.ndim(X) == 2 else X)


def _one(trace: Trace, name: str, owner: str, cell: int, sequence: int | None = None) -> Array:
    """(L·D, N, T, H) → one cell's (T, H) of one sequence, or (N, T, H) of all."""
    array: Array = getattr(trace, name)
    _check_index(owner, "cell", cell, len(array))
    if sequence is not None:
        _check_index(owner, "sequence", sequence, array.shape[1])
    part: Array = array[cell] if sequence is None else array[cell, sequence]
    if not part.size:
        raise InputError(f"{owner}: the trace has shape {array.shape}; expected a step at least")
    return part


def _check_index(owner: str, name: str, value: int, count: int) -> None:
    if positive_integer(owner, name, value, least=0) >= count:
        raise InputError(f"{owner}: {name} is {value}; expected 0 to {count - 1}")


def _shares(values: Array) -> Array:
    return np.full(values.size, 1 / max(1, values.size))
