"""How a long run shows itself: a live bar on a terminal, plain lines elsewhere, always on stderr.

What is shown comes as a report, a dict with these keys, all but the first two optional: ``step``,
``elapsed`` (seconds), ``loss``, ``bits``, ``tokens_per_second``, ``validation_loss``.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, TextIO

from lstmkit.shapes import one_of

LINE_SECONDS = 5.0  # between two plain lines


class _Display(Protocol):
    def show(self, fraction: float, figures: list[str], notable: bool) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class Progress:
    """Shows a run while it goes on.

    Parameters
    ----------
    kind : {"auto", "rich", "plain", "none"}
        A live bar (rich), a line every five seconds, or nothing. ``"auto"`` is the bar if stderr is
        a terminal and lines if not. Without the package rich the bar becomes lines.
    brief : bool
        For runs of many short epochs: a validation leaves no line of its own, its loss stays beside
        the others until the next one, and of the rest only the loss is shown.

    Notes
    -----
    A display that can no longer be written to (a closed pipe, a lost terminal) falls silent; the
    run that it shows goes on.

    Examples
    --------
    >>> with Progress("none") as progress:
    ...     progress.start(total=100, unit="steps")
    ...     progress.update({"step": 1, "elapsed": 0.5, "loss": 2.0})
    """

    def __init__(self, kind: str = "auto", *, brief: bool = False) -> None:
        self.kind = one_of("Progress", "kind", kind, ("auto", "rich", "plain", "none"))
        self.brief = brief
        self._validated: dict[str, Any] = {}
        self._display: _Display | None = None
        self._report: Mapping[str, Any] | None = None

    def start(self, total: float, unit: str, done: float = 0.0) -> None:
        """Begin to show a run of ``total`` steps or seconds, of which ``done`` lie behind it."""
        self._unit = one_of("Progress", "unit", unit, ("steps", "seconds"))
        self._total, self._first, self._clock = total, done, time.monotonic()
        self._validated = {}
        self.close()
        self._display = _display(self.kind)

    def update(self, report: Mapping[str, Any]) -> None:
        """Show where the run stands."""
        if self._display is None:
            return
        done = float(report["step"] if self._unit == "steps" else report["elapsed"])
        fraction = min(done / self._total, 1.0) if self._total else 1.0
        notable = "validation_loss" in report and not self.brief
        if self.brief:
            report = self._in_brief(report)
        figures = self._figures(report, done)
        try:
            self._display.show(fraction, figures, notable=notable)
        except (OSError, ValueError):
            self.close()

    def message(self, text: str) -> None:
        """Print a line of text, above the bar if there is one."""
        try:
            (self._display or _display(self.kind)).message(text)
        except (OSError, ValueError):
            self.close()

    def close(self) -> None:
        """Leave the last state standing and stop; a closed display can be started again."""
        display, self._display = self._display, None
        if display is not None:
            with suppress(OSError, ValueError):
                display.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _in_brief(self, report: Mapping[str, Any]) -> Mapping[str, Any]:
        if "validation_loss" in report:
            self._validated = {"validation_loss": report["validation_loss"]}
        known = {name: report[name] for name in ("step", "elapsed", "loss") if name in report}
        return known | self._validated

    def _figures(self, report: Mapping[str, Any], done: float) -> list[str]:
        """Write a report in words; where room is short the first ones can go."""
        if self._unit == "steps":
            figures = [f"step {report['step']:,}/{self._total:,.0f}"]
            passed = done - self._first
            pace = (time.monotonic() - self._clock) / passed if passed > 0 else math.inf
        else:
            figures = [f"step {report['step']:,}"]
            pace = 1.0
        left = (self._total - done) * pace if self._total > done else 0.0
        if "tokens_per_second" in report:
            figures.append(f"{_count(report['tokens_per_second'])} tokens/s")
        if "loss" in report:
            figures.append(f"loss {report['loss']:#.4g}")
        if "bits" in report:
            figures.append(f"{report['bits']:.3f} bits")
        if "validation_loss" in report:
            figures.append(f"validation {report['validation_loss']:#.4g}")
        if math.isfinite(left):
            figures.append(f"{_duration(left)} left")
        return figures


def _count(number: float) -> str:
    """Write a rate with three digits.

    >>> _count(831.4), _count(12345.0), _count(2.5e6)
    ('831', '12.3k', '2.50M')
    """
    if number < 999.5:
        return f"{number:.0f}"
    scaled, letter = (number / 1e3, "k") if number < 999.5e3 else (number / 1e6, "M")
    return f"{scaled:#.3g}".rstrip(".") + letter


def _duration(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are some.

    >>> _duration(7.2), _duration(83.0), _duration(7384.0)
    ('0:08', '1:23', '2:03:04')
    """
    whole = math.ceil(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _display(kind: str) -> _Display:
    stderr: TextIO | None = sys.stderr  # None where there is no console at all
    if kind == "none" or stderr is None:
        return _Nothing()
    if kind == "rich" or (kind == "auto" and stderr.isatty()):
        try:
            return _Bar()
        except ImportError:
            pass
    return _Lines(stderr)


class _Nothing:
    def show(self, fraction: float, figures: list[str], notable: bool) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines:
    """A line now and then, and one for every notable report."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._shown = -math.inf
        self._waiting = ""

    def show(self, fraction: float, figures: list[str], notable: bool) -> None:
        line = f"{fraction:4.0%}  {', '.join(figures)}"
        if notable or time.monotonic() - self._shown >= LINE_SECONDS:
            self.message(line)
            self._shown, self._waiting = time.monotonic(), ""
        else:
            self._waiting = line

    def message(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._waiting:
            self.message(self._waiting)
            self._waiting = ""


class _Bar:
    """A rich progress bar, drawn when there is something new, without a thread of its own.

    Notable reports stay on the screen as lines above it.
    """

    LEAST = 10  # columns of the bar itself

    def __init__(self) -> None:
        from rich import console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        class Console(console.Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # and not SystemExit, as rich does

        self._console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(bar_width=None, table_column=Column(min_width=_Bar.LEAST, ratio=1)),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            auto_refresh=False,
            expand=True,
        )
        self._task: Any = None

    def show(self, fraction: float, figures: list[str], notable: bool) -> None:
        if notable:
            self.message("  ".join(figures))
        room = self._console.width - self.LEAST - len(" 100% ")
        while len(figures) > 1 and len("  ".join(figures)) > room:
            figures = figures[1:]
        text = "  ".join(figures)
        if self._task is None:
            self._task = self._progress.add_task(text, total=1.0)
            self._progress.start()
        self._progress.update(self._task, completed=fraction, description=text, refresh=True)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
