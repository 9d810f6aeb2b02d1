"""Layers from weights alone: what their names and shapes say, and what has to be assumed.

A file of weights has no config. The shapes tell an LSTM (kernels (I, 4H) and (H, 4H)), how large it
is and what it can stand behind; nothing tells its activations, whether it shows all steps or the
last, or which layers without weights stood between.
"""

from __future__ import annotations

import re
from typing import Any

from lstmkit.formats.keras.config import Node, Refused
from lstmkit.formats.keras.hdf5 import Group, flat
from lstmkit.formats.keras.weights import listed

ASSUMED = (
    "a file of weights has no config, so: tanh and {gates} in every LSTM, all steps shown, both "
    "directions concatenated, no activation of a Dense, no masks, the layers in {order}"
)
MOST_STEPS = 10_000


def by_path(tree: Group) -> list[Node]:
    """Find the layers of a ``.weights.h5`` and the one order in which their sizes fit.

    Raises
    ------
    Refused
        If a layer is of an unknown kind, or their order is open.
    """
    (folder,) = (
        name for name in ("layers", "_layer_checkpoint_dependencies") if name in tree.members
    )
    layers = tree.members[folder]
    found: dict[str, list[tuple[int, Node, int, int]]] = {}
    for key, group in layers.members.items() if isinstance(layers, Group) else ():
        arrays = flat(group) if isinstance(group, Group) else {}
        arrays = {name: one for name, one in arrays.items() if "seed_generator" not in name}
        if not arrays or not isinstance(group, Group):
            continue
        own = group.members.get("vars")
        name = own.attributes.get("name") if isinstance(own, Group) else None
        shapes = {path: one.shape for path, one in arrays.items()}
        path = f"layers/{key}"
        if "time_distributed" in key:
            shapes = {name.removeprefix("layer/"): shape for name, shape in shapes.items()}
            path += "/layer"
        node, takes, gives = _layer(key, name if isinstance(name, str) else key, path, shapes)
        numbered = re.search(r"_(\d{1,6})\Z", key)  # lstm, lstm_1, lstm_2: the order of one kind
        kind, number = (key[: numbered.start()], int(numbered[1])) if numbered else (key, 0)
        found.setdefault(kind, []).append((number, node, takes, gives))
    queues = [
        [one[1:] for one in sorted(group, key=lambda one: one[0])] for group in found.values()
    ]
    if not queues:
        raise Refused("it has no weights of layers")
    orders = _orders(queues)
    if len(orders) != 1:
        raise Refused(
            f"the sizes of its layers allow {'no' if not orders else 'more than one'} order; "
            "load the whole model (.keras) instead"
        )
    return orders[0]


