"""ONNX: models read, run and written (``pip install "lstmkit[onnx]"``).

`load` turns a file into a model of ours, `read` also says what else is in it, `save` writes one.
`Backend` runs whole graphs, as ONNX's own tests ask for it.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmkit.formats.base import Contents, Model

__all__ = ["Backend", "load", "read", "save"]


def read(path: str | PathLike[str]) -> Contents:
    """Return the model in a file and all that the file says; see `lstmkit.formats.onnx.reader`."""
    from lstmkit.formats.onnx import reader

    return reader.read(path)


def load(path: str | PathLike[str]) -> Model:
    """Return the model in a file; see `lstmkit.formats.onnx.reader`."""
    from lstmkit.formats.onnx import reader

    return reader.load(path)


def save(model: Any, path: str | PathLike[str], **options: Any) -> None:
    """Write a model as ONNX; see `lstmkit.formats.onnx.writer`."""
    from lstmkit.formats.onnx import writer

    writer.save(model, path, **options)


def __getattr__(name: str) -> Any:
    # The base class of `Backend` is in the onnx package, which need not be installed.
    if name == "Backend":
        from lstmkit.formats.onnx import runtime

        return runtime.backend()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
