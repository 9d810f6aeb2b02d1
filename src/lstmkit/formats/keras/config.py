"""The JSON of a Keras model, as a plain list of its layers in the order in which they run.

Keras writes three dialects: of Keras 1 (other words for the same options), of Keras 2 and of
Keras 3 (which wraps every object in a dict that names its module). Nested models are opened, and
wrappers that change nothing here (`TimeDistributed`, `RNN` around an `LSTMCell`) are taken off.
Classes are only ever compared by name: nothing that a file names is looked up or run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MODELS = ("Sequential", "Functional", "Model")
DEEPEST = 8  # models in models
MOST = 1000  # layers
NOTHING = (
    "InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout",
    "AlphaDropout", "ActivityRegularization",
)  # fmt: skip
"""Layers that do nothing in inference."""
KNOWN = (
    "Embedding", "Masking", "LSTM", "CuDNNLSTM", "Bidirectional", "Dense", "Activation",
    "ReLU", "LeakyReLU", "ELU", "Softmax", "GlobalAveragePooling1D", "GlobalMaxPooling1D",
)  # fmt: skip
MASKS = ("NotEqual", "Any", "Squeeze")  # of which Keras 3 makes the masks of a functional model
OLD_WORDS = {"output_dim": "units", "inner_activation": "recurrent_activation", "bias": "use_bias"}


class Refused(Exception):
    """Something in the file has no counterpart here: a line for each."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)


class Node(NamedTuple):
    """A layer of the chain.

    Attributes
    ----------
    kind
        Keras's class, one of `KNOWN`.
    name
        The name that the model's author sees.
    config
        Its options by the words of Keras 2 and 3.
    path
        Where Keras 3 keeps its weights. It counts classes (``layers/lstm_1``) and does not know
        the layer's name.
    top
        The name of the layer of the outermost model that it is, or is in.
    trainable
        Older files keep what is not trainable behind the rest.
    """

    kind: str
    name: str
    config: dict[str, Any]
    path: str
    top: str
    trainable: bool

    @property
    def slots(self) -> list[str]:
        """Where its weights are below `path`, in Keras's order."""
        if self.kind == "Embedding":
            return ["vars/0"]
        if self.kind == "Dense":
            return [f"vars/{k}" for k in range(2 if self.config.get("use_bias", True) else 1)]
        if self.kind in ("LSTM", "CuDNNLSTM"):
            count = 3 if self.config.get("use_bias", True) else 2
            return [f"cell/vars/{k}" for k in range(count)]
        if self.kind == "Bidirectional":
            return [
                f"{side}_layer/{slot}"
                for side, node in zip(("forward", "backward"), directions(self), strict=True)
                for slot in node.slots
            ]
        return []


def chain(model: Any) -> list[Node]:
    """Turn a model's JSON into its layers in order.

    Raises
    ------
    Refused
        With a line for every layer that cannot be a part of such a chain.
    """
    unknown: list[str] = []
    kind, _ = _opened(model)
    if kind not in MODELS:
        raise Refused(f"the model is a {kind!r:.60}; expected Sequential or a functional Model")
    nodes = list(_model(model, "", None, True, unknown, 0))
    if unknown:
        raise Refused(*unknown)
    if len(nodes) > MOST:
        raise Refused(f"it has {len(nodes)} layers; expected at most {MOST}")
    sources = [
        node.name
        for node in nodes
        if node.kind == "Masking" or (node.kind == "Embedding" and node.config.get("mask_zero"))
    ]
    if len(sources) > 1:
        raise Refused(f"{' and '.join(map(repr, sources))} both make a mask; expected one")
    for node in nodes:
        if sources and node.kind == "GlobalMaxPooling1D":
            raise Refused(f"layer {node.name!r:.60} is a maximum that looks at masked steps too")
    return nodes


def directions(node: Node) -> tuple[Node, Node]:
    """Return the two LSTMs of a Bidirectional, the one that reads forwards first."""
    made: list[Node] = []
    for side, key in (("forward", "layer"), ("backward", "backward_layer")):
        inner = node.config.get(key)
        if inner is None and side == "backward":
            kind, config = made[0].kind, {**made[0].config, "go_backwards": True}
        else:
            kind, config = _recurrent(*_opened(inner))
        if kind not in ("LSTM", "CuDNNLSTM"):
            raise Refused(f"layer {node.name!r:.60} is Bidirectional around {kind!r:.60}")
        made.append(Node(kind, f"{node.name}/{side}", config, "", node.top, node.trainable))
    one, two = made
    if one.config.get("go_backwards") or not two.config.get("go_backwards"):
        raise Refused(
            f"layer {node.name!r:.60} is Bidirectional with a first layer that reads backwards"
        )
    return one, two


def _opened(layer: Any) -> tuple[str, dict[str, Any]]:
    """Return class and options of an object in the JSON; refuse what is not Keras's own."""
    kind, config = layer["class_name"], layer["config"]
    module, registered = layer.get("module"), layer.get("registered_name")
    name = config.get("name") if isinstance(config, dict) else None
    foreign = module is not None and not re.fullmatch(r"(tf_|tensorflow\.)?keras(\..*)?", module)
    if foreign or ">" in str(registered):
        whose = f" of {module!r:.60}" if foreign else ""
        raise Refused(f"layer {name!r:.60} is a class of its author's own, {kind!r:.60}{whose}")
    if isinstance(config, list):  # Sequential before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise TypeError("a layer is not described by class_name and config")
    return kind, config


