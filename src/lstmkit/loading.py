"""From any file to the object that it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lstmkit import run, store
from lstmkit.formats.base import Contents
from lstmkit.formats.detect import Format, recognize
from lstmkit.layers import LSTM, Sequential
from lstmkit.shapes import InputError, shown


def _task(kind: str) -> Callable[..., Any]:
    """Return what makes a model for a task: who opens an LSTM need not wait for what trains."""

    def make(config: dict[str, Any], arrays: dict[str, Any]) -> Any:
        from lstmkit import tasks

        return getattr(tasks, kind).from_parameters(config, arrays)

    return make


_MAKERS: dict[str, Callable[..., Any]] = {
    "LSTM": LSTM.from_parameters,
    "Sequential": Sequential.from_parameters,
    "LanguageModel": _task("LanguageModel"),
    "SequenceClassifier": _task("SequenceClassifier"),
    "SequenceRegressor": _task("SequenceRegressor"),
    "SequenceTagger": _task("SequenceTagger"),
    "Forecaster": _task("Forecaster"),
}
_IN_A_FOLDER = ("model.safetensors", "checkpoint.safetensors")


def load(path: str | os.PathLike[str], prefix: str | None = None, *, in_file: bool = False) -> Any:
    """Open a model: ours, or one of PyTorch, Keras or ONNX, without their libraries.

    Parameters
    ----------
    path
        A file that ``save`` of `LSTM`, `Sequential` or `LanguageModel` wrote; a training checkpoint
        of one (its best weights, where it keeps such); a run's folder: its ``model.safetensors``,
        else its ``checkpoint.safetensors``. Or a PyTorch state dict (``.pt``, ``.pth``,
        ``.safetensors``), a Keras model (``.keras``, ``.weights.h5``, ``.h5``), an ONNX model
        (``.onnx``). The bytes tell which, not the name. Nothing in a file is ever run.
    prefix
        Of a state dict: what stands before the LSTM's names in it (``"encoder.rnn"``), where it
        holds several.
    in_file
        Of a state dict: leave the matrices in the file and read them anew in each call, for long
        sequences in little memory; see `lstmkit.formats.pytorch.load`.

    Returns
    -------
    LSTM, Sequential or LanguageModel
        Of a state dict an `LSTM`; of Keras and ONNX a `Sequential`, the whole chain of layers.

    Raises
    ------
    InputError
        If the file is damaged, of a newer version or of none of these formats, or holds no model
        that can be run here. The message is one line.
    FileNotFoundError, PermissionError
        As `open` raises them.
    """
    file = _file(path)
    format = recognize(file)
    if format in (Format.PYTORCH, Format.SAFETENSORS):
        return door(format).load(file, prefix=prefix, in_file=in_file)
    if in_file:
        raise InputError(
            f"load: in_file is {in_file!r:.60}, and {file!r} is {format.value}; expected it "
            "only with a state dict"
        )
    if prefix is not None:
        raise InputError(
            f"load: prefix is {prefix!r:.60}, and {file!r} is {format.value}; expected a "
            "prefix only with a state dict"
        )
    return _load_ours(file) if format is Format.LSTMKIT else door(format).load(file)


def describe(path: str | os.PathLike[str]) -> Contents:
    """Say what a file holds: its format, its model, its arrays, and what was not understood.

    What `load` refuses because it holds no model that runs is described all the same, with the
    reason in ``left_over``. Arguments and other errors as in `load`.
    """
    file = _file(path)
    format = recognize(file)
    contents: Contents
    if format is not Format.LSTMKIT:
        contents = door(format).read(file)
        return contents
    kind, config, arrays = store.inspect(file)
    facts, left_over = [("kind", kind)], []
    model: Any = None
    if kind == run.KIND:
        facts += _progress(config.get("numbers"))
        kind, config = _model_of(file, config.get("about"))
        facts.insert(0, ("model", kind))
        own = "parameters/"
        arrays = {name[len(own) :]: a for name, a in arrays.items() if name.startswith(own)}
    facts += [(name, _text(value)) for name, value in config.items() if name != "layers"]
    if kind in _MAKERS:
        model = _load_ours(file)
    else:
        left_over.append(f"the kind {kind!r:.60}, which lk.load does not open")
    rows = [(name, str(dtype), tuple(shape)) for name, (dtype, shape) in arrays.items()]
    chain = None
    if model is not None:
        with suppress(InputError):  # of what is no chain the arrays tell
            chain = chain_of(model)
    return Contents(f"lstmkit {store.FORMAT} (safetensors)", chain, facts, rows, left_over)


def chain_of(opened: Any) -> Any:
    """Return what `load` gave as layers that other libraries know: an LSTM or a Sequential.

    Raises
    ------
    InputError
        If a model for a task is no chain of such layers.
    """
    if isinstance(opened, LSTM | Sequential):
        return opened
    chain = getattr(opened, "network", None)
    if chain is None:
        raise InputError(
            f"convert: a {type(opened).__name__} is no chain of layers, which is all that files of "
            "other libraries hold here; keep its own file, which lk.load opens"
        )
    return chain


def door(format: Format) -> Any:
    """Return the room of another library's format, entered when it is asked for."""
    if format is Format.KERAS:
        from lstmkit.formats import keras

        return keras
    if format is Format.ONNX:
        from lstmkit.formats import onnx

        return onnx
    from lstmkit.formats import pytorch

    return pytorch