def gates_of(version: str) -> str:
    """Return the default activation of an LSTM's gates: Keras changed it in 2.3."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    old = found is None or (int(found[1]), int(found[2])) < (2, 3)
    return "hard_sigmoid" if old and "tf" not in version else "sigmoid"


def by_order(tree: Group, gates: str) -> list[Node]:
    """Find the layers of an old file of weights, which lists them in their order.

    ``gates`` is the activation that the gates of an LSTM are to have.
    """
    nodes = []
    for name in listed(tree, "layer_names"):
        group = tree.members.get(name)
        if not isinstance(group, Group):
            raise Refused(f"layer {name!r:.60} is listed and not there")
        arrays = flat(group)
        paths = listed(group, "weight_names")
        if not paths:
            continue
        shapes = [arrays[path].shape for path in paths if path in arrays]
        last = paths[0].rpartition("/")[2]
        key, slots = "dense", [f"vars/{k}" for k in range(len(shapes))]
        if "embeddings" in last or (last.endswith("_W") and len(shapes) == 1):
            key = "embedding"
        elif len(shapes) in (2, 3) and shapes[1:] and len(shapes[1]) == 2:
            key, slots = "lstm", [f"cell/vars/{k}" for k in range(3)]
        elif len(shapes) in (4, 6):
            half = len(shapes) // 2
            key = "bidirectional"
            slots = [
                f"{side}_layer/cell/vars/{k}"
                for side in ("forward", "backward")
                for k in range(half)
            ]
        node, _, _ = _layer(key, name, "", dict(zip(slots, shapes, strict=False)), gates)
        nodes.append(node)
    if not nodes:
        raise Refused("it has no weights of layers")
    return nodes


def _layer(
    key: str, name: str, path: str, shapes: dict[str, tuple[int, ...]], gates: str = "sigmoid"
) -> tuple[Node, int, int]:
    """Return the layer, and how many numbers it takes and gives at a step."""
    first = next(iter(shapes.values()))
    if "cell/vars/0" in shapes:
        kind, config, takes, gives = _lstm(name, shapes, "", gates)
        return Node(kind, name, config, path, name, True), takes, gives
    if "forward_layer/cell/vars/0" in shapes:
        kind, one, takes, size = _lstm(name, shapes, "forward_layer/", gates)
        _, two, _, other = _lstm(name, shapes, "backward_layer/", gates)
        both = {
            "layer": {"class_name": kind, "config": one},
            "backward_layer": {"class_name": kind, "config": {**two, "go_backwards": True}},
        }
        return Node("Bidirectional", name, both, path, name, True), takes, size + other
    if "embedding" in key and list(shapes) == ["vars/0"] and len(first) == 2:
        return Node("Embedding", name, {}, path, name, True), -1, first[1]
    if sorted(shapes) in (["vars/0"], ["vars/0", "vars/1"]) and len(shapes["vars/0"]) == 2:
        takes, gives = shapes["vars/0"]
        if "vars/1" not in shapes or shapes["vars/1"] == (gives,):
            config = {"units": gives, "use_bias": "vars/1" in shapes}
            return Node("Dense", name, config, path, name, True), takes, gives
    raise Refused(f"layer {name!r:.60} has arrays of an unknown kind: {shapes!s:.200}")


def _lstm(
    name: str, shapes: dict[str, tuple[int, ...]], side: str, gates: str
) -> tuple[str, dict[str, Any], int, int]:
    """Return class, options and sizes; cuDNN's, whose gates are always sigmoid, has two biases."""
    own = [shapes.get(f"{side}cell/vars/{k}", ()) for k in range(3)]
    units = own[1][0] if len(own[1]) == 2 else 0
    biases = ((), (4 * units,), (8 * units,))
    if len(own[0]) != 2 or own[1] != (units, 4 * units) or own[2] not in biases:
        raise Refused(f"layer {name!r:.60} has no kernels of an LSTM: {shapes!s:.200}")
    config: dict[str, Any] = {"units": units, "use_bias": bool(own[2]), "return_sequences": True}
    config["recurrent_activation"] = gates
    return "CuDNNLSTM" if own[2] == biases[2] else "LSTM", config, own[0][0], units


def _orders(queues: list[list[tuple[Node, int, int]]]) -> list[list[Node]]:
    """Return up to two orders in which each layer takes what the one before it gives.

    Layers of one class keep their order, which their numbers tell. Embeddings, which take -1,
    stand at the beginning.
    """
    orders: list[list[Node]] = []
    budget = MOST_STEPS
    total = sum(map(len, queues))
    stack: list[tuple[list[Node], tuple[int, ...], int | None]] = [([], (0,) * len(queues), None)]
    while stack and len(orders) < 2:
        budget -= 1
        if budget < 0:
            raise Refused("its layers are too many to find their order")
        chosen, places, size = stack.pop()
        if len(chosen) == total:
            orders.append(chosen)
            continue
        for k, queue in enumerate(queues):
            if places[k] == len(queue):
                continue
            node, takes, gives = queue[places[k]]
            if takes == size or (size is None and (takes == -1 or not _embeds(queues))):
                moved = (*places[:k], places[k] + 1, *places[k + 1 :])
                stack.append(([*chosen, node], moved, gives))
    return orders


def _embeds(queues: list[list[tuple[Node, int, int]]]) -> bool:
    return any(takes == -1 for queue in queues for _, takes, _ in queue)
