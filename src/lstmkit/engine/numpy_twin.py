"""The readable twin: one cell over time in NumPy, forward and backward.

The arithmetic of a step is in `advance`, that of its gradient in `retreat`; what can be done for
all steps at once (the products with x, and the weight gradients) is done around the loop. All
arrays are packed, see `lstmkit.engine.base`; G is the number of stacked gates, 4 or 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmkit.cell import DEFAULT_ACTIVATIONS, Cell
from lstmkit.engine.activations import activation, sigmoid
from lstmkit.engine.base import (
    NO_MASKS,
    Masks,
    State,
    Tape,
    Weights,
    bound,
    last_rows,
    normalize,
    normalize_backward,
)
from lstmkit.shapes import Array

BLOCK = 2048
"""Without a tape, x is projected this many tokens at a time, so that memory does not grow by 4H."""


def forward(
    cell: Cell,
    weights: Weights,
    x: Array,
    state: State,
    sizes: list[int],
    reset: Array | None = None,
    masks: Masks = NO_MASKS,
    keep_tape: bool = True,
) -> tuple[Array, State, Tape | None]:
    """Run one cell over packed sequences.

    Parameters
    ----------
    cell, weights
        The equations and their weights.
    x : array (tokens, I)
        Packed input.
    state : pair of arrays (N, P), (N, H)
        h and c before the first step.
    sizes : list of int
        Rows of each step.
    reset : array (tokens,) of bool, optional
        Where the state is forgotten before the step: it starts again at h_0 and c_0 if those
        are learned, else at zero.
    masks : Masks
        Random masks; none in inference.
    keep_tape : bool
        Whether `backward` will follow.

    Returns
    -------
    y : array (tokens, P)
        h of every step.
    state : pair of arrays (N, P), (N, H)
        The state at each sequence's true end.
    tape : Tape or None
    """
    weights = {name: np.asarray(array) for name, array in weights.items()}  # some may be in a file
    h0, c0 = state
    rows, tokens = len(h0), len(x)
    h = np.empty((rows + tokens, cell.output_size), x.dtype)
    c = np.empty((rows + tokens, cell.hidden_size), x.dtype)
    h[:rows], c[:rows] = h0, c0
    squashed = np.empty((tokens if keep_tape else 0, cell.hidden_size), x.dtype)
    extras: list[dict[str, Array]] = []
    norms: list[tuple[Array, Array]] = []
    start, before, projected = 0, 0, 0
    block = tokens if keep_tape else BLOCK
    z = np.empty((0, len(weights["weight_ih"])), x.dtype)
    with np.errstate(over="ignore"):  # σ(−1000) is 0 by way of e^1000 = inf
        for n in sizes:
            stop = start + n
            if stop > projected:
                first, projected = start, min(tokens, max(stop, start + block))
                z, norm = project(cell, weights, x[first:projected])
                norms += [norm] if norm else []
            h_old, c_old = h[before : before + n], c[before : before + n]
            if reset is not None and reset[start:stop].any():
                h_old, c_old = forget(weights, h_old, c_old, reset[start:stop])
            z_t = z[start - first : stop - first]
            h_new, c_new, a, extra = advance(
                cell, weights, z_t, h_old, c_old, _at(masks, start, stop)
            )
            before = rows + start
            h[before : before + n], c[before : before + n] = h_new, c_new
            if keep_tape:
                squashed[start:stop] = a
                extras.append(extra)
            start = stop
    last = last_rows(rows, sizes)
    end = (h[last], c[last])
    if not keep_tape:
        return h[rows:], end, None
    tape = Tape(x, z, h, c, squashed, sizes, reset, masks, extras, norms[0] if norms else None)
    return h[rows:], end, tape


def project(cell: Cell, weights: Weights, x: Array) -> tuple[Array, tuple[Array, Array] | None]:
    """Compute x W_ihᵀ + b for many steps at once, normalized if the cell asks for it."""
    z = x @ weights["weight_ih"].T
    norm = None
    if cell.layer_norm:
        norm = normalize(z)
        z = norm[0] * weights["norm_ih_gain"]
    if cell.bias:
        z += weights["bias"]
    return z, norm


def advance(
    cell: Cell, weights: Weights, z: Array, h: Array, c: Array, masks: Masks
) -> tuple[Array, Array, Array, dict[str, Array]]:
    """Take one step: from z = x W_ihᵀ + b and the old state to the new one.

    z (n, G·H) becomes the gates after their activations, in place.

    Returns
    -------
    h, c : arrays (n, P), (n, H)
        The new state.
    squashed : array (n, H)
        act(c), which the output gate lets through.
    extra : dict
        What the backward pass of the variants needs.
    """
    extra: dict[str, Array] = {}
    seen = h if masks.recurrent is None else h * masks.recurrent
    recurrent = seen @ weights["weight_hh"].T
    if cell.layer_norm:
        hat, inverse = normalize(recurrent)
        extra |= {"hh_hat": hat, "hh_inverse": inverse}
        recurrent = hat * weights["norm_hh_gain"]
    z += recurrent

    H = cell.hidden_size
    before_o = z[:, :-H]  # i, (f,) g: the gates that need the old c only
    z_o = z[:, -H:]
    if cell.peepholes:
        p = weights["peephole"]
        before_o[:, :H] += c * p[0]
        if not cell.coupled_gates:
            before_o[:, H : 2 * H] += c * p[1]
    if cell.gate_clip:
        before_o[:], extra["gates_inside"] = bound(before_o, cell.gate_clip)
    activate(cell, before_o)
    i, g = before_o[:, :H], before_o[:, -H:]
    f = 1 - i if cell.coupled_gates else before_o[:, H : 2 * H]

    c_new = f * c
    c_new += i * g
    if cell.cell_clip:
        c_new, extra["c_inside"] = bound(c_new, cell.cell_clip)
    if cell.zoneout[0]:
        kept = cell.zoneout[0] if masks.zoneout_c is None else masks.zoneout_c
        c_new = kept * c + (1 - kept) * c_new

    if cell.peepholes:
        z_o += c_new * weights["peephole"][-1]
    if cell.gate_clip:
        z_o[:], extra["o_inside"] = bound(z_o, cell.gate_clip)
    if cell.activations[0] == "sigmoid":
        sigmoid(z_o, out=z_o)
    else:
        z_o[:] = activation(cell.activations[0]).value(z_o)

    seen_c = c_new
    if cell.layer_norm:
        hat, inverse = normalize(c_new)
        extra |= {"c_hat": hat, "c_inverse": inverse}
        seen_c = hat * weights["norm_c_gain"] + weights["norm_c_shift"]
    squashed = activation(cell.activations[2]).value(seen_c)
    h_new = z_o * squashed
    if cell.proj_size:
        h_new = h_new @ weights["weight_hr"].T
    if cell.zoneout[1]:
        kept = cell.zoneout[1] if masks.zoneout_h is None else masks.zoneout_h
        h_new = kept * h + (1 - kept) * h_new
    return h_new, c_new, squashed, extra


def activate(cell: Cell, z: Array) -> None:
    """Replace z by the activations of i, (f,) and g, in place."""
    H = cell.hidden_size
    gate, candidate, _ = cell.activations
    if cell.activations[:2] == DEFAULT_ACTIVATIONS[:2]:
        sigmoid(z[:, :-H], out=z[:, :-H])
        np.tanh(z[:, -H:], out=z[:, -H:])
    else:
        z[:, :-H] = activation(gate).value(z[:, :-H])
        z[:, -H:] = activation(candidate).value(z[:, -H:])


def forward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, Tape | None]]:
    """Run `forward` for each; the native twin runs them side by side."""
    return [forward(*call) for call in calls]


def backward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, Weights]]:
    """Run `backward` for each."""
    return [backward(*call) for call in calls]


class Stepper:
    """Cells one above the other, fed one step at a time, with a copy of their weights."""

    def __init__(self, cells: list[Cell], weights: list[Weights], rows: int) -> None:
        self.cells = cells
        self.weights = [{name: np.array(w) for name, w in one.items()} for one in weights]

    def bind(self, h: Array, c: Array) -> None:
        """Let every step change these arrays: h (L, N, P) and c (L, N, H)."""
        self.h, self.c = h, c

    def step(self, x: Array, y: Array) -> None:
        """Take a step: x (N, I) in, y (N, P) out, and the new state in the place of the old."""
        with np.errstate(over="ignore"):
            for k, (cell, weights) in enumerate(zip(self.cells, self.weights, strict=True)):
                z, _ = project(cell, weights, x)
                h, c, _, _ = advance(cell, weights, z, self.h[k], self.c[k], NO_MASKS)
                self.h[k], self.c[k] = h, c
                x = self.h[k]
        y[...] = x


def backward(
    cell: Cell, weights: Weights, tape: Tape, dy: Array, dstate: State
) -> tuple[Array, State, Weights]:
    """Run the exact gradient of `forward` back through time.

    Parameters
    ----------
    cell, weights, tape
        As in and from the forward pass.
    dy : array (tokens, P)
        Gradient of the loss in every y.
    dstate : pair of arrays (N, P), (N, H)
        Gradient in the final state.

    Returns
    -------
    dx : array (tokens, I)
    dstate : pair of arrays (N, P), (N, H)
        Gradient in the initial state.
    grads : dict of arrays
        Gradient in every weight.
    """
    tokens = len(dy)
    dh, dc = dstate[0].copy(), dstate[1].copy()  # row k is what flows into sequence k's next state
    grads = {name: np.zeros_like(weights[name]) for name in cell.shapes()}
    dz = slopes(cell, tape.gates)  # each gate's slope now; times its gradient in the loop
    dr = np.empty_like(dz) if cell.layer_norm else dz  # gradient in h' W_hhᵀ
    dout = np.empty((tokens, cell.output_size), dy.dtype) if cell.proj_size else None
    seen = np.empty((tokens, cell.output_size), dy.dtype)  # h' as W_hh saw it

    stop = tokens
    for t in reversed(range(len(tape.sizes))):
        start, n = stop - tape.sizes[t], tape.sizes[t]
        at = slice(start, stop)
        moment = recall(weights, tape, t, at)
        seen[at] = moment.h_old
        if tape.masks.recurrent is not None:
            seen[at] *= tape.masks.recurrent[:n]
        dh[:n] += dy[at]
        dh_old, dc_old, dr_t, dout_t = retreat(cell, weights, moment, dh[:n], dc[:n], dz[at], grads)
        if dr is not dz:
            dr[at] = dr_t
        if dout is not None:
            dout[at] = dout_t
        dh[:n], dc[:n] = dh_old, dc_old
        if moment.fresh is not None:
            for name, flow in (("h_0", dh[:n]), ("c_0", dc[:n])):
                if name in grads:
                    grads[name] += flow[moment.fresh].sum(axis=0)
                flow[moment.fresh] = 0
        stop = start

    grads["weight_hh"] = dr.T @ seen
    if cell.bias:
        grads["bias"] = dz.sum(axis=0)
    if tape.norm_ih is not None:
        hat, inverse = tape.norm_ih
        grads["norm_ih_gain"] = (dz * hat).sum(axis=0)
        dz = normalize_backward(dz * weights["norm_ih_gain"], hat, inverse)
    grads["weight_ih"] = dz.T @ tape.x
    if dout is not None:
        o = tape.gates[:, -cell.hidden_size :]
        grads["weight_hr"] = dout.T @ (o * tape.squashed)
    return dz @ weights["weight_ih"], (dh, dc), grads


class Moment(NamedTuple):
    """One step of the tape."""

    h_old: Array
    c_old: Array
    gates: Array
    c: Array
    squashed: Array
    masks: Masks
    extra: dict[str, Array]
    fresh: Array | None  # rows that were reset before the step


def recall(weights: Weights, tape: Tape, t: int, at: slice) -> Moment:
    """Read step t, whose packed rows are ``at``, from the tape."""
    rows, n = len(tape.h) - len(tape.x), tape.sizes[t]
    before = rows + at.start - tape.sizes[t - 1] if t else 0
    h_old, c_old = tape.h[before : before + n], tape.c[before : before + n]
    fresh = tape.reset[at] if tape.reset is not None and tape.reset[at].any() else None
    if fresh is not None:
        h_old, c_old = forget(weights, h_old, c_old, fresh)
    c = tape.c[rows + at.start : rows + at.stop]
    masks = _at(tape.masks, at.start, at.stop)
    return Moment(h_old, c_old, tape.gates[at], c, tape.squashed[at], masks, tape.extras[t], fresh)


def retreat(
    cell: Cell, weights: Weights, moment: Moment, dh: Array, dc: Array, dz: Array, grads: Weights
) -> tuple[Array, Array, Array, Array]:
    """Take one step back: from the gradients in the new state to those in the old one.

    dz (n, G·H) comes as the slopes of the activations and leaves as the gradient in z, in
    place; the gradients of peepholes and of the norms of h' W_hhᵀ and c are added to grads.

    Returns
    -------
    dh, dc : arrays (n, P), (n, H)
        Gradient in the old state.
    dr : array (n, G·H)
        Gradient in h' W_hhᵀ.
    dout : array (n, P)
        Gradient in the output before its zoneout.
    """
    H = cell.hidden_size
    _, c_old, gates, c, squashed, masks, extra, _ = moment
    i, g, o = gates[:, :H], gates[:, -2 * H : -H], gates[:, -H:]
    f = 1 - i if cell.coupled_gates else gates[:, H : 2 * H]

    # h = zoneout(W_hr (o ∘ act(norm(c))))
    dout, dh_kept = dh, None
    if cell.zoneout[1]:
        kept = cell.zoneout[1] if masks.zoneout_h is None else masks.zoneout_h
        dout, dh_kept = (1 - kept) * dh, kept * dh
    dm = dout @ weights["weight_hr"] if cell.proj_size else dout
    dz_o = dz[:, -H:]
    dz_o *= dm * squashed
    dseen_c = dm * o
    dseen_c *= activation(cell.activations[2]).slope(squashed)
    if cell.layer_norm:
        grads["norm_c_gain"] += (dseen_c * extra["c_hat"]).sum(axis=0)
        grads["norm_c_shift"] += dseen_c.sum(axis=0)
        dseen_c = normalize_backward(
            dseen_c * weights["norm_c_gain"], extra["c_hat"], extra["c_inverse"]
        )
    dc = dc + dseen_c
    if cell.gate_clip:
        dz_o *= extra["o_inside"]
    if cell.peepholes:
        grads["peephole"][-1] += (dz_o * c).sum(axis=0)
        dc += dz_o * weights["peephole"][-1]

    # c = zoneout(clip(f ∘ c' + i ∘ g))
    dc_kept = None
    if cell.zoneout[0]:
        kept = cell.zoneout[0] if masks.zoneout_c is None else masks.zoneout_c
        dc, dc_kept = (1 - kept) * dc, kept * dc
    if cell.cell_clip:
        dc = dc * extra["c_inside"]
    if cell.coupled_gates:
        dz[:, :H] *= dc * (g - c_old)  # f = 1 − i
    else:
        dz[:, :H] *= dc * g
        dz[:, H : 2 * H] *= dc * c_old
    dz[:, -2 * H : -H] *= dc * i
    dc_old = dc * f
    if dc_kept is not None:
        dc_old += dc_kept
    if cell.gate_clip:
        dz[:, :-H] *= extra["gates_inside"]
    if cell.peepholes:
        p, dp = weights["peephole"], grads["peephole"]
        for k in range(len(p) - 1):
            dz_k = dz[:, k * H : (k + 1) * H]
            dp[k] += (dz_k * c_old).sum(axis=0)
            dc_old += dz_k * p[k]

    # z = … + norm((mask ∘ h') W_hhᵀ)
    dr = dz
    if cell.layer_norm:
        hat = extra["hh_hat"]
        grads["norm_hh_gain"] += (dz * hat).sum(axis=0)
        dr = normalize_backward(dz * weights["norm_hh_gain"], hat, extra["hh_inverse"])
    dh_old: Array = dr @ weights["weight_hh"]
    if masks.recurrent is not None:
        dh_old *= masks.recurrent
    if dh_kept is not None:
        dh_old += dh_kept
    return dh_old, dc_old, dr, dout


def linear(weights: Weights, x: Array) -> Array:
    """Compute x Wᵀ + b for x (n, in), weight (out, in) and, if there is one, bias (out,)."""
    y: Array = x @ weights["weight"].T
    if "bias" in weights:
        y += weights["bias"]
    return y


def linear_step(weights: Weights, rows: int) -> Callable[[Array], Array]:
    """Return `linear` for x of so many rows; see `lstmkit.engine.linear_step`."""
    return lambda x: linear(weights, x)


def linear_backward(weights: Weights, x: Array, dy: Array) -> tuple[Array, Weights]:
    """Return dx = dy W, and the gradients dW = dyᵀ x and db = Σ dy."""
    grads: Weights = {"weight": dy.T @ x}
    if "bias" in weights:
        grads["bias"] = dy.sum(axis=0)
    return dy @ weights["weight"], grads


def slopes(cell: Cell, gates: Array) -> Array:
    """Return the derivative of every gate's activation, from its value."""
    H = cell.hidden_size
    gate, candidate, _ = (activation(each).slope for each in cell.activations)
    slope = np.empty_like(gates)
    slope[:, : -2 * H] = gate(gates[:, : -2 * H])
    slope[:, -2 * H : -H] = candidate(gates[:, -2 * H : -H])
    slope[:, -H:] = gate(gates[:, -H:])
    return slope


def forget(weights: Weights, h: Array, c: Array, fresh: Array) -> State:
    """Start the marked rows again: at the learned state if there is one, else at zero."""
    h, c = h.copy(), c.copy()
    h[fresh] = weights.get("h_0", 0)
    c[fresh] = weights.get("c_0", 0)
    return h, c


def _at(masks: Masks, start: int, stop: int) -> Masks:
    """Return the masks of one step."""
    if masks is NO_MASKS:
        return masks
    recurrent, of_c, of_h = masks
    return Masks(
        None if recurrent is None else recurrent[: stop - start],
        None if of_c is None else of_c[start:stop],
        None if of_h is None else of_h[start:stop],
    )
