"""From any file to the object that it holds."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lstmkit import run, store
from lstmkit.layers import LSTM, Sequential
from lstmkit.shapes import InputError, shown
from lstmkit.tasks.language_model import LanguageModel

_MAKERS: dict[str, Callable[..., Any]] = {
    "LSTM": LSTM.from_parameters,
    "Sequential": Sequential.from_parameters,
    "LanguageModel": LanguageModel.from_parameters,
}
_IN_A_FOLDER = ("model.safetensors", "checkpoint.safetensors")


class Description(NamedTuple):
    """What a file holds, read from its header alone.

    ``kind`` and ``config`` are the model's; ``checkpoint`` says how far the training had come
    (step, tokens, elapsed seconds) where the file is a checkpoint, else it is empty. ``arrays``
    are the model's, as (name, dtype, shape), and ``parameters`` counts their numbers.
    """

    kind: str
    config: dict[str, Any]
    checkpoint: dict[str, Any]
    arrays: list[tuple[str, str, tuple[int, ...]]]
    parameters: int


def load(path: str | os.PathLike[str]) -> Any:
    """Open what was saved.

    Parameters
    ----------
    path
        A file that ``LSTM.save`` or ``LanguageModel.save`` wrote, or a training checkpoint of one
        (its best weights, where it keeps such), or a run's folder: its ``model.safetensors``,
        else its ``checkpoint.safetensors``. Nothing in a file is ever run.

    Returns
    -------
    LSTM or LanguageModel

    Raises
    ------
    InputError
        If the file is damaged, foreign, of a newer version, or does not hold such a model.
    FileNotFoundError, PermissionError
        As `open` raises them.
    """
    file = _file(path)
    stored = store.load(file)
    kind, config, arrays = stored
    if kind == run.KIND:
        about, arrays = run.best_weights(stored)
        kind, config = _model_of(file, about)
    if kind not in _MAKERS:
        raise InputError(
            f"load: {str(file)!r} holds a {kind!r}; expected one of {', '.join(_MAKERS)}"
        )
    try:
        return _MAKERS[kind](config, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(
            f"load: {str(file)!r} does not hold a whole {kind} ({shown(error)}); take another copy "
            "of it"
        ) from None


def describe(path: str | os.PathLike[str]) -> Description:
    """Read what a file holds, but not its arrays. Arguments and errors as in `load`."""
    file = _file(path)
    kind, config, arrays = store.inspect(file)
    checkpoint: dict[str, Any] = {}
    if kind == run.KIND:
        numbers = config.get("numbers")
        if isinstance(numbers, dict):
            wanted = ("step", "tokens", "elapsed")
            checkpoint = {name: numbers[name] for name in wanted if name in numbers}
        kind, config = _model_of(file, config.get("about"))
        own = "parameters/"
        arrays = {name[len(own) :]: a for name, a in arrays.items() if name.startswith(own)}
    rows = [(name, str(dtype), tuple(shape)) for name, (dtype, shape) in arrays.items()]
    return Description(kind, config, checkpoint, rows, sum(math.prod(row[2]) for row in rows))


def _file(path: str | os.PathLike[str]) -> Path:
    """Return the file itself; in a folder, the model's."""
    folder = Path(path)
    if not folder.is_dir():
        return folder
    for name in _IN_A_FOLDER:
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"load: folder {str(folder)!r} holds no {' or '.join(_IN_A_FOLDER)}; expected a model file "
        "or a run's folder"
    )


def _model_of(file: Path, about: Any) -> tuple[str, dict[str, Any]]:
    kind, config = (about.get(k) for k in ("kind", "config")) if isinstance(about, dict) else (0, 0)
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise InputError(
            f"load: {str(file)!r} is a checkpoint that does not say of what; expected one of "
            f"{', '.join(_MAKERS)}"
        )
    return kind, config
