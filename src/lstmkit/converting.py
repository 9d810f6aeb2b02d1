"""A model from one file format to another, and the proof that it still computes the same."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from lstmkit import loading, store
from lstmkit.formats.base import Model
from lstmkit.formats.detect import Format, recognize
from lstmkit.formats.peers import NotRun, compare, largest_difference, random_input
from lstmkit.layers import LSTM, Bidirectional, Recurrent, Sequential
from lstmkit.shapes import InputError
from lstmkit.tasks.language_model import LanguageModel

PathLike = str | os.PathLike[str]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""Of a difference, relative to the largest output."""
SUFFIXES = {
    ".safetensors": Format.LSTMKIT,
    ".pt": Format.PYTORCH,
    ".pth": Format.PYTORCH,
    ".keras": Format.KERAS,
    ".onnx": Format.ONNX,
}


class Check(NamedTuple):
    """One file, run by another program than the model that it was read into or written from.

    Attributes
    ----------
    file : str
    by : str
        What ran it: ``"PyTorch 2.13.0"``, or ``"lstmkit"`` itself, on what it reads there.
    difference, size : float
        The largest difference from our model's outputs, and the largest of these.
    tolerance : float
        Of the difference.
    why : str
        Why the file's own library did not run it; empty if it did.
    """

    file: str
    by: str
    difference: float
    size: float
    tolerance: float
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.difference <= self.tolerance and math.isfinite(self.size)


class Unproved(Exception):
    """What was written does not compute the same; nothing has been left behind."""

    def __init__(self, checks: list[Check]) -> None:
        super().__init__("the converted model does not compute the same")
        self.checks = checks


def convert(
    source: PathLike,
    target: PathLike,
    *,
    prefix: str | None = None,
    state_dict: bool = False,
    libraries: bool = True,
    **options: Any,
) -> tuple[Any, list[Check]]:
    """Read a model, write it in another format, and prove that both files compute the same.

    Each file is run on random input: by its own library where that is installed, else by what
    `lstmkit.load` reads in it. The target appears under its name only when it is proved, and whole.

    Parameters
    ----------
    source, target
        Files. The target's suffix says its format: ``.safetensors`` (ours), ``.pt`` or ``.pth``,
        ``.keras``, ``.onnx``. A target that is there is replaced.
    prefix
        Of a state dict that is read; see `lstmkit.load`.
    state_dict
        Whether a ``.safetensors`` target is a PyTorch state dict instead of ours.
    libraries
        Whether the files' own libraries may run them. False for a file of a stranger: no other
        program opens it then.
    **options
        Of the target's writer: ``opset``, ``states``, ``lengths`` of `lstmkit.formats.onnx.save`.

    Returns
    -------
    model : LSTM, Sequential or LanguageModel
        What was read.
    checks : list of Check
        That of the source, if its library ran it, and that of the target.

    Raises
    ------
    InputError
        If the source cannot be read or the target's format cannot hold the model.
    Unproved
        If a difference is larger than the tolerance.
    OSError
        If the target cannot be written.
    """
    format = format_of(target, state_dict)
    if options and format is not Format.ONNX:
        raise InputError(
            f"convert: {' and '.join(options)} is given and {os.fspath(target)!r} is no ONNX file; "
            "expected it only with a target that ends in .onnx"
        )
    if os.path.exists(target) and os.path.samefile(source, target):
        raise InputError(
            f"convert: {os.fspath(target)!r} is the file that is read; expected another target"
        )
    opened = loading.load(source, prefix)
    store.check_writable(target)
    model = opened.network if isinstance(opened, LanguageModel) else opened
    checks: list[Check] = []
    if libraries and recognize_file(source) is not Format.LSTMKIT:
        found = _by_library(Path(source), model, _prefix_of(source, prefix))
        checks += [found] if isinstance(found, Check) else []
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / Path(target).name
        _write(format, opened if format is Format.LSTMKIT else model, draft, options)
        why = "" if format is Format.LSTMKIT else "other libraries were not asked"
        found = why
        if libraries and format is not Format.LSTMKIT:
            found = _by_library(draft, model, "")
        if not isinstance(found, Check):
            found = _by_reading(format, draft, model, found)
        checks.append(found)
        if not all(check.good for check in checks):
            raise Unproved(checks)
        with store.atomic_write(target) as file, open(draft, "rb") as written:
            shutil.copyfileobj(written, file)
    return opened, checks


