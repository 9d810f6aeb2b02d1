"""Other people's names and layouts of the same weights.

The layer stacks the gates in the order i, f, g, o and keeps the parts for x and for h apart:
``weight_ih (4H, I)``, ``weight_hh (4H, H)``, ``bias (4H,)``. Lessons, courses and frameworks do it
otherwise, in six families:

====== ========================== ============================================================
family keys                       layout
====== ========================== ============================================================
A      ``Wf Wi Wc Wo``            one matrix a gate, (H, H+I) times ``[h; x]``
B      ``W_f W_i W_c W_o``        as A; some act on ``[x; h]``
C      ``W_f … U_f …``            W for x and U for h, mostly; the other way occurs
D      ``W_xf … W_hf …``          x·W, (I, H) and (H, H); also transposed
E      ``Wx Wh b``                all gates in one matrix, in one order or another
F      ``Wf Wu Wc Wo``            "update" gate; (H+I, H), x·W on ``[h, x]``
====== ========================== ============================================================

`read` turns any of them into ours and says what it found, `write` turns ours into any of them.
What names and shapes do not settle is asked for, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.naming import (
    CONCATS,
    ORDERS,
    ORIENTATIONS,
    ROLES,
    Convention,
    by_names,
    names_of,
    roles_open,
)
from lstmkit.shapes import Array, InputError, any_array, one_of, real_array

TEXTBOOK = ("i", "f", "C", "o")
"""The textbook's letters of the gates i, f, g, o."""


# ------------------------------------------------------------------------- names and shapes


def detect(
    params: Mapping[str, ArrayLike],
    *,
    orientation: str | None = None,
    concat: str | None = None,
    order: str | None = None,
    roles: str | None = None,
    owner: str = "conventions",
) -> Convention:
    """Find out from names and shapes how somebody's weights are laid out.

    Parameters
    ----------
    params : dict
        Arrays by name; names that are no weights of the cell (``W_hy``, ``b_y``) are left alone.
    orientation : {"Wx", "xW"}, optional
        Whether a matrix stands before or after what it acts on.
    concat : {"hx", "xh"}, optional
        Order of h and x where a matrix acts on both.
    order : str, optional
        Order of fused gates, any arrangement of the letters i, f, g, o.
    roles : {"W=x", "W=h"}, optional
        Which of the matrices W and U is for x.
    owner : str
        Who speaks in an error.

    Returns
    -------
    Convention

    Raises
    ------
    InputError
        If names are missing, shapes disagree, or names and shapes leave something open; the
        message then lists the choices and the argument to pass.
    """
    for name, value, choices in (
        ("orientation", orientation, ORIENTATIONS),
        ("concat", concat, CONCATS),
        ("roles", roles, ROLES),
    ):
        if value is not None:
            one_of(owner, name, value, list(choices))
    if order is not None and (not isinstance(order, str) or sorted(order) != sorted("ifgo")):
        raise InputError(f"{owner}: order is {order!r}; expected the letters i, f, g, o, each once")
    found = _scheme(owner, params)
    shapes = {name: _shape(owner, name, params[name]) for name in names_of(found)}
    found, hidden = _vectors(owner, found, shapes)
    found = _orientation(owner, found, shapes, hidden, orientation, roles)
    if found.concat is not None:
        # A and F are defined by [h; x]; under B's names and in one fused matrix both are in use.
        if concat is None and (found.family in "BE"):
            raise InputError(
                f"{owner}: {found.matrices[0][0]} acts on h and x together, in an order that names "
                f"and shapes do not tell; expected {_choices('concat', CONCATS)}"
            )
        found = replace(found, concat=concat or found.concat)
    if len(found.matrices[0]) == 1:
        if order is None and found.order is None:
            raise InputError(
                f"{owner}: {found.matrices[0][0]} holds all gates, in an order that names and "
                f"shapes do not tell; expected {_choices('order', ORDERS)}, or another order"
            )
        found = replace(found, order=order or found.order)
    _check_sizes(owner, found, shapes)
    return found


def _choices(argument: str, choices: Mapping[str, str]) -> str:
    return " or ".join(f'{argument}="{key}" ({text})' for key, text in choices.items())


