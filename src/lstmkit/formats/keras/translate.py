"""A layer of Keras with its arrays, as layers of ours."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from lstmkit.formats.keras.config import Node, Refused, directions
from lstmkit.layers import LSTM
from lstmkit.shapes import Array, fits

PLAIN = ("tanh", "sigmoid", "relu", "softsign", "softplus")
OVER_ROWS = ("softmax", "log_softmax")
POOLINGS = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}
KERAS_3_HARD_SIGMOID = ("hard_sigmoid", 1 / 6, 0.5)
"""relu6(x + 3) / 6, since Keras 3; before it was clip(0.2 x + 0.5), our ``"hard_sigmoid"``."""


class Row(NamedTuple):
    """A layer as `Sequential.from_parameters` takes it."""

    name: str
    kind: str
    options: dict[str, Any]
    arrays: dict[str, Array]


def major(version: str) -> int:
    """Return the first number of Keras's version; files older than that note are Keras 1's."""
    found = re.match(r"\d{1,4}", version)
    return int(found[0]) if found else 1


def rows(node: Node, arrays: list[Array], version: int, dtype: str) -> list[Row]:
    """Turn a layer of Keras into one, two or no layers of ours.

    Parameters
    ----------
    node, arrays
        The layer and its weights in Keras's order.
    version
        Of Keras: 1, 2 or 3.
    dtype
        Of the model.

    Raises
    ------
    Refused
        If an option of it has no counterpart, or an array another shape than it says.
    """
    name = node.name.replace(".", "_")
    where, config = f"layer {node.name!r:.60}", node.config
    if node.kind == "Embedding":
        (weight,) = _shaped(where, arrays, [("input_dim", "output_dim")], config)
        made = (
            [Row(f"{name}_mask", "Masking", {"value": 0.0}, {})] if config.get("mask_zero") else []
        )
        options = {"num_embeddings": weight.shape[0], "size": weight.shape[1]}
        return [*made, Row(name, "Embedding", options, {"weight": weight})]
    if node.kind == "Masking":
        value = config.get("mask_value", 0.0)
        if not isinstance(value, int | float):
            raise Refused(f"{where} masks {value!r:.60}; expected one number")
        return [Row(name, "Masking", {"value": float(value)}, {})]
    if node.kind == "Dense":
        weight, *bias = _shaped(where, arrays, [("in", "units"), ("units",)], config)
        options = {"input_size": weight.shape[0], "output_size": weight.shape[1]}
        kept = {"weight": weight.T} | ({"bias": bias[0]} if bias else {})
        row = Row(name, "Linear", {**options, "bias": bool(bias)}, kept)
        return [row, *_activation(f"{name}_activation", where, config.get("activation"), version)]
    if node.kind == "Activation":
        return _activation(name, where, config["activation"], version)
    if node.kind in ("LSTM", "CuDNNLSTM"):
        options, weights = _recurrent(node, arrays, version, dtype)
        return [Row(name, "Recurrent", options, weights)]
    if node.kind == "Bidirectional":
        return [_bidirectional(node, name, arrays, version, dtype)]
    if node.kind in POOLINGS:
        if config.get("data_format") not in (None, "channels_last") or config.get("keepdims"):
            raise Refused(f"{where} pools over the features, or keeps the axis of time")
        return [Row(name, "Pooling", {"how": POOLINGS[node.kind]}, {})]
    # What is left are layers that are an activation.
    return _activation(name, where, {"class_name": node.kind, "config": config}, version)


def _shaped(
    where: str, arrays: list[Array], shapes: list[tuple[str, ...]], config: dict[str, Any]
) -> list[Array]:
    """Check the arrays against the sizes in the config, by their words in it."""
    for array, words in zip(arrays, shapes, strict=False):
        axes = [(word, config[word]) if word in config else word for word in words]
        if not fits(array.shape, axes):
            raise Refused(f"{where} has an array of shape {array.shape}, unlike its config")
    return arrays


# ------------------------------------------------------------------------------------- the LSTM


def _recurrent(
    node: Node, arrays: list[Array], version: int, dtype: str, inside: bool = False
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return options and weights of a `Recurrent`; ``inside`` a Bidirectional."""
    where, config = f"layer {node.name!r:.60}", node.config
    if config.get("time_major"):
        raise Refused(f"{where} has the time as its first axis (time_major)")
    cudnn = node.kind == "CuDNNLSTM"
    units, bias = config["units"], len(arrays) > 2
    kernel, recurrent = arrays[:2]
    if kernel.ndim != 2 or not all(
        fits(array.shape, shape)
        for array, shape in zip(
            arrays, [("in", 4 * units), (units, 4 * units), ((8 if cudnn else 4) * units,)],
            strict=False,
        )
    ):  # fmt: skip
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise Refused(f"{where} has {units!r:.20} units and arrays of the shapes {shapes:.200}")
    weights = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T}
    if bias:
        weights["bias_l0"] = arrays[2]
    gates, candidate = "sigmoid", "tanh"
    if cudnn:
        # cuDNN's own layout: each gate's kernels are (H, I) and (H, H) in the file, seen as
        # (I, H) and (H, H); and there are two biases, which are added. (textgenrnn 2.0.0 brings
        # such weights from Keras 2.1.5: with this its model needs 1.2 bits a character.)
        blocks = [np.hsplit(array, 4) for array in (kernel, recurrent)]
        weights["weight_ih_l0"] = np.concatenate([k.reshape(k.shape[::-1]) for k in blocks[0]])
        weights["weight_hh_l0"] = np.concatenate(blocks[1])
        if bias:
            weights["bias_l0"] = np.add(*np.split(arrays[2], 2))
    else:
        gates = function(where, config.get("recurrent_activation", "sigmoid"), version)
        candidate = function(where, config.get("activation", "tanh"), version)
        for one in (gates, candidate):
            if one in OVER_ROWS:
                raise Refused(f"{where} has the activation {one!r}, which a cell cannot have")
    sequences = bool(config.get("return_sequences"))
    zeros = sequences if inside else bool(config.get("zero_output_for_mask"))
    if zeros and not sequences:
        raise Refused(f"{where} has zero_output_for_mask without return_sequences")
    backwards = bool(config.get("go_backwards"))
    options = {
        "lstm": LSTM(1, 1, seed=0).config
        | {
            "input_size": kernel.shape[0],
            "hidden_size": units,
            "bias": bias,
            "activations": [gates, candidate, candidate],
            "dtype": dtype,
        },
        "backwards": backwards,
        "turned": backwards and not inside,  # a Bidirectional turns it back
        "last": not sequences,
        "repeat": not zeros,
    }
    return options, weights


