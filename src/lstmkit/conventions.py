"""Other people's names and layouts of the same weights.

The textbook has four matrices that act on ``[h; x]``; the layer stacks the gates in the order
i, f, g, o and keeps the parts for x and for h apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.shapes import Array, InputError, any_array, real_array

TEXTBOOK = ("i", "f", "C", "o")
"""The textbook's letters of the gates i, f, g, o."""


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
