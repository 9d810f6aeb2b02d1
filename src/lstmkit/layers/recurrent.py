"""An LSTM as a link of a chain: which way it reads, what it shows, and what masks do to it.

Libraries agree on the cell and differ in this. ONNX and PyTorch give 0 past a sequence's end, Keras
repeats the last output; ONNX turns what a reverse layer has read back into the order of x, Keras
leaves it as it was read; Keras's masks may have holes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.layers.lstm import LSTM
from lstmkit.shapes import Array, InputError, one_of

State = tuple[Array, Array]
Mask = NDArray[np.bool_]
MERGES = ("concat", "sum", "mul", "ave")


class Recurrent:
    """An LSTM that reads what the link before it gives. For inference.

    Parameters
    ----------
    lstm : LSTM
        Any; it is held, not copied.
    backwards : bool
        Whether it reads each sequence from its end.
    turned : bool
        Whether y comes in the order in which it was read (Keras's ``go_backwards``); else in that
        of x (ONNX's ``direction="reverse"``). Of a layer that reads forwards it is the same.
    last : bool
        Whether y is only what stands at the end of reading, ``(N, D·P)``: of each direction, its
        own end. (A sequence without a step gives the state as it was.)
    repeat : bool
        Whether a step that is masked repeats the output before it, as in Keras; else it gives 0.
    """

    def __init__(
        self,
        lstm: LSTM,
        *,
        backwards: bool = False,
        turned: bool = False,
        last: bool = False,
        repeat: bool = False,
    ) -> None:
        if not isinstance(lstm, LSTM):
            raise InputError(f"recurrent: lstm is {type(lstm).__name__}; expected an LSTM")
        self.lstm = lstm
        flags = {"backwards": backwards, "turned": turned, "last": last, "repeat": repeat}
        for name, value in flags.items():
            flags[name] = bool(one_of("recurrent", name, value, (True, False)))
        self.backwards, self.turned = flags["backwards"], flags["turned"]
        self.last, self.repeat = flags["last"], flags["repeat"]
        if lstm.bidirectional and backwards:
            raise InputError(
                "recurrent: a bidirectional layer reads both ways; expected backwards=False"
            )

    @property
    def config(self) -> dict[str, Any]:
        """What `from_parameters` makes it of again: JSON values."""
        flags = ("backwards", "turned", "last", "repeat")
        return {"lstm": self.lstm.config} | {name: getattr(self, name) for name in flags}

    @property
    def parameters(self) -> dict[str, Array]:
        """The LSTM's."""
        return self.lstm.parameters

    @classmethod
    def from_parameters(cls, config: dict[str, Any], parameters: dict[str, Array]) -> Recurrent:
        """Make it from its `config` and arrays, copied."""
        options = dict(config)
        return cls(LSTM.from_parameters(options.pop("lstm"), parameters), **options)

    @property
    def input_size(self) -> int:
        """I."""
        return self.lstm.input_size

    @property
    def output_size(self) -> int:
        """D·P or D·H."""
        return self.lstm.output_size

    def run(self, x: Array, state: Any, mask: Mask | None) -> tuple[Array, State]:
        """Run whole sequences: x ``(N, T, I)`` → y and the state where each reading ends.

        The mask ``(N, T)`` is False at steps that are passed over, any of them.
        """
        if self.backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        order, lengths = None, None
        if mask is not None:
            lengths = mask.sum(axis=1)
            if (mask[:, 1:] > mask[:, :-1]).any():  # holes: the real steps move together
                order = np.argsort(~mask, axis=1, kind="stable")
                x = np.take_along_axis(x, order[..., None], axis=1)
        y, end = self.lstm(x, state, lengths)
        if self.last:
            directions = 2 if self.lstm.bidirectional else 1
            h = end[0][-directions:].swapaxes(0, 1)
            return np.ascontiguousarray(h).reshape(len(x), -1), end
        if mask is not None and (order is not None or self.repeat):
            y = _spread(y, mask, self.repeat)
        if self.backwards and not self.turned:
            y = y[:, ::-1]
        return np.ascontiguousarray(y), end


def _spread(y: Array, mask: Mask, repeat: bool) -> Array:
    """Put the outputs of the real steps, which stand together, back to their places."""
    latest = np.cumsum(mask, axis=1) - 1  # the real step at each place, or the last one before it
    spread: Array = np.take_along_axis(y, np.maximum(latest, 0)[..., None], axis=1)
    spread[latest < 0 if repeat else ~mask] = 0
    return spread


class Bidirectional:
    """Two links that read the same input, their outputs joined: directions that differ.

    An LSTM made with ``bidirectional=True`` has two directions with equal options; here each is an
    LSTM of its own, as in Keras's wrapper and in ONNX, where each direction has its activations.

    Parameters
    ----------
    forward, backward : Recurrent
        Both with the same ``last``.
    merge : {"concat", "sum", "mul", "ave"}
        How the outputs are joined.
    """

    def __init__(self, forward: Recurrent, backward: Recurrent, merge: str = "concat") -> None:
        self.forward, self.backward = forward, backward
        self.merge = one_of("bidirectional", "merge", merge, MERGES)
        one, two = forward, backward
        if (one.input_size, one.last) != (two.input_size, two.last):
            raise InputError(
                "bidirectional: forward and backward differ in input_size or last; expected equal"
            )
        if merge != "concat" and one.output_size != two.output_size:
            raise InputError(
                f"bidirectional: the outputs have {one.output_size} and {two.output_size} numbers, "
                f"which cannot be joined by {merge!r}; expected merge='concat'"
            )

    @property
    def config(self) -> dict[str, Any]:
        """What `from_parameters` makes it of again: JSON values."""
        both = {"forward": self.forward.config, "backward": self.backward.config}
        return {**both, "merge": self.merge}

    @property
    def parameters(self) -> dict[str, Array]:
        """Those of both, with the prefixes ``forward.`` and ``backward.``."""
        both = {"forward": self.forward, "backward": self.backward}
        return {f"{side}.{name}": a for side, r in both.items() for name, a in r.parameters.items()}

    @classmethod
    def from_parameters(cls, config: dict[str, Any], parameters: dict[str, Array]) -> Bidirectional:
        """Make it from its `config` and arrays, copied."""
        if set(config) != {"forward", "backward", "merge"}:
            raise InputError(
                f"bidirectional: config has {sorted(config)!s:.200}; expected forward, backward "
                "and merge"
            )
        sides = {}
        for side in ("forward", "backward"):
            own = {
                name[len(side) + 1 :]: array
                for name, array in parameters.items()
                if name.startswith(side + ".")
            }
            sides[side] = Recurrent.from_parameters(config[side], own)
        if sum(len(side.parameters) for side in sides.values()) != len(parameters):
            raise InputError(
                "bidirectional: parameters do not fit; expected forward. and backward."
            )
        return cls(sides["forward"], sides["backward"], config["merge"])

    @property
    def input_size(self) -> int:
        """I."""
        return self.forward.input_size

    @property
    def output_size(self) -> int:
        """Numbers in a step of y."""
        one, two = self.forward.output_size, self.backward.output_size
        return one + two if self.merge == "concat" else one

    def run(self, x: Array, states: Any, mask: Mask | None) -> tuple[Array, list[State]]:
        """Run both: the states are a pair for each, forward first."""
        first, second = states or (None, None)
        one, end_one = self.forward.run(x, first, mask)
        two, end_two = self.backward.run(x, second, mask)
        if self.merge == "concat":
            y = np.concatenate([one, two], axis=-1)
        elif self.merge == "mul":
            y = one * two
        else:
            y = one + two
            if self.merge == "ave":
                y /= 2
        return y, [end_one, end_two]
