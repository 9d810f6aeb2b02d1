"""The LSTM as one writes it by hand in PyTorch, for the variants that `torch.nn.LSTM` lacks.

Written to be as fast as such a loop can be: the input is projected for all steps in one product,
the gates stand in the order i, f, o, g so that one σ serves three of them, and masks are drawn for
all steps at once. What is left is what autograd and some ten operations a step cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from grid import Arrays, Problem
from torch.nn import functional

Tensor = torch.Tensor
ORDER = (0, 1, 3, 2)  # i, f, g, o ↔ i, f, o, g
STACKED = {"weight_ih", "weight_hh", "bias", "norm_ih_gain", "norm_hh_gain"}


def reorder(array: np.ndarray) -> np.ndarray:
    """Between the two orders of the gates; twice gives back the original."""
    gates = array.reshape(4, -1, *array.shape[1:])
    return np.ascontiguousarray(gates[list(ORDER)]).reshape(array.shape)


def advance(
    h: Tensor, c: Tensor, z_x: Tensor, kept: Sequence[Tensor], w: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """One step; z_x (N, 4H) is the projected input, w the weights that the step needs."""
    hidden = h.shape[1]
    if "norm_hh_gain" in w:
        product = h @ w["weight_hh"].t()
        z = z_x + functional.layer_norm(product, product.shape[1:], w["norm_hh_gain"])
    else:
        z = torch.addmm(z_x, h, w["weight_hh"].t())
    g = torch.tanh(z[:, 3 * hidden :])
    if "peephole" in w:
        p = w["peephole"]
        both = torch.addcmul(z[:, : 2 * hidden].unflatten(1, (2, hidden)), p[:2], c.unsqueeze(1))
        i, f = torch.sigmoid(both).unbind(1)
    else:
        i, f, o = torch.sigmoid(z[:, : 3 * hidden]).chunk(3, 1)
    c_new = f * c + i * g
    if kept:
        c_new = torch.where(kept[0], c, c_new)
    if "peephole" in w:
        o = torch.sigmoid(torch.addcmul(z[:, 2 * hidden : 3 * hidden], p[2], c_new))
    seen = c_new
    if "norm_c_gain" in w:
        seen = functional.layer_norm(c_new, c_new.shape[1:], w["norm_c_gain"], w["norm_c_shift"])
    h_new = o * torch.tanh(seen)
    if kept:
        h_new = torch.where(kept[1], h, h_new)
    return h_new, c_new


def run_steps(
    h: Tensor, c: Tensor, z_x: Tensor, kept: Sequence[Tensor], w: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Some steps: z_x (steps, N, 4H) and masks (steps, N, H) → y (steps, N, H), h, c."""
    y = []
    masks = [mask.unbind(0) for mask in kept]
    for t, z_t in enumerate(z_x.unbind(0)):
        h, c = advance(h, c, z_t, [mask[t] for mask in masks], w)
        y.append(h)
    return torch.stack(y), h, c


class Training:
    """Forward and backward of a stack by hand; the loop goes ``at_once`` steps at a time.

    Parameters
    ----------
    steps
        `run_steps`, or what `torch.compile` made of it.
    """

    def __init__(self, problem: Problem, steps: Callable = run_steps, at_once: int = 0) -> None:
        self.problem, self.steps = problem, steps
        self.at_once = at_once or problem.work.steps
        self.layers = [
            {
                name: torch.from_numpy(reorder(a) if name in STACKED else a.copy()).requires_grad_()
                for name, a in problem.weights(layer).items()
            }
            for layer in range(problem.work.layers)
        ]
        # Time first, as a user who cares would store it.
        self.x = torch.from_numpy(problem.x.swapaxes(0, 1).copy()).requires_grad_()
        self.dy = torch.from_numpy(problem.dy.swapaxes(0, 1).copy())
        self.leaves = [self.x, *(w for layer in self.layers for w in layer.values())]

    def layer(self, x: Tensor, w: dict[str, Tensor], kept: Sequence[Tensor]) -> Tensor:
        steps, batch, hidden = len(x), x.shape[1], w["weight_hh"].shape[1]
        if "norm_ih_gain" in w:
            z_x = functional.linear(x, w["weight_ih"])
            z_x = functional.layer_norm(z_x, z_x.shape[2:], w["norm_ih_gain"], w["bias"])
        else:
            z_x = functional.linear(x, w["weight_ih"], w["bias"])
        h = c = x.new_zeros(batch, hidden)
        inside = {k: v for k, v in w.items() if k not in ("weight_ih", "norm_ih_gain", "bias")}
        pieces = []
        # A piece that is the whole sequence is handed over as it is: no slice, no concatenation.
        for first in range(0, steps, self.at_once):
            part = slice(first, first + self.at_once)
            y, h, c = self.steps(h, c, z_x[part], [mask[part] for mask in kept], inside)
            pieces.append(y)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def __call__(self, kept: Sequence[Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return y and the gradients in `leaves`; masks are drawn unless they are given."""
        work = self.problem.work
        if kept is None:
            kept = []
            if work.variant == "zoneout":
                shape = (work.steps, work.batch, work.hidden_size)
                rates = self.problem.lstm.cells[0].zoneout
                kept = [torch.empty(shape, dtype=torch.bool).bernoulli_(rate) for rate in rates]
        y = self.x
        for w in self.layers:
            y = self.layer(y, w, kept)
        return y, torch.autograd.grad(y, self.leaves, self.dy)

    def outputs(self) -> Arrays:
        kept = None
        if self.problem.work.variant == "zoneout":
            kept = [torch.from_numpy(mask) for mask in self.problem.masks]
        y, (dx, *gradients) = self(kept)
        found = {"y": y.detach().numpy().swapaxes(0, 1), "dx": dx.numpy().swapaxes(0, 1)}
        named = iter(gradients)
        for k, w in enumerate(self.layers):
            for name in w:
                gradient = next(named).numpy()
                found[f"{name}_l{k}"] = reorder(gradient) if name in STACKED else gradient
        return found