def _scheme(owner: str, params: Mapping[str, ArrayLike]) -> Convention:
    """Choose the scheme whose matrices are all there and that explains the most names."""
    names = set(params)
    best: Convention | None = None
    for scheme in by_names(names):
        if not {name for group in scheme.matrices for name in group} <= names:
            continue
        here = tuple(group for group in scheme.biases if set(group) <= names)
        half = [name for group in scheme.biases for name in group if name in names]
        if half and not here:
            lost = [name for name in scheme.biases[0] if name not in names]
            raise InputError(f"{owner}: params lacks {', '.join(lost)}")
        candidate = replace(scheme, biases=here)
        if best is None or len(names_of(candidate)) > len(names_of(best)):
            best = candidate
    if best is not None:
        return best
    nearest = by_names(names)
    if nearest:
        lost = [name for name in names_of(nearest[0]) if name not in names]
        raise InputError(f"{owner}: params lacks {', '.join(lost)}")
    raise InputError(
        f"{owner}: params has the names {', '.join(map(repr, params)) or '(none)'}; expected those "
        "of an LSTM cell, such as Wf Wi Wc Wo bf bi bc bo, W_xf W_hf b_f ..., or Wx Wh b"
    )


def _shape(owner: str, name: str, value: ArrayLike) -> tuple[int, ...]:
    return any_array(owner, name, value, ("rows", "columns")).shape


def _vectors(
    owner: str, found: Convention, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Convention, int | None]:
    """Find how biases are written, and the hidden size that they tell."""
    if not found.biases:
        return found, None
    name = found.biases[0][0]
    shape = shapes[name]
    if len(shape) == 1:
        kind = "flat"
    elif len(shape) == 2 and shape[1] == 1 != shape[0]:
        kind = "column"
    elif len(shape) == 2 and shape[0] == 1:
        kind = "column" if shape == (1, 1) else "row"
    else:
        raise InputError(f"{owner}: {name} has shape {shape}; expected (H,), (H, 1) or (1, H)")
    size = max(shape, default=0)
    parts = 4 if len(found.matrices[0]) == 1 else 1
    if size == 0 or size % parts:
        raise InputError(f"{owner}: {name} has shape {shape}; expected 4H numbers, H for each gate")
    return replace(found, vectors=kind), size // parts


def _orientation(
    owner: str,
    found: Convention,
    shapes: Mapping[str, tuple[int, ...]],
    hidden: int | None,
    orientation: str | None,
    roles: str | None,
) -> Convention:
    """Settle which way the matrices stand and, of W and U, which is for x."""
    for group in found.matrices:
        for name in group:
            if len(shapes[name]) != 2 or 0 in shapes[name]:
                raise InputError(f"{owner}: {name} has shape {shapes[name]}; expected a matrix")
    first, last = found.matrices[0][0], found.matrices[-1][0]
    fused = len(found.matrices[0]) == 1
    if found.concat is not None:
        rows, columns = shapes[first]
        if not fused:  # (H, H+I) or (H+I, H)
            told = "Wx" if rows < columns else "xW" if columns < rows else None
        else:  # (4H, H+I) or (H+I, 4H): the bias tells H
            fits_wx = hidden is None or rows == 4 * hidden
            fits_xw = hidden is None or columns == 4 * hidden
            told = None if fits_wx == fits_xw else "Wx" if fits_wx else "xW"
        if told is None and orientation is None and fused and rows == columns:
            raise InputError(
                f"{owner}: {first} has shape {shapes[first]}, which fits both ways; expected "
                f"{_choices('orientation', ORIENTATIONS)}"
            )
        return replace(found, orientation=orientation or told or found.orientation)

    if roles_open(found):
        square = [r == c for r, c in (shapes[first], shapes[last])]
        if fused:
            sizes = [min(shape) for shape in (shapes[first], shapes[last])]
            square = [size == hidden for size in sizes] if hidden else [False, False]
        if roles is None and square[0] == square[1]:
            raise InputError(
                f"{owner}: {first} and {last} have the shapes {shapes[first]} and {shapes[last]}, "
                f"which do not tell which is for x; expected {_choices('roles', ROLES)}"
            )
        swap = roles == "W=h" if roles else square[0]
        if swap:
            found = replace(found, matrices=found.matrices[::-1])
            first, last = last, first
    if fused:
        rows, columns = shapes[last]  # (4H, H) or (H, 4H), never square
        told = "Wx" if rows > columns else "xW"
    else:
        rows, columns = shapes[first]  # (H, I) or (I, H)
        hidden = shapes[last][0] if hidden is None else hidden
        told = None if rows == columns else "Wx" if rows == hidden else "xW"
    if told is None and orientation is None:
        raise InputError(
            f"{owner}: {first} has shape {shapes[first]}, which fits both ways; expected "
            f"{_choices('orientation', ORIENTATIONS)}"
        )
    return replace(found, orientation=orientation or told or found.orientation)


