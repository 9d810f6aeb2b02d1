"""A model of ours as a ``.keras`` file that Keras 3 opens: a Sequential with the same outputs."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from lstmkit import store
from lstmkit.cell import Cell
from lstmkit.layers import (
    LSTM,
    Activation,
    Bidirectional,
    Embedding,
    LastStep,
    Linear,
    Masking,
    Pooling,
    Recurrent,
    Sequential,
)
from lstmkit.shapes import Array, InputError

VERSION = "3.0.0"
"""The oldest Keras whose files these are."""
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can hold: equal models, equal bytes
NAMES = {
    "identity": "linear", "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu",
    "softsign": "softsign", "softplus": "softplus", "softmax": "softmax",
    "log_softmax": "log_softmax", ("hard_sigmoid", 1 / 6, 0.5): "hard_sigmoid",
    ("elu", 1.0): "elu", "elu": "elu", ("leaky_relu", 0.2): "leaky_relu",
}  # fmt: skip


class Written(NamedTuple):
    """A layer as Keras describes it, and its arrays by their places below its own."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Array]


def save(model: LSTM | Sequential, path: str | os.PathLike[str]) -> None:
    """Write a model as a ``.keras`` file, whole or not at all.

    A bare LSTM becomes a Sequential of LSTM layers that show all steps. Equal models give equal
    bytes. Dropout, which matters in training alone, is left out.

    Parameters
    ----------
    model : LSTM or Sequential
        Without what Keras lacks: projection, peepholes, layer norm, coupled gates, clips, zoneout,
        a learned initial state, activations that Keras does not have.
    path
        Where; Keras wants the name to end in ``.keras``. The folder must exist.

    Raises
    ------
    InputError
        If the model has a part that Keras lacks, or h5py is not installed.
    OSError
        If the file cannot be written; see `lstmkit.store.atomic_write`.
    """
    if isinstance(model, LSTM):
        model = Sequential({"lstm": model})
    if not isinstance(model, Sequential):
        raise InputError(f"save: model is {type(model).__name__}; expected an LSTM or a Sequential")
    layers = _layers(model)
    policy = model.dtype.name
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "trainable": True,
            "dtype": policy,
            "layers": [_input(model), *(_described(layer, policy) for layer in layers)],
        },
        "registered_name": None,
    }
    members = {
        "metadata.json": json.dumps({"keras_version": VERSION}).encode(),
        "config.json": json.dumps(config, allow_nan=False).encode(),
        "model.weights.h5": _weights(layers),
    }
    with store.atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), data)


