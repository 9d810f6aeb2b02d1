"""Which array of a file is which weight of which layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lstmkit.formats.keras.config import Node, Refused
from lstmkit.formats.keras.hdf5 import Damaged, Dataset, Group, flat
from lstmkit.shapes import Array

KERAS_2_13 = "_layer_checkpoint_dependencies"  # where that version has "layers"
PARTS_OF_KERAS_1 = 12
"""Keras 1 has a kernel, a recurrent kernel and a bias for each gate, in the order i, c, f, o."""


def numbers(name: str, dataset: Dataset) -> Array:
    """Return an array's numbers; bfloat16, which Keras marks with an attribute, becomes float32.

    Raises
    ------
    Refused
        If they are no floats: a quantized model's.
    """
    array = dataset.array()
    if array.dtype == "V2" and dataset.attributes.get("dtype") == "bfloat16":
        return (np.ascontiguousarray(array).view("<u2").astype("<u4") << 16).view("<f4")
    if array.dtype.kind != "f":
        raise Refused(f"array {name!r:.80} is {array.dtype}; expected floats")
    return array


class ByPath:
    """The weights of Keras 3: ``layers/lstm/cell/vars/0``."""

    def __init__(self, tree: Group, nodes: Sequence[Node]) -> None:
        self.arrays = flat(tree)
        self.prefixed = any(path.startswith(KERAS_2_13) for path in self.arrays)
        self.unused = {name for name in self.arrays if not _of_training(name)}

    def take(self, node: Node) -> list[Array]:
        """Return the arrays of a layer in Keras's order."""
        found = []
        for slot in node.slots:
            path = f"{node.path}/{slot}"
            if self.prefixed:
                path = path.replace("layers/", KERAS_2_13 + "/")
            if path not in self.arrays:
                raise Damaged(f"layer {node.name!r:.60} has no array {path!r:.80}")
            self.unused.discard(path)
            found.append(numbers(path, self.arrays[path]))
        return found


class ByOrder:
    """The weights of Keras 1 and 2: a group for each layer, which lists its weights in order."""

    def __init__(self, tree: Group, nodes: Sequence[Node]) -> None:
        self.arrays = flat(tree)
        self.unused = {name for name in self.arrays if not _of_training(name)}
        self.shares: dict[int, list[Array]] = {}
        for top in dict.fromkeys(node.top for node in nodes):
            inside = [k for k, node in enumerate(nodes) if node.top == top and node.slots]
            inside.sort(key=lambda k: not nodes[k].trainable)
            wanted = sum(len(nodes[k].slots) for k in inside)
            if not wanted:
                continue
            group = tree.members.get(top)
            if not isinstance(group, Group):
                raise Damaged(f"layer {top!r:.60} has no weights")
            names = listed(group, "weight_names")
            arrays = [self.array(top, group, name) for name in names]
            recurrent = all(nodes[k].kind in ("LSTM", "Bidirectional") for k in inside)
            if recurrent and len(arrays) == 4 * wanted:
                arrays = _of_keras_1(arrays)
            if len(arrays) != wanted:
                raise Damaged(f"layer {top!r:.60} has {len(arrays)} arrays; expected {wanted}")
            for k in inside:
                self.shares[id(nodes[k])] = arrays[: len(nodes[k].slots)]
                del arrays[: len(nodes[k].slots)]

    def array(self, top: str, group: Group, name: str) -> Array:
        """Return an array that a layer's group lists."""
        member: Group | Dataset | None = group
        for part in name.split("/"):
            member = member.members.get(part) if isinstance(member, Group) else None
        if not isinstance(member, Dataset):
            raise Damaged(f"layer {top!r:.60} has no array {name!r:.80}")
        self.unused.discard(f"{top}/{name}")
        return numbers(name, member)

    def take(self, node: Node) -> list[Array]:
        """Return the arrays of a layer in Keras's order."""
        return self.shares.get(id(node), [])


def listed(group: Group, name: str) -> list[str]:
    """Return a list of names among a group's attributes; long ones come in numbered parts.

    Raises
    ------
    Damaged
        If a name comes twice.
    """
    if name in group.attributes:
        parts = [group.attributes[name]]
    else:
        parts = []
        while f"{name}{len(parts)}" in group.attributes:
            parts.append(group.attributes[f"{name}{len(parts)}"])
    names = [str(one) for part in parts for one in (part if isinstance(part, list) else [part])]
    if len(set(names)) < len(names):
        raise Damaged(f"its {name} name something twice")
    return names


def _of_keras_1(arrays: list[Array]) -> list[Array]:
    """Join the gates of Keras 1, in the order i, f, c, o."""
    joined = []
    for first in range(0, len(arrays), PARTS_OF_KERAS_1):
        gates = [arrays[first + k : first + k + 3] for k in (0, 6, 3, 9)]
        joined += [np.concatenate([gate[k] for gate in gates], axis=-1) for k in range(3)]
    return joined


def _of_training(name: str) -> bool:
    """Whether an array belongs to the training: an optimizer's, or of a generator of numbers."""
    return name.startswith(("optimizer/", "optimizer_weights/")) or "seed_generator" in name
