"""Which equations a cell has, and its weights: names, shapes, initialization.

A `Cell` is one layer in one direction. It says which parts of the equations are switched on; it
holds no weights and does no arithmetic (that is the engine's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.shapes import Array, InputError, one_of, positive_integer, real_number

Function = str | tuple[Any, ...]
"""An activation: a name, or a tuple of a name and its numbers, ``("leaky_relu", 0.1)``."""

ACTIVATIONS: dict[str, dict[str, float]] = {
    "sigmoid": {},
    "tanh": {},
    "relu": {},
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    "softsign": {},
    "identity": {},
    "affine": {"alpha": 1.0, "beta": 0.0},
    "leaky_relu": {"alpha": 0.01},
    "thresholded_relu": {"alpha": 1.0},
    "scaled_tanh": {"alpha": 1.0, "beta": 1.0},
    "elu": {"alpha": 1.0},
    "softplus": {},
}
"""The names, and what a name alone means by its numbers: the defaults of ONNX's operators.

ONNX has none for Affine and ScaledTanh; ours change nothing in z and in tanh(z).
"""

LARGEST = float(np.finfo(np.float32).max)
"""Of an activation's numbers: they are finite in each dtype."""

MOST = 2**24
"""Of units, and of numbers in an input: beyond it a single matrix is larger than any memory."""
DEFAULT_ACTIVATIONS: tuple[Function, Function, Function] = ("sigmoid", "tanh", "tanh")


