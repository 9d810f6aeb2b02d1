"""A model from one file format to another, and the proof that it still computes the same."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmkit import loading, store
from lstmkit.formats.base import Model
from lstmkit.formats.detect import Format, recognize
from lstmkit.formats.peers import (
    NotRun,
    as_chain,
    compare,
    largest_difference,
    random_input,
    run_graph,
)
from lstmkit.layers import Bidirectional, Recurrent, Sequential
from lstmkit.shapes import InputError

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
    """A file was run, and so was our model that was read from it or written to it.

    Attributes
    ----------
    file : str
    by : str
        What ran it: ``"PyTorch 2.13.0"``, or ``"lstmkit"`` itself, on what it reads there.
    difference, size : float
        The largest difference from our model's outputs, and the largest of these.
    tolerance : float
        Of the difference.
    """

    file: str
    by: str
    difference: float
    size: float
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether the difference is within the tolerance; nan is not."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        verdict = "the same" if self.good else "NOT the same"
        return (
            f"{self.file}, run by {self.by}: largest difference {self.difference:.1e} in outputs "
            f"up to {self.size:.2g}: {verdict} (tolerance {self.tolerance:.1e})"
        )


class Conversion(NamedTuple):
    """What `convert` did.

    Attributes
    ----------
    model : LSTM, Sequential, or a model for a task
        What was read.
    checks : list of Check
        Of the file that was read, if its library ran it, and of the one that was written.
    notes : list of str
        What else there is to know, a line each.
    """

    model: Any
    checks: list[Check]
    notes: list[str]

    @property
    def good(self) -> bool:
        """Whether every check is."""
        return all(check.good for check in self.checks)


class Unproved(Exception):
    """What was written does not compute the same; nothing has been left behind."""

    def __init__(self, conversion: Conversion) -> None:
        super().__init__("the files do not compute the same")
        self.conversion = conversion


def convert(
    source: PathLike,
    target: PathLike,
    *,
    prefix: str | None = None,
    state_dict: bool = False,
    libraries: bool = True,
    **options: Any,
) -> Conversion:
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
    model: Model = loading.chain_of(opened)
    _check_finite(source, model)
    done = Conversion(opened, [], [])
    if not os.path.isdir(source) and recognize(source) is not Format.LSTMKIT:
        contents = loading.describe(source)
        others = [a for a in contents.left_over if not a.startswith(f"prefix {prefix!r}:")]
        if others:
            done.notes.append(
                f"{os.fspath(source)} holds more, which is left out ({len(others)} lines of "
                f"lstmkit info): {others[0]:.80}"
            )
        if prefix is None:
            prefix = dict(contents.facts).get("prefix", "none")
            prefix = "" if prefix == "none" else prefix
        if libraries:
            _by_library(done, Path(source), model, prefix)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / Path(target).name
        _write(format, opened if format is Format.LSTMKIT else model, draft, options)
        if format is Format.LSTMKIT or not libraries or not _by_library(done, draft, model, ""):
            _by_reading(done, format, draft, model)
        if not done.good:
            raise Unproved(done)
        with store.atomic_write(target) as file, open(draft, "rb") as written:
            shutil.copyfileobj(written, file)
    return done


def format_of(target: PathLike, state_dict: bool = False) -> Format:
    """Return the format that a target's name asks for, or refuse it."""
    name = os.fspath(target)
    suffix = Path(name).suffix.lower()
    if suffix in (".h5", ".hdf5"):
        raise InputError(
            f"convert: {name!r} asks for HDF5, which holds weights without their layers, or is "
            "Keras's old format; expected .keras"
        )
    if suffix not in SUFFIXES:
        raise InputError(
            f"convert: {name!r} does not end in a format's name; expected {', '.join(SUFFIXES)}"
        )
    format = SUFFIXES[suffix]
    if state_dict and format not in (Format.PYTORCH, Format.LSTMKIT):
        raise InputError(
            f"convert: a state dict is asked for and {name!r} ends in {suffix}; expected "
            ".safetensors, .pt or .pth"
        )
    return Format.PYTORCH if state_dict else format


def _check_finite(source: PathLike, model: Model) -> None:
    """Refuse what has nothing to compare."""
    chain = as_chain(model)
    with np.errstate(all="ignore"):
        y = chain(random_input(chain))[0]
    if not np.isfinite(y).all():
        raise InputError(
            f"convert: what {os.fspath(source)!r} computes is not finite, so that nothing can be "
            "proved; expected weights without nan and inf"
        )


def _write(format: Format, model: Any, path: Path, options: dict[str, Any]) -> None:
    if format is Format.LSTMKIT:
        model.save(path)
        return
    try:
        loading.door(format).save(model, path, **options)
    except ImportError as error:  # an extra is missing
        raise InputError(f"convert: {error}") from None


def _by_library(done: Conversion, path: Path, model: Model, prefix: str) -> bool:
    """Check a file by its own library; False, with a note, if that could not be."""
    try:
        by, difference, size, dtype = largest_difference(path, model, prefix)
    except NotRun as error:
        done.notes.append(f"{path.name} was not run by its own library: {error}")
        return False
    coarsest = max(TOLERANCE.get(dtype, 1e-2), TOLERANCE[model.dtype.name])
    done.checks.append(Check(path.name, by, difference, size, coarsest * size))
    return True


def _by_reading(done: Conversion, format: Format, path: Path, model: Model) -> None:
    """Check a file by what is read in it."""
    chain, by = as_chain(model), "lstmkit"
    x = random_input(chain)
    if format is Format.ONNX:
        by = "lstmkit, node by node"
        try:
            y = run_graph(path, x)
        except NotRun as error:
            raise InputError(
                f"convert: only ONNX Runtime can prove {path.name}: install onnxruntime and let it "
                f"run the files ({error})"
            ) from None
    elif format is Format.PYTORCH and isinstance(model, Sequential):
        y = _from_state_dict(path, chain)(x)[0]
    else:
        again = loading.chain_of(loading.load(path))
        y = again(x)[0]
    difference, size = compare(chain(x)[0], y)
    tolerance = TOLERANCE[model.dtype.name] * size
    done.checks.append(Check(path.name, by, difference, size, tolerance))


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
