"""Keras's files: ``.keras``, ``.weights.h5`` and the older whole-model ``.h5``.

They are read without Keras and without h5py: a file is data, and nothing that it names is looked up
or run. Sequential models and functional models that are one chain become a `Sequential`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lstmkit.formats.base import Contents
from lstmkit.formats.keras import archive, config, guess, hdf5, translate, weights
from lstmkit.formats.keras.config import Node, Refused
from lstmkit.formats.keras.hdf5 import Damaged
from lstmkit.formats.keras.writer import save
from lstmkit.layers import Sequential
from lstmkit.shapes import InputError

__all__ = ["load", "read", "save"]

_ODD = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError,
)  # fmt: skip
"""What a config that is not Keras's makes of code that reads it as one."""


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a file of Keras's: the model, and what else there is to say.

    Parameters
    ----------
    path
        A ``.keras`` of Keras 3 or 2.13 and later, a ``.weights.h5``, or an ``.h5`` of Keras 1, 2,
        3 or tf.keras; told by its content.

    Returns
    -------
    Contents
        Its ``model`` is a `Sequential`, or None where the file holds layers that are not known
        here; ``left_over`` names them. Of weights alone the activations and the options are
        assumed: ``facts`` says what.

    Raises
    ------
    InputError
        If the file is damaged, or not Keras's.
    OSError
        As `open` raises it.
    """
    try:
        opened = archive.open_file(path)
        listed = {
            name: (dataset.dtype.name, dataset.shape)
            for name, dataset in hdf5.flat(opened.weights).items()
        }
        facts, left_over = opened.facts, opened.left_over
        model = None
        try:
            nodes = _nodes(opened, facts)
            model = _model(opened, nodes, facts, left_over)
        except Refused as error:
            left_over += error.lines
    except Damaged as error:
        raise InputError(
            f"load: {os.fspath(path)!r} cannot be read: {error} (expected a Keras model that is "
            "whole)"
        ) from None
    except InputError as error:  # of the layers that were made
        model = None
        left_over.append(str(error))
    except _ODD as error:
        raise InputError(
            f"load: {os.fspath(path)!r} cannot be read: its config is not one of Keras's "
            f"({type(error).__name__}: {error!s:.200})"
        ) from None
    arrays = [(name, dtype, shape) for name, (dtype, shape) in listed.items()]
    return Contents(opened.format, model, facts, arrays, left_over)


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read the model in a file of Keras's; see `read`.

    Raises
    ------
    InputError
        Also if a layer of the model is not known here; the message names it.
    """
    contents = read(path)
    if contents.model is None:
        why = "; ".join(contents.left_over) or "it holds no layers"
        raise InputError(f"load: {os.fspath(path)!r} holds no model that runs here: {why:.300}")
    assert isinstance(contents.model, Sequential)
    return contents.model


def _nodes(opened: archive.Opened, facts: list[tuple[str, str]]) -> list[Node]:
    """Return the layers, from the config or, where there is none, as their weights show them."""
    if opened.model is None:
        gates = "sigmoid" if opened.by_path else guess.gates_of(opened.version)
        order = "the one order that their sizes allow" if opened.by_path else "the file's order"
        facts.append(("assumed", guess.ASSUMED.format(gates=gates, order=order)))
        if opened.by_path:
            return guess.by_path(opened.weights)
        return guess.by_order(opened.weights, gates)
    nodes = config.chain(opened.model)
    kind, name = opened.model["class_name"], opened.model["config"]
    name = name.get("name") if isinstance(name, dict) else None
    facts.append(("model", f"{kind!s:.40} {name!r:.60}"))
    return nodes


def _model(
    opened: archive.Opened, nodes: list[Node], facts: list[tuple[str, str]], left_over: list[str]
) -> Sequential:
    made = weights.ByPath if opened.by_path else weights.ByOrder
    source = made(opened.weights, nodes)
    taken = [(node, source.take(node)) for node in nodes]
    floats = {array.dtype.newbyteorder("=").name for _, found in taken for array in found}
    dtype = "float64" if "float64" in floats else "float32"
    facts.append(("dtype", ", ".join(sorted(floats)) or "none"))
    version = translate.major(opened.version)
    layers: list[list[Any]] = []
    parameters: dict[str, Any] = {}
    refused: list[str] = []
    for node, arrays in taken:
        _note(node, facts)
        try:
            rows = translate.rows(node, arrays, version, dtype)
        except Refused as error:
            refused += error.lines
            continue
        for row in rows:
            name = row.name
            while any(name == other for other, _, _ in layers):
                name += "_"
            layers.append([name, row.kind, row.options])
            parameters |= {
                f"{name}.{key}": np.asarray(array, dtype) for key, array in row.arrays.items()
            }
    if refused:
        raise Refused(*refused)
    left_over += [f"array {name!r:.80} belongs to no layer" for name in sorted(source.unused)]
    return Sequential.from_parameters({"dtype": dtype, "layers": layers}, parameters)


def _note(node: Node, facts: list[tuple[str, str]]) -> None:
    """Say what of a layer's options makes no difference here, but would elsewhere."""
    options = [node.config]
    if node.kind == "Bidirectional":
        options = [inner.config for inner in config.directions(node)]
    if any(one.get("stateful") for one in options):
        facts.append((node.name, "stateful in Keras: give the state to the next call, or stream"))
    policy = node.config.get("dtype")
    policy = policy.get("config") if isinstance(policy, dict) else policy
    policy = policy.get("name") if isinstance(policy, dict) else policy
    if isinstance(policy, str) and "16" in policy:
        facts.append((node.name, f"computes in {policy:.40} in Keras, in float32 here"))
