"""The curves of a run for TensorBoard, in its event files; tensorboardX gives their format."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from lstmkit.shapes import InputError

CURVES = ("loss", "validation_loss", "learning_rate", "gradient_norm")
FLUSH_SECONDS = 1.0  # between two times that the file is forced to the disk


class EventFile:
    """Writes what the reports of a run say of `CURVES`, against the step, as they come.

    Each sitting of a run adds a file of its own to the folder. It begins by telling TensorBoard
    to forget what it knows of the steps after ``resumed_step``: so the curves of a resumed run go
    on where its checkpoint stands, and those of a new run (None) take the place of older ones.

    tensorboardX's own ``SummaryWriter`` writes from a thread through a bounded queue; where the
    disk is full that thread ends and the run waits for it forever. Its `EventsWriter`, used here,
    writes at once and raises.

    Raises
    ------
    InputError
        If tensorboardX is missing.
    OSError
        If the folder or the file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], resumed_step: int | None) -> None:
        try:
            import tensorboardX as tbx  # type: ignore[import-untyped, import-not-found, unused-ignore]
        except ImportError:
            raise InputError(
                "train: tensorboardX is missing; expected it for tensorboard "
                '(pip install "lstmkit[tensorboard]")'
            ) from None
        self._folder = os.fspath(folder)
        os.makedirs(self._folder, exist_ok=True)
        # The name that EventsWriter makes has whole seconds; TensorBoard reads in their order.
        path = os.path.join(self._folder, "events")
        self._writer: Any = tbx.event_file_writer.EventsWriter(path, f".{time.time_ns()}")
        self._flushed = 0.0
        self._event = tbx.proto.event_pb2.Event
        self._summary = tbx.proto.summary_pb2.Summary
        began = tbx.proto.event_pb2.SessionLog
        first = 0 if resumed_step is None else resumed_step + 1
        self._write(self._event(step=first, session_log=began(status=began.START)))

    def write(self, report: Mapping[str, Any]) -> None:
        """Add the figures of a report."""
        figures = {name: float(report[name]) for name in CURVES if name in report}
        values = [self._summary.Value(tag=name, simple_value=x) for name, x in figures.items()]
        self._write(self._event(step=report["step"], summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        event.wall_time = now = time.time()
        with self._named():
            self._writer.write_event(event)
            if now - self._flushed >= FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = now

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the folder's name into an error of the operating system."""
        try:
            yield
        except OSError as error:
            error.filename = self._folder
            raise

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError) if error is not None else self._named():
            self._writer.close()
