"""ONNX: models read, run and written (``pip install "lstmkit[onnx]"``).

`load` turns a file into a model of ours, `read` also says what else is in it, `save` writes one.
`run` computes a graph as it stands; `Backend` does so in the form that ONNX's own tests ask for.
Reading and running need no other package; writing and `Backend` need onnx.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from lstmkit.shapes import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lstmkit.formats.base import Contents, Model

__all__ = ["Backend", "load", "read", "run", "save"]


def read(path: str | PathLike[str]) -> Contents:
    """Return the model in a file and all that the file says; see `lstmkit.formats.onnx.reader`."""
    import lstmkit.formats.onnx.reader as reader

    return reader.read(path)


def load(path: str | PathLike[str]) -> Model:
    """Return the model in a file; see `lstmkit.formats.onnx.reader`."""
    import lstmkit.formats.onnx.reader as reader

    return reader.load(path)


def run(path: str | PathLike[str], inputs: dict[str, ArrayLike]) -> dict[str, Array]:
    """Compute the graph in a file as it stands; no other package is needed.

    For graphs that are more than the layers that `load` takes out of them. Operators: those that
    exporters put around an LSTM, with ``If``, ``Loop`` and ``Scan``.

    Parameters
    ----------
    path
        An ONNX file.
    inputs : dict of arrays
        By the graph's own names and in its own layout.

    Returns
    -------
    dict of arrays
        The graph's outputs by name.

    Raises
    ------
    InputError
        If the file is damaged, an operator is unknown, or an input is missing or does not fit.
    OSError
        As `open` raises it.
    """
    import lstmkit.formats.onnx.runtime as runtime

    return runtime.run(path, inputs)


def save(model: Any, path: str | PathLike[str], **options: Any) -> None:
    """Write a model as ONNX; see `lstmkit.formats.onnx.writer`."""
    import lstmkit.formats.onnx.writer as writer

    writer.save(model, path, **options)


def __getattr__(name: str) -> Any:
    # The base class of `Backend` is in the onnx package, which need not be installed.
    if name == "Backend":
        import lstmkit.formats.onnx.runtime as runtime

        return runtime.backend()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