def format_of(target: PathLike, state_dict: bool = False) -> Format:
    """Return the format that a target's name asks for, or refuse it."""
    name = os.fspath(target)
    suffix = Path(name).suffix.lower()
    if suffix in (".h5", ".hdf5"):
        raise InputError(
            f"convert: {name!r} asks for HDF5, which holds weights without saying what they are "
            "for, or is Keras's old format; expected .keras"
        )
    if suffix not in SUFFIXES:
        raise InputError(
            f"convert: {name!r} does not end in a format's name; expected {', '.join(SUFFIXES)}"
        )
    if state_dict and suffix == ".safetensors":
        return Format.PYTORCH
    if state_dict and SUFFIXES[suffix] is not Format.PYTORCH:
        raise InputError(
            f"convert: a state dict is asked for and {name!r} ends in {suffix}; expected "
            ".safetensors, .pt or .pth"
        )
    return SUFFIXES[suffix]


def recognize_file(path: PathLike) -> Format:
    """Return a file's format; a run's folder is ours."""
    return Format.LSTMKIT if os.path.isdir(path) else recognize(path)


def _prefix_of(source: PathLike, prefix: str | None) -> str:
    """Return the prefix of the LSTM that was read."""
    if prefix is None and recognize_file(source) in (Format.PYTORCH, Format.SAFETENSORS):
        found = dict(loading.describe(source).facts).get("prefix", "none")
        return "" if found == "none" else found
    return prefix or ""


def _write(format: Format, model: Any, path: Path, options: dict[str, Any]) -> None:
    if format is Format.LSTMKIT:
        model.save(path)
        return
    try:
        loading.door(format).save(model, path, **options)
    except ImportError as error:  # an extra is missing
        raise InputError(f"convert: {error}") from None


def _tolerance(model: Model, size: float) -> float:
    return TOLERANCE[model.dtype.name] * size


def _by_library(path: Path, model: Model, prefix: str) -> Check | str:
    """Check a file by its own library; or say why that could not be."""
    try:
        by, difference, size = largest_difference(path, model, prefix)
    except NotRun as error:
        return str(error)
    return Check(path.name, by, difference, size, _tolerance(model, size))


def _by_reading(format: Format, path: Path, model: Model, why: str) -> Check:
    """Check a file by what is read in it."""
    chain = Sequential({"lstm": model}) if isinstance(model, LSTM) else model
    if format is Format.PYTORCH and not isinstance(model, LSTM):
        again = _from_state_dict(path, chain)
    else:
        again = loading.load(path)
        again = again.network if isinstance(again, LanguageModel) else again
    x = random_input(chain)
    y = again(x)[0]
    difference, size = compare(chain(x)[0], y)
    return Check(path.name, "lstmkit", difference, size, _tolerance(model, size), why)


def _from_state_dict(path: Path, chain: Sequential) -> Sequential:
    """Return a chain of the same form with the arrays that a state dict holds for it."""
    from lstmkit.formats import pytorch

    arrays = pytorch.arrays(path)
    for name, layer in chain.layers.items():
        if isinstance(layer, Recurrent):
            lstm = pytorch.load(path, prefix=name)
            arrays |= {f"{name}.{short}": array for short, array in lstm.parameters.items()}
        elif isinstance(layer, Bidirectional):
            for short, array in pytorch.load(path, prefix=name).parameters.items():
                side = "backward" if short.endswith("_reverse") else "forward"
                arrays[f"{name}.{side}.{short.removesuffix('_reverse')}"] = array
    wanted = chain.parameters
    return Sequential.from_parameters(chain.config, {name: arrays[name] for name in wanted})
