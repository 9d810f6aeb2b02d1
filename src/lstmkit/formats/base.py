"""What every format answers: the model in a file, and what else is in it."""

from __future__ import annotations

from typing import NamedTuple

from lstmkit.layers import LSTM, Sequential

Model = LSTM | Sequential


class Contents(NamedTuple):
    """What a file of another library holds.

    Attributes
    ----------
    format : str
        The format's name, as ``"PyTorch state dict (zip)"``.
    model : LSTM, Sequential or None
        What runs; None if nothing was found, and then ``left_over`` says why.
    facts : list of pairs
        Name and value of what the file says of itself: producer, opset, versions.
    arrays : list of (name, dtype, shape)
        By the file's own names.
    left_over : list of str
        A line for each thing that is in the file and was not understood.
    """

    format: str
    model: Model | None
    facts: list[tuple[str, str]]
    arrays: list[tuple[str, str, tuple[int, ...]]]
    left_over: list[str]
