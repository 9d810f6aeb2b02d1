"""The kinds of links that a chain can have: what each takes, gives, holds, and is in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from lstmkit.cell import DEFAULT_ACTIVATIONS
from lstmkit.layers.feedforward import Embedding, Linear
from lstmkit.layers.inference import Activation, LastStep, Masking, Pooling
from lstmkit.layers.lstm import LSTM
from lstmkit.layers.recurrent import Bidirectional, Recurrent
from lstmkit.shapes import Array, InputError

# Those of `LSTM`'s options that change what it computes in use, and what they are if left out.
PARTS: dict[str, Any] = {
    "bias": True,
    "proj_size": 0,
    "peepholes": False,
    "coupled_gates": False,
    "layer_norm": False,
    "cell_clip": None,
    "gate_clip": None,
    "activations": DEFAULT_ACTIVATIONS,
    "zoneout": [0.0, 0.0],
    "learn_initial_state": False,
    "bfloat16": False,
}
Layer = Embedding | Recurrent | Bidirectional | Linear | Activation | Masking | LastStep | Pooling
WEIGHTLESS = Activation | Masking | LastStep | Pooling


def describe(layer: Layer) -> str:
    """One layer in a few words."""
    if isinstance(layer, Embedding):
        return f"Embedding({layer.num_embeddings}, {layer.size})"
    if isinstance(layer, Linear):
        bias = "" if "bias" in layer.parameters else ", bias=False"
        return f"Linear({layer.input_size}, {layer.output_size}{bias})"
    if isinstance(layer, Activation):
        return f"Activation({layer.function!r})"
    if isinstance(layer, Masking):
        return f"Masking({layer.value:g})"
    if isinstance(layer, LastStep):
        return "LastStep()"
    if isinstance(layer, Pooling):
        return f"Pooling({layer.how!r})"
    if isinstance(layer, Bidirectional):
        both = f"{describe(layer.forward)}, {describe(layer.backward)}"
        return f"Bidirectional({both}, {layer.merge!r})"
    flags = [name for name in ("backwards", "turned", "last", "repeat") if getattr(layer, name)]
    lstm = layer.lstm
    sizes = [f"{lstm.input_size}, {lstm.hidden_size}"]
    if lstm.num_layers > 1:
        sizes.append(f"num_layers={lstm.num_layers}")
    if lstm.bidirectional:
        sizes.append("bidirectional")
    return f"LSTM({', '.join([*sizes, *variants(lstm), *flags])})"


def variants(lstm: LSTM) -> list[str]:
    """Name what an LSTM has beyond the plain equations, as one writes it in Python."""
    found = []
    for name in PARTS:
        value = lstm.config[name]
        if name == "activations":
            value = tuple(tuple(a) if isinstance(a, list) else a for a in value)
        if value != PARTS[name]:
            found.append(name if value is True else f"{name}={value!r}")
    return found


def parameters_of(layer: Layer) -> dict[str, Array]:
    """Return the layer's own arrays by their short names."""
    return {} if isinstance(layer, WEIGHTLESS) else layer.parameters


def sizes_of(layer: Layer) -> tuple[int | None, int | None]:
    """Return how many numbers a step has before and after it; None where it does not matter."""
    if isinstance(layer, Embedding):
        return None, layer.size
    if isinstance(layer, WEIGHTLESS):
        return None, None
    return layer.input_size, layer.output_size


# ------------------------------------------------------------------------------- in a file


def config_of(layer: Layer) -> dict[str, Any]:
    """Return what `from_config` makes the layer of again: JSON values."""
    if isinstance(layer, Activation):
        function = layer.function
        return {"function": list(function) if isinstance(function, tuple) else function}
    if isinstance(layer, Masking):
        return {"value": layer.value}
    if isinstance(layer, Pooling):
        return {"how": layer.how}
    if isinstance(layer, Embedding | Linear):  # the chain's config says it once
        return {name: value for name, value in layer.config.items() if name != "dtype"}
    return {} if isinstance(layer, LastStep) else layer.config


def from_config(
    name: str,
    kind: str,
    config: Mapping[str, Any],
    parameters: Mapping[str, ArrayLike],
    dtype: str,
) -> Layer:
    """Make a layer from its kind, `config_of` and arrays, which are copied.

    Nothing is made before the arrays are known to have the shapes that the config asks for: a
    small file cannot ask for much.

    Raises
    ------
    InputError
        If any of it cannot be used; the message begins with the layer's name.
    """
    try:
        return _make(kind, dict(config), dict(parameters), dtype)
    except KeyError as error:
        why = f"its config lacks {error}"
    except (
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
    ) as error:  # InputError is a ValueError
        why = str(error)
    raise InputError(f"sequential: layer {name!r:.60}: {why:.500}")


def _make(kind: str, config: dict[str, Any], parameters: dict[str, Any], dtype: str) -> Layer:
    layer: Layer
    if kind in ("Embedding", "Linear"):
        if "dtype" in config:
            raise InputError("its config has a dtype; expected it in the chain's config alone")
        config = {**config, "dtype": dtype}
    if kind in WITH_ARRAYS:
        layer = WITH_ARRAYS[kind].from_parameters(config, parameters)
        return layer
    if kind not in WITHOUT_ARRAYS:
        known = ", ".join((*WITH_ARRAYS, *WITHOUT_ARRAYS))
        raise InputError(f"its kind is {kind!r:.60}; expected one of {known}")
    if parameters:
        raise InputError(f"it has the array {min(parameters)!r:.60}; expected none")
    if kind == "Activation" and isinstance(config.get("function"), list):
        config["function"] = tuple(config["function"])
    layer = WITHOUT_ARRAYS[kind](**config)
    return layer


WITH_ARRAYS: dict[str, Any] = {
    "Embedding": Embedding,
    "Linear": Linear,
    "Recurrent": Recurrent,
    "Bidirectional": Bidirectional,
}
WITHOUT_ARRAYS: dict[str, Any] = {
    "Activation": Activation,
    "Masking": Masking,
    "LastStep": LastStep,
    "Pooling": Pooling,
}
