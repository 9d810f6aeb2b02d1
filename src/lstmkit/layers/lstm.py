"""The LSTM layer: a stack of cells, in one direction or two, over a batch of sequences."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lstmkit import engine, store
from lstmkit.cell import DEFAULT_ACTIVATIONS, Cell, Function, check_cell, slope_is_in_value
from lstmkit.conventions import from_textbook, to_textbook
from lstmkit.layers.stack import Grads, Stack, StackTape, State
from lstmkit.shapes import (
    Array,
    InputError,
    boolean_array,
    floating_dtype,
    generator,
    integer_array,
    one_of,
    positive_integer,
    real_array,
    real_number,
)
from lstmkit.stream import Stream

MOST_LAYERS = 1024
SUFFIXES = ("", "_reverse")


def round_to_bfloat16(array: Array) -> Array:
    """Round float32 numbers to those with seven bits after the point, ties to even."""
    bits = array.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(array), rounded.view(np.float32), array)


class Trace(NamedTuple):
    """Every gate and state of a pass, after their activations: ``(L·D, N, T, H)`` each.

    ``h`` is ``(L·D, N, T, P)`` where there is a projection. Steps past a sequence's end are 0.
    """

    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    h: Array


class LSTM:
    r"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    For each step, with the old state h', c'::

        z = x W_ihᵀ + h' W_hhᵀ + b          stacked in the order i, f, g, o
        i, f, o = σ(z_i), σ(z_f), σ(z_o)    g = tanh(z_g)
        c = f ∘ c' + i ∘ g
        h = o ∘ tanh(c)

    The keyword arguments switch on parts of the full equations, in any combination; they are in
    `lstmkit.cell.Cell`, and derived in the documentation.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; each layer's output is the next one's input.
    bidirectional : bool
        Whether each layer also has a cell that reads backwards, from each sequence's true end.
    bias : bool
        Whether the gates have a bias: one. (PyTorch has two that are added.)
    proj_size : int
        P: h is projected to this size; 0 for none.
    peepholes, coupled_gates, layer_norm : bool
        See `lstmkit.cell.Cell`.
    cell_clip, gate_clip : float, optional
        Bounds on c, and on every gate before its activation.
    activations : tuple of three
        Of the gates, the candidate and the output: each a name, as ``"relu"``, or a name with its
        numbers, as ``("leaky_relu", 0.1)``; `lstmkit.cell.ACTIVATIONS` lists them.
    forget_bias : float
        What the bias of f starts at (Jozefowicz et al. 2015). PyTorch starts it near 0.
    dropout : float
        Rate of dropout on the output of each layer but the last, in training.
    recurrent_dropout : float
        Rate of dropout on h as it enters the gates: one mask a sequence (Gal & Ghahramani 2016).
    zoneout : float or pair of float
        Probability that a unit of c, and of h, keeps its old value (Krueger et al. 2017). In
        inference the expectation is taken. Here the output sees c after zoneout; in the paper's
        equation it sees c before.
    learn_initial_state : bool
        Whether ``h_0_l0`` … are parameters, used where no state is given and after a reset.
    dtype : {"float32", "float64"}
        Of weights, states and outputs.
    seed : int or numpy.random.Generator, optional
        Of the initial weights.

    Attributes
    ----------
    parameters : dict of arrays
        By PyTorch's names: ``weight_ih_l0 (4H, I)``, ``weight_hh_l0 (4H, P or H)``,
        ``bias_l0 (4H)``, ``…_l1_reverse``; see `lstmkit.cell.Cell.shapes` for the variants'.
        The layer computes with these very arrays: change them in place (``p += d``).

    Examples
    --------
    >>> import numpy as np
    >>> import lstmkit as lk
    >>> lstm = lk.LSTM(3, 5, num_layers=2, seed=0)
    >>> x = np.ones((2, 7, 3), np.float32)             # (batch, time, input)
    >>> y, (h, c) = lstm(x, lengths=[7, 4])
    >>> y.shape, h.shape
    ((2, 7, 5), (2, 2, 5))
    >>> y, state, tape = lstm.forward(x)               # and the gradient of the sum of y
    >>> dx, (dh0, dc0), grads = lstm.backward(tape, np.ones_like(y))
    >>> grads["weight_ih_l0"].shape
    (20, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        bias: bool = True,
        proj_size: int = 0,
        peepholes: bool = False,
        coupled_gates: bool = False,
        layer_norm: bool = False,
        cell_clip: float | None = None,
        gate_clip: float | None = None,
        activations: tuple[Function, Function, Function] = DEFAULT_ACTIVATIONS,
        forget_bias: float = 1.0,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        learn_initial_state: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "seed")}
        self._configure(**config)
        rng = generator("lstm", seed)
        self.parameters: dict[str, Array] = {}
        for name, cell in zip(self.stack.names, self.cells, strict=True):
            weights = cell.initialize(rng, self.dtype, self.config["forget_bias"])
            self.parameters |= {short + name: array for short, array in weights.items()}

    def _configure(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        forget_bias: float,
        dropout: float,
        recurrent_dropout: float,
        dtype: DTypeLike,
        bfloat16: bool = False,
        **options: Any,
    ) -> None:
        options["bfloat16"] = bfloat16
        self.num_layers = positive_integer("lstm", "num_layers", num_layers)
        if self.num_layers > MOST_LAYERS:
            raise InputError(
                f"lstm: num_layers is {self.num_layers}; expected at most {MOST_LAYERS}"
            )
        self.bidirectional = bool(one_of("lstm", "bidirectional", bidirectional, (True, False)))
        self.dropout = real_number("lstm", "dropout", dropout, 0, 1, open_ends="high")
        self.recurrent_dropout = real_number(
            "lstm", "recurrent_dropout", recurrent_dropout, 0, 1, open_ends="high"
        )
        self.dtype = floating_dtype("lstm", dtype)
        directions = 2 if self.bidirectional else 1
        first = check_cell("lstm", input_size=input_size, hidden_size=hidden_size, **options)
        self.input_size, self.hidden_size = first.input_size, first.hidden_size
        self.output_size = directions * first.output_size
        cells: list[Cell] = []
        names: list[str] = []
        for layer in range(self.num_layers):
            size = first.input_size if layer == 0 else self.output_size
            cell = check_cell("lstm", input_size=size, hidden_size=hidden_size, **options)
            cells += [cell] * directions
            names += [f"_l{layer}{suffix}" for suffix in SUFFIXES[:directions]]
        self.stack = Stack(cells, names, directions, self.dropout, self.recurrent_dropout)
        self.config: dict[str, Any] = {
            "input_size": first.input_size,
            "hidden_size": first.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            **{name: getattr(first, name) for name in options},
            "activations": [
                each if isinstance(each, str) else list(each) for each in first.activations
            ],
            "zoneout": list(first.zoneout),
            "forget_bias": real_number("lstm", "forget_bias", forget_bias),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _without_weights(cls, config: dict[str, Any]) -> LSTM:
        lstm = cls.__new__(cls)
        try:
            lstm._configure(**config)
        except (KeyError, TypeError) as error:
            raise InputError(f"lstm: the config cannot be used ({error})") from None
        return lstm

    @classmethod
    def _of(cls, arguments: dict[str, Any]) -> LSTM:
        signature = inspect.signature(cls).parameters.values()
        given = {p.name: p.default for p in signature if p.default is not p.empty} | arguments
        given.pop("seed")
        return cls._without_weights(given)

    @classmethod
    def shapes_of(cls, **arguments: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter of a layer with these arguments; nothing is made."""
        return cls._of(arguments).shapes()

    @classmethod
    def config_of(cls, **arguments: Any) -> dict[str, Any]:
        """Return the `config` of a layer with these arguments, for `from_parameters`."""
        return cls._of(arguments).config

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter."""
        return {
            short + name: shape
            for cell, name in zip(self.cells, self.stack.names, strict=True)
            for short, shape in cell.shapes().items()
        }

    @property
    def cells(self) -> list[Cell]:
        """The cells in the order of the states: index ``layer·D + direction``."""
        return self.stack.cells

    def __repr__(self) -> str:
        return f"LSTM({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"

    # ------------------------------------------------------------------ forward and backward

    def __call__(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run whole sequences for inference: no randomness, and nothing kept for gradients.

        Parameters
        ----------
        x : array (N, T, I)
            Input sequences, padded at the end to one length.
        state : pair of arrays, optional
            h ``(L·D, N, P or H)`` and c ``(L·D, N, H)`` before the first step, at index
            ``layer·D + direction``; by default zeros, or the learned initial state.
        lengths : array (N,) of int, optional
            Real steps of each sequence, 0 to T, in any order. Outputs past the end are 0, the
            final state is the one at the true end, and the reverse direction starts there. A
            sequence of length 0 keeps its state.
        reset : array (N, T) of bool, optional
            Forget before this step: start again from the learned initial state or zeros. The
            parts of a sequence between two resets come out as if each were alone, in both
            directions.

        Returns
        -------
        y : array (N, T, D·P or D·H)
            h of the last layer at every step, the forward direction first.
        state : pair of arrays
            h and c after the last step, shaped as the argument; give it to the next chunk.

        Raises
        ------
        InputError
            If an argument has the wrong rank, size, dtype or range.
        """
        x_, state_, packing, fresh = self._check(x, state, lengths, reset)
        y, end, _ = self.stack.run(self.parameters, x_, state_, packing, fresh)
        return packing.unpack(y), end

    def forward(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State, StackTape]:
        """Run whole sequences and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, reset
            As in `__call__`.
        rng : numpy.random.Generator, optional
            Draws the masks of dropout, recurrent dropout and zoneout. Without it these are as
            in inference, and `backward` is the gradient of inference.

        Returns
        -------
        y, state
            As in `__call__`.
        tape : StackTape
            For `backward`. It refers to arrays that y and the state do not share.

        Raises
        ------
        InputError
            As `__call__`; and if the layer is for inference only: a quantized one, or one with
            leaky_relu, elu or thresholded_relu whose alpha is negative, for from what they give
            their slope cannot be told.
        """
        if any(engine.in_file(array) for array in self.parameters.values()):
            raise InputError(
                "lstm.forward: the weights are in a file, for inference; load them without in_file"
            )
        if self.cells[0].bfloat16:
            raise InputError("lstm.forward: a quantized layer is for inference; call it instead")
        for function in self.cells[0].activations:
            if not slope_is_in_value(function):
                raise InputError(
                    f"lstm.forward: the activation {function!r} is for inference, as its alpha is "
                    "negative; call the layer instead"
                )
        x_, state_, packing, fresh = self._check(x, state, lengths, reset)
        y, end, tape = self.stack.run(self.parameters, x_, state_, packing, fresh, rng, True)
        assert tape is not None
        return packing.unpack(y), end, tape

    def backward(
        self,
        tape: StackTape,
        dy: ArrayLike | None,
        dstate: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> tuple[Array, State, Grads]:
        """Compute the exact gradient of `forward`.

        Parameters
        ----------
        tape : StackTape
            From `forward`; the parameters must still be those of that call.
        dy : array (N, T, D·P or D·H) or None
            Gradient of the loss in y; None for zero. What it holds past a true end is ignored.
        dstate : pair of arrays, optional
            Gradient in the final h and c; zero by default.

        Returns
        -------
        dx : array (N, T, I)
            Gradient in x; 0 past each true end.
        dstate : pair of arrays
            Gradient in the initial h and c.
        grads : dict of arrays
            Gradient in every parameter, with the names of `parameters`.
        """
        packing = tape.packing
        if dy is None:
            dy = np.zeros((packing.batch, packing.steps, self.output_size), self.dtype)
        axes = (("batch", packing.batch), ("time", packing.steps), ("output", self.output_size))
        dy = real_array("lstm.backward", "dy", dy, axes, self.dtype)
        dstate_ = self._check_state("lstm.backward", "d", dstate, packing.batch)
        dx, dstart, grads = self.stack.run_back(self.parameters, tape, packing.pack(dy), dstate_)
        return packing.unpack(dx), dstart, grads

    # ------------------------------------------------------------------ looking and stepping

    def trace(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> Trace:
        """Run in inference and return every gate and state of every cell, see `Trace`."""
        x_, state_, packing, fresh = self._check(x, state, lengths, reset)
        _, _, tape = self.stack.run(self.parameters, x_, state_, packing, fresh, None, True)
        assert tape is not None
        H, directions = self.hidden_size, self.stack.directions
        rows: list[list[Array]] = []
        for k, cell_tape in enumerate(tape.cells):
            gates = cell_tape.gates
            i, g, o = gates[:, :H], gates[:, -2 * H : -H], gates[:, -H:]
            f = 1 - i if self.cells[k].coupled_gates else gates[:, H : 2 * H]
            c, h = cell_tape.c[packing.batch :], cell_tape.h[packing.batch :]
            turn = packing.mirror if k % directions else np.asarray
            rows.append([packing.unpack(turn(part)) for part in (i, f, g, o, c, h)])
        return Trace(*(np.stack(part) for part in zip(*rows, strict=True)))

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a stream of this layer, fed one step at a time; see `lstmkit.stream.Stream`.

        It computes with the weights as they are now: after training, make a new one. With the
        native engine (`lstmkit.backend`) its steps are, bit for bit, what the layer gives for the
        whole sequence and for any batch that the row stands in. With NumPy they agree but for
        rounding, since the library below it sums products of other shapes in another order.

        Raises
        ------
        InputError
            If the layer is bidirectional: the reverse direction needs the end first.
        """
        if self.bidirectional:
            raise InputError(
                "lstm.stream: a bidirectional layer reads from the end as well and cannot be fed "
                "step by step; call it on whole sequences"
            )
        batch = positive_integer("lstm.stream", "batch_size", batch_size)
        packing = engine.Packing(batch, 1)
        starts = [
            self.stack.start(self.parameters, None, k, packing, self.dtype)
            for k in range(self.num_layers)
        ]
        start = np.stack([h for h, _ in starts]), np.stack([c for _, c in starts])
        stepper = self.stack.stepper(self.parameters, batch)
        return Stream(stepper, start, self.input_size, self.dtype)

    # ------------------------------------------------------------------ files and other forms

    @classmethod
    def from_parameters(
        cls, config: dict[str, Any], parameters: Mapping[str, ArrayLike], *, copy: bool = True
    ) -> LSTM:
        """Make a layer from its `config` and arrays; nothing is drawn.

        The arrays are copied, or, with ``copy=False``, taken over where their dtype is the layer's.

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape disagrees with the config.
        """
        lstm = cls._without_weights(config)
        shapes = lstm.shapes()
        if set(shapes) != set(parameters):
            missing = sorted(set(shapes) - set(parameters))
            unknown = sorted(set(parameters) - set(shapes))
            raise InputError(
                f"lstm: parameters do not fit; missing {missing!s:.200}, unknown {unknown!s:.200}"
            )
        lstm.parameters = {
            name: real_array("lstm", name, parameters[name], shape, lstm.dtype)
            for name, shape in shapes.items()
        }
        if copy:
            lstm.parameters = {name: array.copy() for name, array in lstm.parameters.items()}
        if lstm.cells[0].bfloat16:
            for name, array in lstm.parameters.items():
                if name.startswith("weight"):
                    array[:] = round_to_bfloat16(array)
                array.flags.writeable = False
        return lstm

    @classmethod
    def over(cls, config: dict[str, Any], parameters: dict[str, Array]) -> LSTM:
        """Make a layer for inference over arrays of which some stay in a file.

        These are ``lstmkit.engine.base.InFile``; the shapes have been checked.
        """
        lstm = cls._without_weights(config)
        lstm.parameters = {name: parameters[name] for name in lstm.shapes()}
        return lstm

    def quantize(self, weights: str = "bfloat16") -> LSTM:
        """Return a copy for inference with its matrices rounded to bfloat16.

        Half the memory, and where a step waits for its weights (one stream, a large H), up to
        half the time. States, biases and all arithmetic stay float32, so that only the weights'
        rounding, 2^-9 of each, is felt: the documentation's page on performance measures it.
        The copy is saved and loaded like any other; it cannot be trained, and its arrays are
        read-only.

        Raises
        ------
        InputError
            If ``weights`` is not ``"bfloat16"``, or the layer is float64.
        """
        one_of("lstm.quantize", "weights", weights, ("bfloat16",))
        if self.dtype != np.float32:
            raise InputError(
                "lstm.quantize: the layer is float64; expected float32 (make it with "
                'dtype="float32")'
            )
        return LSTM.from_parameters({**self.config, "bfloat16": True}, self.parameters)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the config and the weights to one safetensors file, whole or not at all."""
        store.save(path, "LSTM", self.config, self.parameters)

    @classmethod
    def from_textbook(cls, params: dict[str, ArrayLike], dtype: DTypeLike = "float64") -> LSTM:
        """Take over the weights of `lstmkit.textbook`.

        Parameters
        ----------
        params : dict
            ``Wf Wi WC Wo``, each (H, H+I) acting on ``[h; x]``, and ``bf bi bC bo``, each (H,)
            or (H, 1).
        dtype : {"float64", "float32"}
            Of the layer; with float64 its outputs are the textbook's.
        """
        weights = from_textbook("lstm.from_textbook", params)
        stacked, input_size = weights["weight_ih"].shape
        config = cls(input_size, stacked // 4, dtype=dtype, seed=0).config
        return cls.from_parameters(config, {f"{name}_l0": w for name, w in weights.items()})

    def to_textbook(self) -> dict[str, Array]:
        """Return the eight arrays of `lstmkit.textbook`, biases (H,), as float64 copies.

        Raises
        ------
        InputError
            If the layer is not one plain layer in one direction.
        """
        plain = Cell(self.input_size, self.hidden_size, bias=self.cells[0].bias)
        if self.cells != [plain]:
            raise InputError(
                "lstm.to_textbook: the textbook has one layer, one direction and none of the "
                f"variants; this is {self!r}"
            )
        return to_textbook(self.stack.weights(self.parameters, 0))

    # ------------------------------------------------------------------ checks

    def _check(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None,
        lengths: ArrayLike | None,
        reset: ArrayLike | None,
    ) -> tuple[Array, State | None, engine.Packing, list[Array] | None]:
        """Check a caller's arguments once, here at the border."""
        axes = ("batch", "time", ("input_size", self.input_size))
        x = real_array("lstm", "x", x, axes, self.dtype)
        batch, steps, _ = x.shape
        lengths_: NDArray[np.int64] | None = None
        if lengths is not None:
            lengths_ = integer_array("lstm", "lengths", lengths, (("batch", batch),), 0, steps)
        packing = engine.Packing(batch, steps, lengths_, engine.empty)
        fresh = None
        if reset is not None:
            marks = boolean_array("lstm", "reset", reset, (("batch", batch), ("time", steps)))
            fresh = [packing.pack(marks)]
            if self.bidirectional:
                # A border before step t is, read backwards, a border before step t − 1.
                shifted = np.zeros_like(marks)
                shifted[:, :-1] = marks[:, 1:]
                if lengths_ is not None:  # and the first step read has nothing to forget
                    shifted[np.arange(1, steps + 1) >= lengths_[:, None]] = False
                fresh.append(packing.mirror(packing.pack(shifted)))
        return x, self._check_state("lstm", "", state, batch), packing, fresh

    def _check_state(self, owner: str, prefix: str, state: Any, batch: int) -> State | None:
        if state is None:
            return None
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise InputError(f"{owner}: {prefix}state is not a pair of arrays (h, c)")
        cells = ("layers * directions", len(self.cells))
        size = self.cells[0].output_size
        h_axes = (cells, ("batch", batch), ("output", size))
        c_axes = (cells, ("batch", batch), ("hidden_size", self.hidden_size))
        h = real_array(owner, f"{prefix}h", state[0], h_axes, self.dtype)
        c = real_array(owner, f"{prefix}c", state[1], c_axes, self.dtype)
        return h, c