def _bidirectional(node: Node, name: str, arrays: list[Array], version: int, dtype: str) -> Row:
    merge = node.config.get("merge_mode", "concat")
    if merge not in ("concat", "sum", "mul", "ave"):
        raise Refused(f"layer {node.name!r:.60} has merge_mode={merge!r:.60}")
    options: dict[str, Any] = {"merge": merge}
    weights: dict[str, Array] = {}
    for side, inner in zip(("forward", "backward"), directions(node), strict=True):
        own, arrays = arrays[: len(inner.slots)], arrays[len(inner.slots) :]
        options[side], found = _recurrent(inner, own, version, dtype, inside=True)
        weights |= {f"{side}.{key}": array for key, array in found.items()}
    return Row(name, "Bidirectional", options, weights)


# ---------------------------------------------------------------------------------- activations


def _activation(name: str, where: str, value: Any, version: int) -> list[Row]:
    found = function(where, value, version)
    return [] if found == "identity" else [Row(name, "Activation", {"function": found}, {})]


def function(where: str, value: Any, version: int) -> Any:
    """Turn Keras's activation, a name or a dict that names a function or a layer, into ours."""
    config: dict[str, Any] = {}
    if isinstance(value, dict):
        module = value.get("module")
        own = module in (None, "builtins") or str(module).split(".")[0] == "keras"
        kind, inner = value["class_name"], value["config"]
        if own and kind == "function":
            value = inner  # and a function of its author's own is unknown below
        elif own and isinstance(inner, dict):
            value, config = kind, inner
        else:
            raise Refused(f"{where} has an activation of its author's own, {kind!r:.60}")
    if value is None or value == "linear":
        return "identity"
    if value in PLAIN or value in OVER_ROWS:
        return value
    if value == "hard_sigmoid":
        return KERAS_3_HARD_SIGMOID if version >= 3 else "hard_sigmoid"
    if value == "elu":
        return ("elu", 1.0)
    if value == "leaky_relu":
        return ("leaky_relu", 0.2)
    if value == "ELU":
        return ("elu", float(config.get("alpha", 1.0)))
    if value == "LeakyReLU":
        return ("leaky_relu", float(config.get("negative_slope", config.get("alpha", 0.3))))
    if value == "Softmax" and config.get("axis", -1) == -1:
        return "softmax"
    if value == "ReLU" and not config.get("threshold") and config.get("max_value") is None:
        slope = float(config.get("negative_slope") or 0.0)
        return ("leaky_relu", slope) if slope else "relu"
    raise Refused(f"{where} has the activation {value!r:.60} {config or ''}".rstrip())