def _recurrent(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take an RNN off its LSTMCell; give the options of Keras 1 today's names."""
    if kind == "RNN" and isinstance(config.get("cell"), dict):
        inner, cell = _opened(config["cell"])
        if inner != "LSTMCell":
            return f"RNN around {inner}", config
        kind, config = "LSTM", {**cell, **config}
    if kind in ("LSTM", "Dense"):
        config = {OLD_WORDS.get(key, key): value for key, value in config.items()}
    return kind, config


def _model(
    model: Any, path: str, top: str | None, trainable: bool, unknown: list[str], depth: int
) -> Iterator[Node]:
    """Go through the layers of a model, and of the models in it."""
    if depth > DEEPEST:
        raise Refused(f"its models are more than {DEEPEST} deep")
    kind, config = _opened(model)
    trainable = trainable and config.get("trainable", True) is not False
    counts: dict[str, int] = {}
    paths: list[str] = []
    for layer in config["layers"]:
        snake = _snake("Functional" if layer["class_name"] == "Model" else layer["class_name"])
        number = counts[snake] = counts.get(snake, -1) + 1
        paths.append(f"{path}layers/{snake}" + (f"_{number}" if number else ""))
    order = range(len(paths)) if kind == "Sequential" else _in_order(config)
    for k in order:
        layer, place = config["layers"][k], paths[k]
        try:
            kind, inner = _opened(layer)
        except Refused as error:
            unknown += error.lines
            continue
        name = str(inner.get("name") or layer.get("name") or place.rpartition("/")[2])
        if kind in MODELS:
            yield from _model(layer, place + "/", top or name, trainable, unknown, depth + 1)
            continue
        free = trainable and inner.get("trainable", True) is not False
        if kind == "TimeDistributed":
            kind, inner = _opened(inner["layer"])
            place += "/layer"
            if kind in ("LSTM", "Bidirectional", "Embedding", "Masking") or "Pooling" in kind:
                kind = f"TimeDistributed around {kind}"
        kind, inner = _recurrent(kind, inner)
        if kind in KNOWN:
            yield Node(kind, name, inner, place, top or name, free)
        elif kind not in NOTHING:
            unknown.append(f"layer {name!r:.60} is a {kind!r:.60}, which is not among those known")


def _snake(name: str) -> str:
    """Turn ``TimeDistributed`` into ``time_distributed``, as Keras does for its paths."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# ----------------------------------------------------------------------------- functional models


def _in_order(config: dict[str, Any]) -> list[int]:
    """Return the places of a functional model's layers in the order of its one chain."""
    layers = config["layers"]
    first, last = (_end(config, side) for side in ("input_layers", "output_layers"))
    places: dict[str, int] = {}
    after: dict[str, list[str]] = {}
    for k, layer in enumerate(layers):
        name = layer.get("name") or layer["config"]["name"]
        if name in places:
            raise Refused(f"two layers have the name {name!r:.60}")
        places[name] = k
        if layer["class_name"] in MASKS and ".ops." in str(layer.get("module", ".ops.")):
            continue  # they make masks, and their layers say which; see `_inputs`
        nodes = layer["inbound_nodes"]
        if len(nodes) > 1:
            raise Refused(f"layer {name!r:.60} is used {len(nodes)} times; expected once")
        sources = _inputs(name, nodes[0]) if nodes else []
        if len(sources) > 1:
            raise Refused(f"layer {name!r:.60} takes {len(sources)} inputs; expected one")
        for source, tensor in sources:
            if tensor != 0:
                raise Refused(f"layer {name!r:.60} takes a state of {source!r:.60}")
            after.setdefault(source, []).append(name)
    order = [first]
    while order[-1] in after and len(order) <= len(layers):
        following = after[order[-1]]
        if len(following) > 1:
            names = ", ".join(f"{name!r:.60}" for name in following[:8])
            raise Refused(f"the output of {order[-1]!r:.60} goes to {names}; expected one chain")
        order += following
    if order[-1] != last or len(order) != 1 + sum(map(len, after.values())):
        raise Refused("its layers are not one chain from the input to the output")
    return [places[name] for name in order]


def _end(config: dict[str, Any], side: str) -> str:
    """Return the name of the only input or output: ``["x", 0, 0]``, also inside a list."""
    ends = config[side]
    while isinstance(ends, list) and len(ends) == 1:
        ends = ends[0]
    if not isinstance(ends, list) or len(ends) != 3 or not isinstance(ends[0], str):
        count = len(ends) if isinstance(ends, list | dict) else 0
        raise Refused(f"the model has {count} {side.replace('_layers', 's')}; expected one")
    if ends[2] != 0:
        raise Refused(f"the model's {side.partition('_')[0]} is a state of {ends[0]!r:.60}")
    return ends[0]


def _inputs(name: str, node: Any) -> list[tuple[str, int]]:
    """Return (layer, tensor) of what a layer is called on, but for its mask."""
    if isinstance(node, list):  # Keras 1 and 2: [["name", node, tensor, {options}], ...]
        found = [(str(one[0]), int(one[2])) for one in node]
        options = [one[3] for one in node if len(one) > 3 and one[3]]
    else:
        found = _tensors(node["args"], 0)
        options = [node.get("kwargs") or {}]
    for given in options:
        for key, value in given.items():
            if key not in ("mask", "training") and value is not None:
                raise Refused(f"layer {name!r:.60} is called with {key!r:.60}")
    return found


def _tensors(value: Any, depth: int) -> list[tuple[str, int]]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        history = value["config"]["keras_history"]
        return [(str(history[0]), int(history[2]))]
    if isinstance(value, list | dict) and depth < DEEPEST:
        parts = value.values() if isinstance(value, dict) else value
        return [one for part in parts for one in _tensors(part, depth + 1)]
    return []
