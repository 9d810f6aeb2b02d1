"""The layers around an LSTM: Embedding, Linear, Dropout.

Each has ``forward -> (y, tape)`` beside its ``backward``; a call is inference alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from lstmkit import engine
from lstmkit.cell import glorot
from lstmkit.engine.masks import dropout
from lstmkit.shapes import (
    Array,
    Axis,
    InputError,
    check_shape,
    floating_dtype,
    generator,
    integer_array,
    one_of,
    positive_integer,
    real_array,
    real_number,
)


class Embedding:
    """A row of numbers for every token.

    Parameters
    ----------
    num_embeddings : int
        V, the number of different tokens.
    size : int
        Numbers in a row.
    dtype : {"float32", "float64"}
        Of the rows.
    seed : int or numpy.random.Generator, optional
        Of the initial rows, which are standard normal, as PyTorch's: what Glorot's input weights
        of the layer above are made for. (Keras's are uniform on ±0.05: gates that hardly see the
        token learn slowly.)

    Attributes
    ----------
    parameters : dict
        ``{"weight": (V, size)}``.
    """

    def __init__(
        self, num_embeddings: int, size: int, *, dtype: DTypeLike = "float32", seed: Any = None
    ) -> None:
        self.num_embeddings = positive_integer("embedding", "num_embeddings", num_embeddings)
        self.size = positive_integer("embedding", "size", size)
        self.dtype = floating_dtype("embedding", dtype)
        rng = generator("embedding", seed)
        weight = rng.standard_normal((num_embeddings, size))
        self.parameters: dict[str, Array] = {"weight": weight.astype(self.dtype)}

    @property
    def config(self) -> dict[str, Any]:
        """What `from_parameters` makes it of again: JSON values."""
        sizes = {"num_embeddings": self.num_embeddings, "size": self.size}
        return {**sizes, "dtype": self.dtype.name}

    @classmethod
    def from_parameters(
        cls, config: Mapping[str, Any], parameters: Mapping[str, ArrayLike]
    ) -> Embedding:
        """Make a layer from its `config` and arrays, copied; nothing is drawn.

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape disagrees with the config.
        """
        _check_names("embedding", "config", config, ("num_embeddings", "size", "dtype"))
        layer = cls.__new__(cls)
        layer.num_embeddings = positive_integer(
            "embedding", "num_embeddings", config["num_embeddings"]
        )
        layer.size = positive_integer("embedding", "size", config["size"])
        layer.dtype = floating_dtype("embedding", config["dtype"])
        shapes = {"weight": (layer.num_embeddings, layer.size)}
        layer.parameters = _copies("embedding", parameters, shapes, layer.dtype)
        return layer

    def __call__(self, indices: ArrayLike) -> Array:
        """Rows of the tokens: (…) integers → (…, size)."""
        return self.forward(indices)[0]

    def forward(self, indices: ArrayLike) -> tuple[Array, Array]:
        """Return the rows and the tape; see `__call__`."""
        indices = np.asarray(indices)
        axes = indices.shape
        tokens = integer_array("embedding", "indices", indices, axes, 0, self.num_embeddings - 1)
        return self.parameters["weight"][tokens], tokens

    def backward(self, tape: Array, dy: Array) -> dict[str, Array]:
        """Sum the gradient of every row over the places where its token stood."""
        check_shape("embedding.backward", "dy", dy, (*tape.shape, ("size", self.size)))
        tokens, dy = tape.ravel(), dy.reshape(-1, self.size)
        # A sorted segment sum: np.add.at is ten times slower, a one-hot product costs V a token.
        order = np.argsort(tokens, kind="stable")
        present, starts = np.unique(tokens[order], return_index=True)
        dweight = np.zeros_like(self.parameters["weight"], dtype=dy.dtype)
        if len(tokens):
            dweight[present] = np.add.reduceat(dy[order], starts, axis=0)
        return {"weight": dweight}


class Linear:
    """y = x Wᵀ + b, on the last axis.

    Parameters
    ----------
    input_size, output_size : int
        Sizes of the last axis before and after.
    bias : bool
        Whether there is a b; it starts at zero.
    dtype : {"float32", "float64"}
        Of the weights.
    seed : int or numpy.random.Generator, optional
        Of the initial W: Glorot-uniform. (PyTorch's is uniform on ±1/√input_size.)

    Attributes
    ----------
    parameters : dict
        ``{"weight": (output_size, input_size), "bias": (output_size,)}``.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: Any = None,
    ) -> None:
        self.input_size = positive_integer("linear", "input_size", input_size)
        self.output_size = positive_integer("linear", "output_size", output_size)
        self.dtype = floating_dtype("linear", dtype)
        weight = glorot(generator("linear", seed), output_size, input_size)
        self.parameters: dict[str, Array] = {"weight": weight.astype(self.dtype)}
        if bias:
            self.parameters["bias"] = np.zeros(output_size, self.dtype)

    @property
    def config(self) -> dict[str, Any]:
        """What `from_parameters` makes it of again: JSON values."""
        sizes = {"input_size": self.input_size, "output_size": self.output_size}
        return {**sizes, "bias": "bias" in self.parameters, "dtype": self.dtype.name}

    @classmethod
    def from_parameters(
        cls, config: Mapping[str, Any], parameters: Mapping[str, ArrayLike]
    ) -> Linear:
        """Make a layer from its `config` and arrays, copied; nothing is drawn.

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape disagrees with the config.
        """
        _check_names("linear", "config", config, ("input_size", "output_size", "bias", "dtype"))
        layer = cls.__new__(cls)
        layer.input_size = positive_integer("linear", "input_size", config["input_size"])
        layer.output_size = positive_integer("linear", "output_size", config["output_size"])
        layer.dtype = floating_dtype("linear", config["dtype"])
        shapes: dict[str, tuple[int, ...]] = {"weight": (layer.output_size, layer.input_size)}
        if one_of("linear", "bias", config["bias"], (True, False)):
            shapes["bias"] = (layer.output_size,)
        layer.parameters = _copies("linear", parameters, shapes, layer.dtype)
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer: (…, input_size) → (…, output_size)."""
        return self.forward(x)[0]

    def forward(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return y and the tape; see `__call__`. The tape refers to x: leave x as it is."""
        x = np.asarray(x)
        leading: list[Axis] = [*x.shape[:-1]] if x.ndim else ["…"]
        axes = (*leading, ("input_size", self.input_size))
        x = real_array("linear", "x", x, axes, self.dtype)
        return linear(self.parameters, x), x

    def backward(self, tape: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Return dx and the gradients of the parameters."""
        axes = (*tape.shape[:-1], ("output_size", self.output_size))
        check_shape("linear.backward", "dy", dy, axes)
        flat_x, flat_dy = (a.reshape(-1, a.shape[-1]) for a in (tape, dy))
        dx, grads = engine.linear_backward(self.parameters, flat_x, flat_dy)
        return dx.reshape(tape.shape), grads


def _check_names(owner: str, what: str, found: Mapping[str, Any], expected: Any) -> None:
    if set(found) != set(expected):
        missing, unknown = set(expected) - set(found), set(found) - set(expected)
        raise InputError(
            f"{owner}: {what} does not fit; missing {sorted(missing)!s:.200}, "
            f"unknown {sorted(unknown)!s:.200}"
        )


def _copies(
    owner: str,
    parameters: Mapping[str, ArrayLike],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: DTypeLike,
) -> dict[str, Array]:
    """Copy arrays once all of them have the names and shapes."""
    _check_names(owner, "parameters", parameters, shapes)
    return {
        name: real_array(owner, name, parameters[name], shape, dtype).copy()
        for name, shape in shapes.items()
    }


def linear(weights: dict[str, Array], x: Array) -> Array:
    """Y = x Wᵀ + b for x (…, in): one product over all leading axes."""
    flat = engine.linear(weights, x.reshape(-1, x.shape[-1]))
    return flat.reshape(*x.shape[:-1], len(weights["weight"]))


class Dropout:
    """Set each number to 0 with probability ``rate`` in training, and scale the others up.

    Srivastava et al. 2014, in the inverted form that every library uses: inference changes nothing.

    Parameters
    ----------
    rate : float
        In [0, 1).
    """

    def __init__(self, rate: float) -> None:
        self.rate = real_number("dropout", "rate", rate, 0, 1, open_ends="high")

    def __call__(self, x: Array) -> Array:
        """Return x: inference drops nothing."""
        return x

    def forward(
        self, x: Array, rng: np.random.Generator | None = None
    ) -> tuple[Array, Array | None]:
        """Return y and the mask; without a rng nothing is dropped."""
        if not self.rate or rng is None:
            return x, None
        mask = dropout(rng, self.rate, x.shape, x.dtype)
        return x * mask, mask

    def backward(self, tape: Array | None, dy: Array) -> Array:
        """Return dx: the gradient of what was kept."""
        return dy if tape is None else dy * tape
