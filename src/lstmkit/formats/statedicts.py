"""The LSTMs among the arrays of a PyTorch state dict, found by their names and shapes.

The one table of PyTorch's names. An `nn.LSTM` has, for each layer k, ``weight_ih_lk``,
``weight_hh_lk``, ``bias_ih_lk``, ``bias_hh_lk`` and, projected, ``weight_hr_lk``; those of the
other direction end in ``_reverse``. An `nn.LSTMCell` has the first four without ``_lk``. Gates are
stacked in our order, i, f, g, o. What stands before these names is the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array

STORED = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2"}
MEANT = {"float64": "f8", "float32": "f4", "float16": "f4", "bfloat16": "f4"}
MOST_LAYERS = 1024
PIECES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
_NAME = re.compile(r"(?:(.*)\.)?(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(_l[0-9]{1,4}|)(_reverse|)", re.DOTALL)  # fmt: skip  # noqa: E501
# What PyTorch leaves in the place of a weight that is computed from others.
_COMPUTED = re.compile(r"(?:.*\.)?(?:weight|bias)_(?:ih|hh|hr)(?:_l[0-9]+)?(?:_reverse)?(_g|_v|_orig|_raw|_mask)", re.DOTALL)  # fmt: skip  # noqa: E501


class Kind(NamedTuple):
    """Dtype and shape of an array in a file."""

    dtype: str
    shape: tuple[int, ...]


class Found(NamedTuple):
    """An LSTM in a state dict.

    ``arguments`` are those of `lstmkit.LSTM`; ``names`` gives, for each of its parameters, the one
    array or the two (biases, to be added) that it is made of.
    """

    prefix: str
    arguments: dict[str, Any]
    names: dict[str, tuple[str, ...]]


def find(kinds: Mapping[str, Kind]) -> tuple[list[Found], list[str]]:
    """Return the LSTMs in the order of the file, and a line for everything else."""
    groups: dict[tuple[str, bool], dict[str, str]] = {}
    lines: list[str] = []
    for name in kinds:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        prefix, piece, layer, end = match.groups()
        if not layer and end:
            continue
        short = f"{piece}_l{int(layer[2:])}{end}" if layer else piece
        if short == f"{piece}{layer}{end}":
            groups.setdefault((prefix or "", bool(layer)), {})[short] = name
    found: list[Found] = []
    used: set[str] = set()
    for (prefix, layered), names in groups.items():
        result = _lstm(prefix, layered, names, kinds)
        used |= set(names.values())
        if isinstance(result, Found):
            found.append(result)
        else:
            lines.append(f"{_called(prefix)}: {result}")
    for name, (dtype, shape) in kinds.items():
        if name not in used:
            why = "" if not _computed(name) else _COMPUTED_LINE
            lines.append(f"{name!r:.200}: {dtype} {list(shape)}{why}")
    return found, lines


_COMPUTED_LINE = (
    ": a weight is computed from it (weight_norm, parametrizations, pruning); in torch, take that "
    "off and save again: torch.nn.utils.parametrize.remove_parametrizations"
)


def _computed(name: str) -> bool:
    return ".parametrizations." in f".{name}" or _COMPUTED.fullmatch(name) is not None


def _called(prefix: str) -> str:
    return f"prefix {prefix!r:.200}"


def _lstm(
    prefix: str, layered: bool, names: dict[str, str], kinds: Mapping[str, Kind]
) -> Found | str:
    """Return the LSTM that these arrays are, or why they are none."""
    first = "_l0" if layered else ""
    shapes = {short: kinds[name].shape for short, name in names.items()}
    for short, name in names.items():
        if kinds[name].dtype not in STORED:
            return f"{short} is {kinds[name].dtype}; expected one of {', '.join(STORED)}"
    ih, hh = shapes.get(f"weight_ih{first}"), shapes.get(f"weight_hh{first}")
    if ih is None or hh is None:
        return _missing(f"weight_ih{first}" if ih is None else f"weight_hh{first}")
    if len(ih) != 2 or len(hh) != 2 or 0 in ih + hh:
        return f"weight_ih{first} has shape {ih}, weight_hh{first} {hh}; expected matrices"
    hr = shapes.get(f"weight_hr{first}")
    if hr is not None and len(hr) != 2:
        return f"weight_hr{first} has shape {hr}; expected (proj_size, hidden_size)"
    hidden = hr[1] if hr else hh[1]
    rows = ih[0]
    if rows != 4 * hidden:
        if rows == 3 * hidden and not hr:
            return f"a GRU, not an LSTM (weight_ih{first} has shape {ih}: three gates of {hidden})"
        if rows == hidden and not hr:
            return f"a plain RNN, not an LSTM (weight_ih{first} has shape {ih}: no gates)"
        return (
            f"no LSTM: weight_ih{first} has {rows} rows and hidden_size is {hidden} by "
            f"{'weight_hr' if hr else 'weight_hh'}{first}; expected four times as many rows"
        )
    layers = 1 + max(int(short.split("_l")[1].split("_")[0]) for short in names) if layered else 1
    if layers > MOST_LAYERS:
        return f"it has {layers} layers; expected at most {MOST_LAYERS}"
    arguments: dict[str, Any] = {
        "input_size": ih[1],
        "hidden_size": hidden,
        "num_layers": layers,
        "bidirectional": any(short.endswith("_reverse") for short in names),
        "bias": any(short.startswith("bias") for short in names),
        "proj_size": hr[0] if hr else 0,
        "dtype": "float64"
        if any(kinds[name].dtype == "float64" for name in names.values())
        else "float32",
    }
    expected = shapes_of(arguments, layered)
    for short, shape in expected.items():
        if short not in shapes:
            return _missing(short)
        if shapes[short] != shape:
            return f"{short} has shape {shapes[short]}; expected {shape}"
    surplus = sorted(set(shapes) - set(expected))
    if surplus:
        return f"{surplus[0]} is one array too many for {described(arguments)}"
    return Found(prefix, arguments, _parts(arguments, layered, names))


def _missing(short: str) -> str:
    return f"no whole LSTM: {short} is missing"


def described(arguments: dict[str, Any]) -> str:
    """Write an LSTM the way it is made."""
    sizes = [arguments["input_size"], arguments["hidden_size"], arguments["num_layers"]]
    more = [f"{k}={v}" for k, v in arguments.items() if k in ("bidirectional", "proj_size") and v]
    return f"LSTM({', '.join([*map(str, sizes), *more])})"


def endings(arguments: dict[str, Any], layered: bool = True) -> list[str]:
    """Return what PyTorch's names end in, cell by cell in our order."""
    if not layered:
        return [""]
    directions = ("", "_reverse") if arguments["bidirectional"] else ("",)
    return [f"_l{k}{end}" for k in range(arguments["num_layers"]) for end in directions]