def _check_sizes(
    owner: str, found: Convention, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, int]:
    """Return (I, H), or say which array disagrees with the others."""
    parts = 4 if found.order else 1
    turn = -1 if found.orientation == "xW" else 1
    rows, columns = shapes[found.matrices[-1][0]][::turn]
    hidden = rows // parts
    if rows % parts:
        came = shapes[found.matrices[-1][0]]
        raise InputError(
            f"{owner}: {found.matrices[-1][0]} has shape {came}; expected 4H "
            f"{'rows' if turn > 0 else 'columns'}"
        )
    if found.concat is None:
        inputs = shapes[found.matrices[0][0]][::turn][1]
        wide = [inputs, hidden]
    else:
        inputs = columns - hidden
        wide = [hidden + inputs]
        if inputs < 1:
            raise InputError(
                f"{owner}: {found.matrices[0][0]} has shape {shapes[found.matrices[0][0]]}; "
                f"expected {'(H, H+I)' if turn > 0 else '(H+I, H)'}, with at least one input"
            )
    for group, width in zip(found.matrices, wide, strict=True):
        for name in group:
            want = (parts * hidden, width)[::turn]
            if shapes[name] != want:
                raise InputError(f"{owner}: {name} has shape {shapes[name]}; expected {want}")
    bias = _vector_shape(found.vectors, parts * hidden)
    for name in (name for group in found.biases for name in group):
        if shapes[name] != bias:
            raise InputError(f"{owner}: {name} has shape {shapes[name]}; expected {bias}")
    return inputs, hidden


def _vector_shape(vectors: str, size: int) -> tuple[int, ...]:
    return {"flat": (size,), "column": (size, 1), "row": (1, size)}[vectors]


# ------------------------------------------------------------------------- theirs and ours


def read(
    params: Mapping[str, ArrayLike],
    convention: Convention | None = None,
    *,
    orientation: str | None = None,
    concat: str | None = None,
    order: str | None = None,
    roles: str | None = None,
    owner: str = "conventions",
) -> tuple[dict[str, Array], Convention]:
    """Turn anybody's weights of one cell into ours.

    Parameters
    ----------
    params : dict
        See `detect`.
    convention : Convention, optional
        How they are laid out; found with `detect`, to which the other arguments go, if not given.
    orientation, concat, order, roles, owner
        See `detect`.

    Returns
    -------
    weights : dict
        ``weight_ih (4H, I)``, ``weight_hh (4H, H)`` and, where there are biases, ``bias (4H,)``;
        gates in the order i, f, g, o; copies.
    convention : Convention
        What was found.

    Raises
    ------
    InputError
        As `detect`, or if an array holds something else than real numbers.

    Examples
    --------
    >>> theirs = {"Wx": np.ones((3, 8)), "Wh": np.ones((2, 8)), "b": np.ones(8)}
    >>> weights, found = read(theirs, order="ifog")
    >>> print(weights["weight_ih"].shape, weights["weight_hh"].shape, weights["bias"].shape)
    (8, 3) (8, 2) (8,)
    >>> print(found.describe())
    family E (Wx, Wh, b): (I, 4H) and (H, 4H), x·W, gates in the order i, f, o, g, flat biases
    """
    if convention is None:
        convention = detect(
            params, orientation=orientation, concat=concat, order=order, roles=roles, owner=owner
        )
    missing = [name for name in names_of(convention) if name not in params]
    if missing:
        raise InputError(f"{owner}: params lacks {', '.join(missing)}")
    shapes = {name: _shape(owner, name, params[name]) for name in names_of(convention)}
    inputs, hidden = _check_sizes(owner, convention, shapes)

    def ours(group: tuple[str, ...], vectors: bool) -> Array:
        arrays = [real_array(owner, name, params[name], shapes[name]) for name in group]
        if vectors:
            arrays = [array.reshape(-1) for array in arrays]
        elif convention.orientation == "xW":
            arrays = [array.T for array in arrays]
        if convention.order:
            parts = np.split(arrays[0], 4)
            arrays = [parts[convention.order.index(gate)] for gate in "ifgo"]
        return np.concatenate(arrays)

    matrices = [ours(group, False) for group in convention.matrices]
    if convention.concat is not None:
        (both,) = matrices
        cut = hidden if convention.concat == "hx" else inputs
        first, second = both[:, :cut].copy(), both[:, cut:].copy()
        matrices = [second, first] if convention.concat == "hx" else [first, second]
    weights = {"weight_ih": matrices[0], "weight_hh": matrices[1]}
    if convention.biases:
        biases = [ours(group, True) for group in convention.biases]
        weights["bias"] = biases[0] if len(biases) == 1 else biases[0] + biases[1]
    return weights, convention


