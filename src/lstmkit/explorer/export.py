"""One HTML file with a model in it: the page is ready-made, this puts the model into it.

The page (its source is ``web/``) has two marked places, for its title and for the data: one JSON
object, which the browser reads as text and never as markup or code. Weights are float32 in base64.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit import store
from lstmkit.explorer.rnn import RNNLanguageModel
from lstmkit.layers import LSTM
from lstmkit.shapes import Array, InputError, real_array
from lstmkit.tasks.language_model import LanguageModel

LONGEST = 20_000
"""Tokens, or steps, at most: the browser keeps every gate of every one."""

_OWNER = "explore"
_TITLE, _DATA = "@@lstmkit-title@@", '"@@lstmkit-data@@"'
_VERSION = 1
# What the page needs of a layer's config, see `lstmkit.cell.Cell`.
_CONFIG = (
    "input_size hidden_size num_layers bidirectional proj_size bias peepholes coupled_gates "
    "layer_norm cell_clip gate_clip activations zoneout learn_initial_state"
).split()

# The activations that web/src/cell.ts knows.
_ACTIVATIONS = ("sigmoid", "tanh", "relu", "hard_sigmoid", "softsign", "identity")


def explore(
    model: Any,
    text: str | ArrayLike,
    path: str | os.PathLike[str],
    *,
    rnn: RNNLanguageModel | LanguageModel | None = None,
    title: str | None = None,
) -> int:
    """Write a page that shows a model at work on a text: one HTML file that needs nothing else.

    The page runs the model itself, in the browser: it colours the text by any cell, shows every
    gate, follows a prediction's exact gradient back to each earlier token, lets gates be held and
    the model write, and reads any other text that is typed into it. It loads nothing and sends
    nothing.

    Parameters
    ----------
    model : LanguageModel or LSTM
        What `lstmkit.load` opens. An `LSTM` alone, or a model that has one as ``lstm_``, is shown
        on numbers: they go in, gates and outputs come out.
    text : str, or array (T, input_size)
        What it reads at first, 1 to 20,000 tokens; for an LSTM alone, its input.
    path
        Where to write, in one piece: a crash leaves what was there before.
    rnn : RNNLanguageModel or LanguageModel, optional
        Shown beside, with its own gradients. It must read the same tokens.
    title : str, optional
        The page's heading.

    Returns
    -------
    int
        The file's size in bytes.

    Raises
    ------
    InputError
        If the model has nothing to show or an activation that the page does not know, the text
        does not fit it, or the two models' tokens differ.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, lstmkit as lk
    >>> model = lk.LanguageModel(hidden_size=8, seed=0).fit("to be or not " * 9, steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     explore(model, "to be", f"{folder}/page.html") < 500_000
    True
    """
    if isinstance(model, LanguageModel):
        data = _language(model, text, rnn)
    else:
        data = _numbers(model, text, rnn)
    data |= {"version": _VERSION, "title": title or "An LSTM at work"}
    page = render(data)
    with store.atomic_write(path) as file:
        file.write(page)
    return len(page)


def render(data: dict[str, Any]) -> bytes:
    """Put the data into the page; whatever the text holds, it stays text."""
    packed = resources.files("lstmkit.explorer").joinpath("page.html.gz").read_bytes()
    page = gzip.decompress(packed).decode("utf-8")
    # ASCII alone, and no "<": inside a script element nothing then ends it or opens a comment.
    values = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    values = values.replace("<", "\\u003c").replace(">", "\\u003e")
    for place, content in ((_TITLE, html.escape(data["title"])), (_DATA, values)):
        if page.count(place) != 1:
            raise RuntimeError(f"page.html.gz has no one place {place}; build it again")
        before, after = page.split(place)
        page = before + content + after
    return page.encode("utf-8", "replace")


def _language(
    model: LanguageModel, text: Any, rnn: RNNLanguageModel | LanguageModel | None
) -> dict[str, Any]:
    vocabulary = model.vocabulary
    if not isinstance(text, str):
        raise InputError(f"{_OWNER}: text is {type(text).__name__}; expected str")
    count = len(model.vocabulary_.encode(_OWNER, "text", text))
    _check_length("text", count, "tokens")
    beside = None
    if rnn is not None:
        if not isinstance(rnn, RNNLanguageModel | LanguageModel):
            kind = type(rnn).__name__
            raise InputError(
                f"{_OWNER}: rnn is {kind}; expected an RNNLanguageModel or a LanguageModel"
            )
        if rnn.vocabulary != vocabulary:
            raise InputError(
                f"{_OWNER}: rnn has {_named(rnn.vocabulary)}, the model {_named(vocabulary)}; "
                "expected the same tokens (give fit the model's vocabulary)"
            )
        beside = _recurrent(rnn) if isinstance(rnn, RNNLanguageModel) else _whole(model=rnn)
        beside["name"] = (
            f"Basic RNN, {rnn.hidden_size} units"
            if isinstance(rnn, RNNLanguageModel)
            else "The other LSTM"
        )
    return {
        "kind": "language",
        "vocabulary": vocabulary,
        "text": text,
        "parameters": sum(a.size for a in model.parameters.values()),
        "network": _whole(model),
        "rnn": beside,
        "x": None,
    }


def _numbers(model: Any, text: Any, rnn: Any) -> dict[str, Any]:
    lstm = model if isinstance(model, LSTM) else getattr(model, "lstm_", None)
    if not isinstance(lstm, LSTM):
        raise InputError(
            f"{_OWNER}: model is {type(model).__name__}; expected a LanguageModel or an LSTM"
        )
    if rnn is not None:
        raise InputError(f"{_OWNER}: rnn is given; expected None, as the model reads no text")
    x = parse_numbers(text) if isinstance(text, str) else text
    x = real_array(_OWNER, "text", x, ("time", ("input_size", lstm.input_size)), np.float32)
    _check_length("text", len(x), "steps")
    if not np.isfinite(x).all():
        raise InputError(f"{_OWNER}: text has nan or inf; expected finite numbers")
    return {
        "kind": "numbers",
        "vocabulary": None,
        "text": "",
        "parameters": sum(a.size for a in lstm.parameters.values()),
        "network": _layer(lstm, {}),
        "rnn": None,
        "x": _array("text", x),
    }


def parse_numbers(text: str) -> Array:
    """Read a row a line, or between semicolons; in it numbers with commas or spaces between them.

    >>> print(parse_numbers("1, 2; 3 4").tolist())
    [[1.0, 2.0], [3.0, 4.0]]
    """
    rows: list[list[float]] = []
    for number, line in enumerate(text.replace(";", "\n").splitlines(), 1):
        words = line.replace(",", " ").split()
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise InputError(
                f"{_OWNER}: row {number} of text is {line.strip()[:40]!r}; expected numbers, a row "
                "for each step (the model is an LSTM alone)"
            ) from None
        if row and rows and len(row) != len(rows[0]):
            raise InputError(
                f"{_OWNER}: row {number} of text has {len(row)} numbers; expected "
                f"{len(rows[0])}, as in the first"
            )
        rows += [row] if row else []
    if not rows:
        raise InputError(f"{_OWNER}: text is empty; expected numbers, a row for each step")
    return np.array(rows)


def _check_length(name: str, count: int, unit: str) -> None:
    if count < 1:
        raise InputError(f"{_OWNER}: {name} is empty; expected at least one of {unit}")
    if count > LONGEST:
        raise InputError(
            f"{_OWNER}: {name} has {count} {unit}; expected at most {LONGEST} (give a part of it)"
        )


def _named(vocabulary: str | None) -> str:
    return "bytes" if vocabulary is None else f"a vocabulary of {len(vocabulary)} characters"


def _whole(model: LanguageModel) -> dict[str, Any]:
    own = {n: a for n, a in model.parameters.items() if not n.startswith("lstm.")}
    return _layer(model.lstm_, own, prefix="lstm.")


def _layer(lstm: LSTM, others: dict[str, Array], prefix: str = "") -> dict[str, Any]:
    for function in lstm.cells[0].activations:
        if function not in _ACTIVATIONS:
            raise InputError(
                f"{_OWNER}: the model has the activation {function!r}; the page knows "
                f"{', '.join(_ACTIVATIONS)}"
            )
    arrays = {prefix + name: array for name, array in lstm.parameters.items()} | others
    return {
        "kind": "lstm",
        "config": {name: lstm.config[name] for name in _CONFIG},
        "arrays": {name: _array(name, array) for name, array in arrays.items()},
    }


def _recurrent(rnn: RNNLanguageModel) -> dict[str, Any]:
    names = {f"lstm.{name}_l0": name for name in ("weight_ih", "weight_hh", "bias")}
    names |= {name: name for name in ("embedding.weight", "head.weight", "head.bias")}
    config = {"input_size": rnn.embedding_size, "hidden_size": rnn.hidden_size, "num_layers": 1}
    return {
        "kind": "rnn",
        "config": {**config, "bidirectional": False, "proj_size": 0},
        "arrays": {to: _array(to, rnn.parameters[name]) for to, name in names.items()},
    }


def _array(name: str, array: Array) -> dict[str, Any]:
    if not np.isfinite(array).all():
        raise InputError(f"{_OWNER}: {name} has nan or inf; expected a model with finite weights")
    little = np.ascontiguousarray(array, "<f4")
    return {"shape": list(array.shape), "data": base64.b64encode(little.tobytes()).decode("ascii")}
