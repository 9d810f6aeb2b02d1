"""PyTorch: state dicts in ``.pt``/``.pth`` and safetensors files, read and written without it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from lstmkit import store
from lstmkit.formats import statedicts, torchfiles, zips
from lstmkit.formats.base import Contents, Model
from lstmkit.formats.infile import FileMatrix, OpenFile
from lstmkit.formats.safefiles import SafeDict
from lstmkit.formats.statedicts import Found
from lstmkit.formats.torchfiles import Checkpoint
from lstmkit.layers import LSTM, Embedding, Linear, Sequential
from lstmkit.layers.recurrent import Bidirectional, Recurrent
from lstmkit.shapes import Array, InputError

_MOST_LISTED = 12
_VARIANTS = (
    "peepholes", "coupled_gates", "layer_norm", "cell_clip", "gate_clip", "learn_initial_state",
)  # fmt: skip


def load(path: str | os.PathLike[str], prefix: str | None = None, *, in_file: bool = False) -> LSTM:
    """Open the `nn.LSTM` or `nn.LSTMCell` in a state dict or a checkpoint.

    Parameters
    ----------
    path
        A zip file of ``torch.save``, or a safetensors file. Nothing in it is ever run.
    prefix
        What stands before ``weight_ih_l0`` in the names, as ``"encoder.lstm"``; by default the
        file must hold one LSTM.
    in_file
        Leave the matrices in the file, and read them anew in each call: for long sequences in
        little memory, since no more than one cell's are there at a time. The file stays open and
        must not change; a stream reads it once. Half precision is not left in the file.

    Returns
    -------
    LSTM
        float64 if one of its arrays is, else float32: half precision is widened. The two biases
        are added. (Rates of dropout are not in a state dict.)

    Raises
    ------
    InputError
        If the file is damaged or holds something else than arrays, or no such LSTM, or several.
    FileNotFoundError, PermissionError
        As `open` raises them.
    """
    with _opened(path) as source:
        found, lines = statedicts.find(source.kinds)
        if prefix is not None:
            there, wanted = found, prefix.removesuffix(".")
            found = [one for one in there if one.prefix == wanted]
            if not found:
                # The prefixes of the LSTMs before all else.
                lines = [f"an LSTM with the prefix {one.prefix!r}" for one in there] + lines
                raise InputError(
                    _nothing(path, f"LSTM with the prefix {prefix!r:.200}", source, lines)
                )
        if not found:
            raise InputError(_nothing(path, "LSTM that can be read", source, lines))
        if len(found) > 1:
            prefixes = ", ".join(repr(one.prefix) for one in found[:_MOST_LISTED])
            raise InputError(
                f"load: {os.fspath(path)!r} holds {len(found)} LSTMs, with the prefixes "
                f"{prefixes}; choose one: prefix={found[0].prefix!r}"
            )
        return _make(source, found[0], in_file)


def arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Return all arrays of a state dict by their names, whatever they are of; errors as `load`'s.

    Half precision is widened to float32.
    """
    with _opened(path) as source:
        return {name: source.read(name) for name in source.kinds}


def read(path: str | os.PathLike[str]) -> Contents:
    """Return what is in the file; its model is None unless it holds exactly one LSTM.

    Raises
    ------
    InputError
        If the file is damaged, or holds something else than arrays.
    FileNotFoundError, PermissionError
        As `open` raises them.
    """
    with _opened(path) as source:
        found, lines = statedicts.find(source.kinds)
        if len(found) > 1:
            lines = [
                f"prefix {one.prefix!r}: {statedicts.described(one.arguments)}; "
                f"open it with prefix={one.prefix!r}"
                for one in found
            ] + lines
        if source.others:
            lines.append(f"{source.others} plain values (numbers, text), which are not read")
        arrays = [(name, kind.dtype, kind.shape) for name, kind in source.kinds.items()]
        facts = list(source.facts)
        if len(found) == 1:
            facts.append(("prefix", found[0].prefix or "none"))
        model = _make(source, found[0]) if len(found) == 1 else None
        return Contents(source.format, model, facts, arrays, lines)


def save(model: Model, path: str | os.PathLike[str], prefix: str = "") -> None:
    """Write the weights as a state dict, whole or not at all; equal models give equal bytes.

    ``nn.LSTM(...).load_state_dict(torch.load(path, weights_only=True))`` takes an LSTM's. The bias
    goes to ``bias_ih``, and ``bias_hh`` is zero.

    Parameters
    ----------
    model : LSTM or Sequential
        A Sequential's layers stand under their names: ``"embedding.weight"``,
        ``"lstm.weight_ih_l0"``, ``"head.weight"``. What a layer without weights does is not in a
        state dict.
    path
        ``.safetensors`` for a safetensors file, else a zip file of PyTorch's.
    prefix
        Stands before all names: ``"encoder"`` gives ``"encoder.weight_ih_l0"``.

    Raises
    ------
    InputError
        If the model has a variant that `nn.LSTM` lacks.
    OSError
        If the file cannot be written.
    """
    if not isinstance(prefix, str) or not prefix.isprintable():
        raise InputError(f"save: prefix is {prefix!r}; expected text, as 'encoder.lstm'")
    start = prefix.removesuffix(".")
    arrays = _state_dict(model, f"{start}." if start else "")
    with store.atomic_write(path) as file:
        if os.fspath(path).endswith(".safetensors"):
            import safetensors.numpy

            plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            file.write(safetensors.numpy.save(plain, metadata={"format": "pt"}))
        else:
            torchfiles.write(file, arrays)