def _weights(layers: list[Written]) -> bytes:
    """Return the bytes of model.weights.h5; places count the classes, as Keras does."""
    try:
        import h5py
    except ImportError:
        raise InputError(
            'save: a .keras file is written with h5py; pip install "lstmkit[keras]"'
        ) from None
    counts: dict[str, int] = {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for layer in layers:
            snake = _PLACES[layer.kind]
            number = counts[snake] = counts.get(snake, -1) + 1
            place = f"layers/{snake}" + (f"_{number}" if number else "")
            file.require_group(f"{place}/vars").attrs["name"] = layer.config["name"]
            for name, array in layer.arrays.items():
                file[f"{place}/{name}"] = array
    return buffer.getvalue()


_PLACES = {
    "Embedding": "embedding", "Masking": "masking", "LSTM": "lstm", "Dense": "dense",
    "Bidirectional": "bidirectional", "Activation": "activation", "LeakyReLU": "leaky_re_lu",
    "ELU": "elu", "GlobalAveragePooling1D": "global_average_pooling1d",
    "GlobalMaxPooling1D": "global_max_pooling1d",
}  # fmt: skip


def _input(model: Sequential) -> dict[str, Any]:
    tokens = model.embedding is not None
    config = {
        "batch_shape": [None, None] if tokens else [None, None, model.input_size],
        "dtype": "int32" if tokens else model.dtype.name,
        "name": "input",
    }
    return _object("InputLayer", config)


def _described(layer: Written, policy: str) -> dict[str, Any]:
    config = {"trainable": True, "dtype": policy, **layer.config}
    for key in ("layer", "backward_layer"):
        if key in config:
            config[key] = _object("LSTM", {"trainable": True, "dtype": policy, **config[key]})
    return _object(layer.kind, config)


def _object(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": "keras.layers", "class_name": kind, "config": config, "registered_name": None
    }  # fmt: skip


# ------------------------------------------------------------------------------------ the layers


def _layers(model: Sequential) -> list[Written]:
    masked = any(isinstance(layer, Masking) for layer in model.layers.values())
    names, found = list(model.layers), list(model.layers.values())
    made: list[Written] = []
    k = 0
    while k < len(found):
        name, layer = re.sub(r"[^\w.-]", "_", names[k]), found[k]
        following = found[k + 1] if k + 1 < len(found) else None
        if isinstance(layer, Masking) and isinstance(following, Embedding):
            if layer.value != 0:
                raise _lacks(names[k], f"a mask of the token {layer.value:g} (only 0 can be)")
            name, k = re.sub(r"[^\w.-]", "_", names[k + 1]), k + 1
            made.append(_embedding(name, following, True))
        elif isinstance(layer, Embedding):
            made.append(_embedding(name, layer, False))
        elif isinstance(layer, Masking):
            made.append(Written("Masking", {"name": name, "mask_value": layer.value}, {}))
        elif isinstance(layer, Recurrent):
            last = isinstance(following, LastStep) and not layer.lstm.bidirectional
            made += _recurrent(name, layer, layer.last or last, masked)
            k += last
        elif isinstance(layer, Bidirectional):
            made.append(_bidirectional(name, layer, masked))
        elif isinstance(layer, Linear):
            arrays = {"vars/0": layer.parameters["weight"].T}
            if "bias" in layer.parameters:
                arrays["vars/1"] = layer.parameters["bias"]
            config = {"name": name, "units": layer.output_size, "use_bias": len(arrays) == 2}
            made.append(Written("Dense", {**config, "activation": "linear"}, arrays))
        elif isinstance(layer, Activation):
            made.append(_activation(name, layer.function))
        elif isinstance(layer, Pooling):
            if masked and layer.how == "max":
                raise _lacks(names[k], "a maximum under a mask")
            kind = f"Global{'Average' if layer.how == 'mean' else 'Max'}Pooling1D"
            options = {"name": name, "data_format": "channels_last", "keepdims": False}
            made.append(Written(kind, options, {}))
        else:
            raise _lacks(names[k], "a last step behind anything else than an LSTM")
        k += 1
    taken = [written.config["name"] for written in made]
    for position, written in enumerate(made):  # names that differed before they were made plain
        while written.config["name"] in taken[:position]:
            taken[position] = written.config["name"] = written.config["name"] + "_"
    return made


def _lacks(name: str, what: str) -> InputError:
    return InputError(f"save: layer {name!r} has {what}, which Keras lacks; expected none")


def _embedding(name: str, layer: Embedding, mask: bool) -> Written:
    config = {
        "name": name, "input_dim": layer.num_embeddings, "output_dim": layer.size,
        "mask_zero": mask,
    }  # fmt: skip
    return Written("Embedding", config, {"vars/0": layer.parameters["weight"]})


def _activation(name: str, function: Any) -> Written:
    if function in NAMES:
        return Written("Activation", {"name": name, "activation": NAMES[function]}, {})
    kind, *numbers = (function,) if isinstance(function, str) else function
    if kind == "leaky_relu":
        slope = numbers[0] if numbers else 0.01
        return Written("LeakyReLU", {"name": name, "negative_slope": slope}, {})
    if kind == "elu":
        return Written("ELU", {"name": name, "alpha": numbers[0]}, {})
    raise _lacks(name, f"the activation {function!r}")


def _cell(name: str, cell: Cell) -> dict[str, Any]:
    """Return the options of Keras's LSTM that a cell needs, or refuse what it has beyond them."""
    plain = Cell(cell.input_size, cell.hidden_size)
    for option in (
        "proj_size", "peepholes", "coupled_gates", "layer_norm", "cell_clip", "gate_clip",
        "zoneout", "learn_initial_state",
    ):  # fmt: skip
        if getattr(cell, option) != getattr(plain, option):
            raise _lacks(name, f"{option}={getattr(cell, option)!r}")
    gates, candidate, output = cell.activations
    for function in cell.activations:
        if function not in NAMES:
            raise _lacks(name, f"the activation {function!r}")
    if candidate != output:
        raise _lacks(name, f"{candidate!r} for the candidate and {output!r} for the output")
    return {
        "units": cell.hidden_size, "use_bias": cell.bias, "unit_forget_bias": False,
        "activation": NAMES[candidate], "recurrent_activation": NAMES[gates],
    }  # fmt: skip


def _arrays(lstm: LSTM, k: int, side: str = "") -> dict[str, Array]:
    weights = lstm.stack.weights(lstm.parameters, k)
    arrays = [weights["weight_ih"].T, weights["weight_hh"].T]
    if "bias" in weights:
        arrays.append(weights["bias"])
    return {f"{side}cell/vars/{n}": array for n, array in enumerate(arrays)}


def _recurrent(name: str, layer: Recurrent, last: bool, masked: bool) -> list[Written]:
    lstm = layer.lstm
    if layer.backwards and not layer.turned:
        raise _lacks(name, "its outputs turned back after reading backwards")
    if masked and lstm.bidirectional and layer.repeat and not last:
        raise _lacks(name, "both directions and repeated outputs at masked steps")
    if masked and layer.backwards and lstm.num_layers > 1:
        raise _lacks(name, "several layers that read backwards under a mask")
    made = []
    for k in range(lstm.num_layers):
        own = name if lstm.num_layers == 1 else f"{name}_l{k}"
        sequences = k + 1 < lstm.num_layers or not last
        options: dict[str, Any] = {
            "return_sequences": sequences,
            "go_backwards": layer.backwards and k == 0,
        }
        if lstm.bidirectional:
            both = {
                side: _cell(name, lstm.cells[2 * k + d])
                | options
                | {"name": f"{side}_{own}", "go_backwards": d == 1}
                for d, side in enumerate(("forward", "backward"))
            }
            arrays = _arrays(lstm, 2 * k, "forward_layer/")
            arrays |= _arrays(lstm, 2 * k + 1, "backward_layer/")
            config: dict[str, Any] = {"name": own, "merge_mode": "concat"}
            config |= {"layer": both["forward"], "backward_layer": both["backward"]}
            made.append(Written("Bidirectional", config, arrays))
        else:
            config = {"name": own, **_cell(name, lstm.cells[k]), **options}
            config["zero_output_for_mask"] = sequences and not layer.repeat
            made.append(Written("LSTM", config, _arrays(lstm, k)))
    return made


def _bidirectional(name: str, layer: Bidirectional, masked: bool) -> Written:
    config: dict[str, Any] = {"name": name, "merge_mode": layer.merge}
    arrays: dict[str, Array] = {}
    for key, side, part in (
        ("layer", "forward", layer.forward),
        ("backward_layer", "backward", layer.backward),
    ):
        lstm, reads_back = part.lstm, side == "backward"
        if len(lstm.cells) > 1 or part.backwards != reads_back or (reads_back and part.turned):
            raise _lacks(name, f"a {side} part that is not one layer reading {side}s")
        if masked and part.repeat and not part.last:
            raise _lacks(name, "both directions and repeated outputs at masked steps")
        config[key] = _cell(name, lstm.cells[0]) | {
            "name": f"{side}_{name}", "return_sequences": not part.last,
            "go_backwards": reads_back,
        }  # fmt: skip
        arrays |= _arrays(lstm, 0, f"{side}_layer/")
    return Written("Bidirectional", config, arrays)