# ------------------------------------------------------------------------------- our own


def _load_ours(file: str) -> Any:
    stored = store.load(file)
    kind, config, arrays = stored
    if kind == run.KIND:
        about, arrays = run.best_weights(stored)
        kind, config = _model_of(file, about)
    if kind not in _MAKERS:
        raise InputError(
            f"load: {file!r} holds a {kind!r:.60}; expected one of {', '.join(_MAKERS)}"
        )
    try:
        model = _MAKERS[kind](config, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(
            f"load: {file!r} does not hold a whole {kind} ({shown(error)}); take another copy of it"
        ) from None
    for name, array in model.parameters.items():
        if arrays[name].dtype != array.dtype:
            raise InputError(
                f"load: {file!r} does not hold a whole {kind} ({name} is {arrays[name].dtype} "
                f"and the config says {array.dtype}); take another copy of it"
            )
    return model


def _file(path: str | os.PathLike[str]) -> str:
    """Return the file itself; in a folder, the model's."""
    folder = os.fspath(path)
    if not os.path.isdir(folder):
        return folder
    for name in _IN_A_FOLDER:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    if os.path.exists(os.path.join(folder, "saved_model.pb")):
        raise InputError(
            f"load: {folder!r} is a SavedModel of TensorFlow, which is a program; save the "
            'model as one file: keras.models.load_model(...).save("model.keras")'
        )
    raise InputError(
        f"load: folder {folder!r} holds no {' or '.join(_IN_A_FOLDER)}; expected a model file "
        "or a run's folder"
    )


def _model_of(file: str, about: Any) -> tuple[str, dict[str, Any]]:
    kind, config = (about.get(k) for k in ("kind", "config")) if isinstance(about, dict) else (0, 0)
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise InputError(
            f"load: {file!r} is a checkpoint that does not say of what; expected one of "
            f"{', '.join(_MAKERS)}"
        )
    return kind, config


def _progress(numbers: Any) -> list[tuple[str, str]]:
    """How far the training of a checkpoint had come."""
    wanted = ("step", "tokens", "elapsed")
    known = numbers if isinstance(numbers, dict) else {}
    return [(f"checkpoint: {name}", _text(known[name])) for name in wanted if name in known]


def _text(value: Any) -> str:
    return (
        value if isinstance(value, str) else f"{value:g}" if type(value) is float else repr(value)
    )