def shapes_of(arguments: dict[str, Any], layered: bool = True) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the state dict of such an `nn.LSTM`, in PyTorch's order."""
    hidden, proj = arguments["hidden_size"], arguments["proj_size"]
    output = proj or hidden
    width = output * (2 if arguments["bidirectional"] else 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for end in endings(arguments, layered):
        first = end.startswith("_l0") or not layered
        shapes[f"weight_ih{end}"] = (4 * hidden, arguments["input_size"] if first else width)
        shapes[f"weight_hh{end}"] = (4 * hidden, output)
        if arguments["bias"]:
            shapes[f"bias_ih{end}"] = shapes[f"bias_hh{end}"] = (4 * hidden,)
        if proj:
            shapes[f"weight_hr{end}"] = (proj, hidden)
    return shapes


def _parts(
    arguments: dict[str, Any], layered: bool, names: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    parts: dict[str, tuple[str, ...]] = {}
    ends = endings(arguments, layered)
    for theirs, ours in zip(ends, endings(arguments), strict=True):
        parts[f"weight_ih{ours}"] = (names[f"weight_ih{theirs}"],)
        parts[f"weight_hh{ours}"] = (names[f"weight_hh{theirs}"],)
        if arguments["bias"]:
            parts[f"bias{ours}"] = (names[f"bias_ih{theirs}"], names[f"bias_hh{theirs}"])
        if arguments["proj_size"]:
            parts[f"weight_hr{ours}"] = (names[f"weight_hr{theirs}"],)
    return parts


def add(biases: list[Array]) -> Array:
    """Add PyTorch's two biases; where the second is zero the first stays as it is, −0 included."""
    first, second = biases
    with np.errstate(all="ignore"):  # a file may hold infinities
        return first if not second.any() else first + second


def widen(array: Array, dtype: str) -> Array:
    """Return float32 or float64 numbers in this machine's order; copied only if need be."""
    if dtype == "bfloat16":  # the upper half of a float32
        wide = array.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return array.astype(MEANT[dtype], copy=False)
