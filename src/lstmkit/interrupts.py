"""Ctrl-C between two steps, not in the middle of what belongs together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Hold:
    """A block that Ctrl-C does not cut in two: KeyboardInterrupt comes when the block has ended.

    A second Ctrl-C inside the block cuts it after all; then ``inside`` stays True, as after any
    other exception.

    Examples
    --------
    >>> hold, done = Hold(), []
    >>> try:
    ...     with handle_ctrl_c(hold):
    ...         with hold:
    ...             signal.raise_signal(signal.SIGINT)
    ...             done.append("the block")
    ...         done.append("more")
    ... except KeyboardInterrupt:
    ...     print(done, hold.inside)
    ['the block'] False
    """

    inside = False
    _pressed = False

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.inside = False
            if self._pressed:
                self._pressed = False
                raise KeyboardInterrupt

    def on_ctrl_c(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        if self.inside and not self._pressed:
            self._pressed = True
        else:
            raise KeyboardInterrupt


@contextmanager
def handle_ctrl_c(hold: Hold) -> Iterator[None]:
    """Let the hold handle Ctrl-C, unless somebody else does or this is not the main thread."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, hold.on_ctrl_c)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