# --------------------------------------------------------------------------------- reading


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Checkpoint | SafeDict]:
    """Open a file by what it begins with."""
    with open(os.fspath(path), "rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith(zips.MAGIC):
            yield Checkpoint(path, file)
        elif head[8:9] == b"{" and head[4:8] == bytes(4):  # a length that may begin as a pickle
            yield SafeDict(path, file)
        elif torchfiles.is_old(head):
            raise torchfiles.refuse_old(path, head)
        else:
            raise InputError(
                f"load: {os.fspath(path)!r} is not a file of PyTorch's; expected a zip file of "
                "torch.save, or safetensors"
            )


def _make(source: Checkpoint | SafeDict, found: Found, in_file: bool = False) -> LSTM:
    dtype = np.dtype(found.arguments["dtype"])
    config = LSTM.config_of(**found.arguments)
    arrays: dict[str, Array] = {}
    file = OpenFile(source.path) if in_file else None
    for name, theirs in found.names.items():
        place = source.place(theirs[0]) if file and len(theirs) == 1 else None
        if file and place and place.dtype == dtype:
            arrays[name] = cast(Array, FileMatrix(file, place))
            continue
        parts = [source.read(part).astype(dtype, copy=False) for part in theirs]
        arrays[name] = parts[0] if len(parts) == 1 else statedicts.add(parts)
    if in_file:
        return LSTM.over(config, arrays)
    return LSTM.from_parameters(config, arrays, copy=False)


def _nothing(path: Any, wanted: str, source: Checkpoint | SafeDict, lines: list[str]) -> str:
    """Say that something is not there, and what is."""
    shown = f"{'; '.join(lines[:_MOST_LISTED]) or 'nothing':.300}"
    more = f"; and {len(lines) - _MOST_LISTED} more" if len(lines) > _MOST_LISTED else ""
    return f"load: {os.fspath(path)!r} holds no {wanted}; it holds {shown}{more}"


# --------------------------------------------------------------------------------- writing


def _state_dict(model: Model, start: str) -> dict[str, Array]:
    if isinstance(model, LSTM):
        return _of_lstm(model, "the LSTM", start)
    if not isinstance(model, Sequential):
        raise InputError(f"save: model is {type(model).__name__}; expected an LSTM or a Sequential")
    arrays: dict[str, Array] = {}
    for name, layer in model.layers.items():
        here, who = f"{start}{name}.", f"layer {name!r}"
        if isinstance(layer, Embedding | Linear):
            arrays |= {here + short: array for short, array in layer.parameters.items()}
        elif isinstance(layer, Recurrent):
            if layer.backwards:
                raise InputError(f"save: {who} reads backwards; nn.LSTM alone does not")
            arrays |= _of_lstm(layer.lstm, who, here)
        elif isinstance(layer, Bidirectional):
            arrays |= _of_both(layer, who, here)
    return arrays


def _of_lstm(lstm: LSTM, who: str, start: str) -> dict[str, Array]:
    _refuse_variants(lstm, who)
    arrays: dict[str, Array] = {}
    for end in statedicts.endings(lstm.config):
        arrays |= _of_cell(lstm.parameters, end, start, end)
    return arrays


def _of_both(layer: Bidirectional, who: str, start: str) -> dict[str, Array]:
    """Write two layers that are the two directions of one `nn.LSTM`."""
    forward, backward = layer.forward, layer.backward
    for part in (forward, backward):
        _refuse_variants(part.lstm, who)
    same = (forward.lstm.config | {"dropout": 0, "forget_bias": 0}) == (
        backward.lstm.config | {"dropout": 0, "forget_bias": 0}
    )
    one = forward.lstm.num_layers == 1 and not forward.lstm.bidirectional
    if not (same and one and layer.merge == "concat") or forward.backwards or backward.turned:
        raise InputError(
            f"save: {who} is {layer.merge!r} of two layers; nn.LSTM has two equal directions of "
            "one layer, and their outputs side by side"
        )
    ends = zip((forward, backward), ("_l0", "_l0_reverse"), strict=True)
    arrays: dict[str, Array] = {}
    for part, end in ends:
        arrays |= _of_cell(part.lstm.parameters, "_l0", start, end)
    return arrays


def _of_cell(ours: Mapping[str, Array], end: str, start: str, theirs: str) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for piece in statedicts.PIECES:
        short = "bias" if piece.startswith("bias") else piece
        if short + end in ours:
            array = ours[short + end]
            arrays[start + piece + theirs] = np.zeros_like(array) if piece == "bias_hh" else array
    return arrays


def _refuse_variants(lstm: LSTM, who: str) -> None:
    config = lstm.config
    on = [name for name in _VARIANTS if config.get(name)]
    if tuple(config["activations"]) != ("sigmoid", "tanh", "tanh"):
        on.append("activations")
    if any(config["zoneout"]):
        on.append("zoneout")
    if on:
        raise InputError(
            f"save: {who} has {', '.join(on)}, which nn.LSTM lacks; save it as safetensors of our "
            "own (model.save) or as ONNX"
        )