@dataclass(frozen=True)
class Cell:
    """The equations of one LSTM cell.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    proj_size : int
        P, the size of h after the projection W_hr (Sak et al. 2014, eq. 7); 0 for no projection.
    bias : bool
        Whether the gates have a bias.
    peepholes : bool
        Whether the gates see the cell state (Gers et al. 2002): i and f the old one, o the new.
    coupled_gates : bool
        f = 1 − i (Greff et al. 2017, "CIFG"). Such a cell has three blocks of weights, i, g, o, and
        two peepholes, i, o: there is no fourth block that does nothing. ONNX's ``input_forget``
        keeps one.
    layer_norm : bool
        Layer normalization (Ba et al. 2016, eqs. 20-22) of the two products and of the cell
        state in the output. The products have gains and no shifts, since the bias is one.
    cell_clip : float, optional
        Bounds c to [-cell_clip, cell_clip].
    gate_clip : float, optional
        Bounds every gate before its activation, peephole included (ONNX's ``clip``).
    activations : tuple of three
        Of the gates i, f and o; of the candidate g; of the cell state in the output. Each is a
        name of `ACTIVATIONS`, which takes the numbers listed there, or a tuple of a name and all
        its numbers: ``("hard_sigmoid", 1 / 6, 0.5)``. The functions are those of ONNX's LSTM
        operator; they are written out in the documentation's page on the equations.
    zoneout : pair of float
        Probability that a unit of c, and one of h, keeps its old value (Krueger et al. 2017).
    learn_initial_state : bool
        Whether h_0 and c_0 are parameters.
    bfloat16 : bool
        Whether the matrices hold bfloat16 numbers, so that the engine may keep them in half the
        room. The arithmetic is that of the other cells.
    """

    input_size: int
    hidden_size: int
    proj_size: int = 0
    bias: bool = True
    peepholes: bool = False
    coupled_gates: bool = False
    layer_norm: bool = False
    cell_clip: float | None = None
    gate_clip: float | None = None
    activations: tuple[Function, Function, Function] = DEFAULT_ACTIVATIONS
    zoneout: tuple[float, float] = (0.0, 0.0)
    learn_initial_state: bool = False
    bfloat16: bool = False

    @property
    def output_size(self) -> int:
        """Size of h: P with a projection, else H."""
        return self.proj_size or self.hidden_size

    @property
    def gates(self) -> str:
        """The stacked gates in their order: ``"ifgo"``, or ``"igo"`` when they are coupled."""
        return "igo" if self.coupled_gates else "ifgo"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order in which files hold them."""
        hidden, output = self.hidden_size, self.output_size
        stacked = len(self.gates) * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (stacked, self.input_size),
            "weight_hh": (stacked, output),
        }
        if self.bias:
            shapes["bias"] = (stacked,)
        if self.peepholes:
            shapes["peephole"] = (len(self.gates) - 1, hidden)
        if self.proj_size:
            shapes["weight_hr"] = (output, hidden)
        if self.layer_norm:
            shapes |= {"norm_ih_gain": (stacked,), "norm_hh_gain": (stacked,)}
            shapes |= {"norm_c_gain": (hidden,), "norm_c_shift": (hidden,)}
        if self.learn_initial_state:
            shapes |= {"h_0": (output,), "c_0": (hidden,)}
        return shapes

    def initialize(
        self, rng: np.random.Generator, dtype: DTypeLike, forget_bias: float = 1.0
    ) -> dict[str, Array]:
        """Draw new weights.

        Glorot-uniform ``weight_ih`` and ``weight_hr`` (Glorot & Bengio 2010, eq. 16), one
        orthogonal ``weight_hh`` a gate (Saxe et al. 2014), zero bias but ``forget_bias`` for f
        (Jozefowicz et al. 2015), gains one, and everything else zero. PyTorch draws all from
        U(-1/√H, 1/√H); Keras draws one orthogonal matrix across all four gates.
        """
        hidden = self.hidden_size
        weights = {name: np.zeros(shape, dtype) for name, shape in self.shapes().items()}
        for k, gate in enumerate(self.gates):
            block = slice(k * hidden, (k + 1) * hidden)
            weights["weight_ih"][block] = glorot(rng, hidden, self.input_size)
            weights["weight_hh"][block] = orthogonal(rng, hidden, self.output_size)
            if gate == "f" and self.bias:
                weights["bias"][block] = forget_bias
        if self.proj_size:
            weights["weight_hr"][:] = glorot(rng, self.proj_size, hidden)
        for name in ("norm_ih_gain", "norm_hh_gain", "norm_c_gain"):
            if name in weights:
                weights[name][:] = 1
        return weights


def check_cell(owner: str, **options: Any) -> Cell:
    """Make a `Cell` from a caller's arguments, or say which of them cannot be.

    Raises
    ------
    InputError
        If a size is not a positive whole number, a probability not in [0, 1), a clip not
        positive, an activation unknown or its numbers wrong, or the projection not smaller than
        the hidden size.
    """
    options["input_size"] = positive_integer(owner, "input_size", options["input_size"])
    hidden = options["hidden_size"] = positive_integer(owner, "hidden_size", options["hidden_size"])
    proj = options["proj_size"] = positive_integer(owner, "proj_size", options["proj_size"], 0)
    if proj >= hidden:
        raise InputError(f"{owner}: proj_size is {proj}; expected less than hidden_size={hidden}")
    for name in (
        "bias",
        "peepholes",
        "coupled_gates",
        "layer_norm",
        "learn_initial_state",
        "bfloat16",
    ):
        options[name] = bool(one_of(owner, name, options[name], (True, False)))
    for name in ("cell_clip", "gate_clip"):
        if options[name] is not None:
            options[name] = real_number(owner, name, options[name], low=0, open_ends="low")
    for name in ("input_size", "hidden_size"):
        if options[name] > MOST:
            raise InputError(f"{owner}: {name} is {options[name]}; expected at most {MOST}")
    options["activations"] = _check_activations(owner, options["activations"])
    options["zoneout"] = _check_zoneout(owner, options["zoneout"])
    return Cell(**options)


def name_and_numbers(function: Function) -> tuple[str, tuple[float, ...]]:
    """Take an activation apart: its name, and the numbers that are given or meant.

    >>> name_and_numbers("hard_sigmoid")
    ('hard_sigmoid', (0.2, 0.5))
    """
    if isinstance(function, str):
        return function, tuple(ACTIVATIONS[function].values())
    return function[0], function[1:]


def check_function(owner: str, name: str, function: Any) -> Function:
    """Return an activation in its one form: a tuple only where the numbers are not the name's own.

    Raises
    ------
    InputError
        If the function is unknown, or its numbers are too few, too many or not finite.
    """
    given = (function,) if isinstance(function, str) else function
    if not isinstance(given, Sequence) or not given or not isinstance(given[0], str):
        raise InputError(
            f"{owner}: {name} is {function!r:.100}; "
            "expected a name, or a tuple of a name and numbers"
        )
    kind = one_of(owner, name, given[0], tuple(ACTIVATIONS))
    defaults = ACTIVATIONS[kind]
    if len(given) == 1:
        return str(kind)
    if len(given) != 1 + len(defaults):
        forms = f"({', '.join([repr(kind), *defaults])})"
        raise InputError(
            f"{owner}: {name} is {function!r:.100}; "
            f"expected {kind!r}{f' or {forms}' * bool(defaults)}"
        )
    numbers = tuple(
        real_number(owner, f"{number} of {kind}", value, -LARGEST, LARGEST)
        for number, value in zip(defaults, given[1:], strict=True)
    )
    return kind if numbers == tuple(defaults.values()) else (kind, *numbers)


def slope_is_in_value(function: Function) -> bool:
    """Whether a function's value tells its slope, so that a layer with it can be trained.

    Where one value has two slopes it does not: leaky_relu and elu with a negative alpha turn back
    at 0, and thresholded_relu with one is 0 both at 0 and below alpha.
    """
    name, numbers = name_and_numbers(function)
    return name not in ("leaky_relu", "elu", "thresholded_relu") or numbers[0] >= 0


def _check_activations(owner: str, functions: Any) -> tuple[Function, Function, Function]:
    three = isinstance(functions, Sequence) and len(functions) == 3
    if isinstance(functions, str) or not three:
        raise InputError(
            f"{owner}: activations is {functions!r:.100}; "
            "expected three names (gates, candidate, output)"
        )
    gate, candidate, output = (check_function(owner, "activations", each) for each in functions)
    return gate, candidate, output


def _check_zoneout(owner: str, rates: Any) -> tuple[float, float]:
    pair = rates if isinstance(rates, Sequence) else (rates, rates)
    if len(pair) != 2:
        raise InputError(f"{owner}: zoneout is {rates!r}; expected one number or two (c, h)")
    of_c, of_h = (real_number(owner, "zoneout", rate, 0, 1, open_ends="high") for rate in pair)
    return of_c, of_h


def glorot(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Uniform on ±√(6 / (fan in + fan out)): Glorot & Bengio 2010, eq. 16."""
    bound = np.sqrt(6 / (rows + columns))
    return rng.uniform(-bound, bound, (rows, columns))


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Draw from the orthogonal matrices uniformly: QR of a normal one, signs fixed (Mezzadri 2007).

    A matrix that is not square has orthonormal rows or columns, whichever are fewer.
    """
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))
    return q if rows >= columns else q.T