def write(weights: Mapping[str, Array], convention: Convention) -> dict[str, Array]:
    """Turn our weights into somebody else's: undo `read`, exactly.

    Of two biases, the first gets ours and the second is zero.
    """
    stacked = len(weights["weight_hh"])
    matrices = [weights["weight_ih"], weights["weight_hh"]]
    if convention.concat is not None:
        parts = matrices[::-1] if convention.concat == "hx" else matrices
        matrices = [np.concatenate(parts, axis=1)]
    bias = np.asarray(weights.get("bias", np.zeros(stacked, weights["weight_hh"].dtype)))
    result: dict[str, Array] = {}

    def put(group: tuple[str, ...], array: Array) -> None:
        gates = dict(zip("ifgo", np.split(array, 4), strict=True))
        if convention.order:
            pieces = [np.concatenate([gates[gate] for gate in convention.order])]
        else:
            pieces = [gates[gate] for gate in "ifgo"]
        for name, piece in zip(group, pieces, strict=True):
            if piece.ndim == 1:
                piece = piece.reshape(_vector_shape(convention.vectors, len(piece)))
            elif convention.orientation == "xW":
                piece = piece.T
            result[name] = piece.copy()

    for group, array in zip(convention.matrices, matrices, strict=True):
        put(group, array)
    for k, group in enumerate(convention.biases):
        put(group, bias if k == 0 else np.zeros_like(bias))
    return result


# ----------------------------------------------------------------------------- the textbook


def from_textbook(owner: str, params: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Stack ``Wf Wi WC Wo (H, H+I)`` and ``bf bi bC bo``, (H,) or (H, 1), the way a cell has them.

    Raises
    ------
    InputError
        If a name is missing or a shape disagrees with the others.
    """
    missing = [a + gate for a in "Wb" for gate in TEXTBOOK if a + gate not in params]
    if missing:
        raise InputError(f"{owner}: params lacks {', '.join(missing)}")
    hidden = any_array(owner, "bf", params["bf"], ("hidden",)).size
    columns = any_array(owner, "Wf", params["Wf"], ("hidden", "hidden + input")).shape[-1:]
    if columns <= (hidden,):
        raise InputError(
            f"{owner}: Wf has shape {np.shape(params['Wf'])}; expected (hidden={hidden}, hidden + "
            "input), with at least one column for the input"
        )
    axes = (("hidden", hidden), ("hidden + input", columns[0]))
    w = [real_array(owner, f"W{gate}", params[f"W{gate}"], axes) for gate in TEXTBOOK]
    b = [any_array(owner, f"b{gate}", params[f"b{gate}"], ("hidden",)) for gate in TEXTBOOK]
    flat = [v.reshape(-1) if v.shape == (hidden, 1) else v for v in b]
    bias = [
        real_array(owner, f"b{gate}", v, (("hidden", hidden),))
        for gate, v in zip(TEXTBOOK, flat, strict=True)
    ]
    both = np.concatenate(w)
    return {
        "weight_ih": both[:, hidden:],
        "weight_hh": both[:, :hidden],
        "bias": np.concatenate(bias),
    }


def to_textbook(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Undo `from_textbook`: eight float64 arrays, copies, the biases (H,)."""
    stacked, hidden = weights["weight_hh"].shape
    both = np.concatenate([weights["weight_hh"], weights["weight_ih"]], axis=1, dtype=np.float64)
    bias = np.asarray(weights.get("bias", np.zeros(stacked)), np.float64)
    params: dict[str, Array] = {}
    for k, gate in enumerate(TEXTBOOK):
        rows = slice(k * hidden, (k + 1) * hidden)
        params[f"W{gate}"], params[f"b{gate}"] = both[rows].copy(), bias[rows].copy()
    return params
