"""The door to the engine: one cell over time, by the fastest twin that is there.

`forward`, `backward` and `step` have one contract, written in `lstmkit.engine.numpy_twin`.
"""

from lstmkit.engine.base import NO_MASKS, Masks, State, Tape, Weights
from lstmkit.engine.numpy_twin import backward, forward, step
from lstmkit.engine.packing import Packing

__all__ = [
    "NO_MASKS",
    "Masks",
    "Packing",
    "State",
    "Tape",
    "Weights",
    "backend",
    "backward",
    "forward",
    "step",
]


def backend() -> str:
    """Return the name of the twin that computes: ``"numpy"``.

    Examples
    --------
    >>> backend()
    'numpy'
    """
    return "numpy"
