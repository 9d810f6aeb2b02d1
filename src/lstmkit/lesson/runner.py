"""Runs a learner's code in a process of its own, with a time and a memory limit.

Whatever that code does (loop without end, print without end, leave, crash, take all memory), this
process gets an answer in time, or a `Stopped` whose message is one clear line.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lstmkit.lesson import child
from lstmkit.lesson.program import Program
from lstmkit.shapes import InputError, positive_integer, real_number

SECONDS, MEGABYTES = 10.0, 2048
LONGEST, LARGEST = 86_400.0, 2**20  # a day, a terabyte
GROUP = 100  # calls in one frame
STARTING, START = "before it was loaded", 60.0  # a busy machine starts Python slowly
LOADING = "while it was loaded"
ALL, TIMES = 60.0, 6  # all requests together: a minute, or six times what one of them may take
SLOW = 3.0  # seconds after which it is told that something is still going on
INSIDE = "LSTMKIT_CHECKED"


def inside() -> bool:
    """Whether this is the process in which a learner's code is checked."""
    return INSIDE in os.environ


class Stopped(Exception):
    """The learner's process ended before it answered; the message says how."""


class Overtime(Stopped):
    """The requests together took longer than a whole check may."""


@dataclass(frozen=True)
class Failure:
    """An error that the learner's code raised, shortened to their own lines."""

    kind: str
    message: str
    frames: tuple[tuple[str, int, str, str], ...] = ()  # (file, line, function, text)

    @property
    def at(self) -> str:
        """Where it was raised, with the line itself."""
        if not self.frames:
            return ""
        file, line, _, text = self.frames[-1]
        return f"{file}, line {line}: {text}" if text else f"{file}, line {line}"

    def __str__(self) -> str:
        said = f"{self.kind}: {self.message}" if self.message else self.kind
        if self.kind == "SystemExit":
            said = "SystemExit: your code called exit()"
        if self.kind == "RecursionError":
            said = "RecursionError: a function calls itself without end"
        if self.kind == "MemoryError":
            said = "MemoryError: your code asked for more memory than the limit"
        if self.kind == "Storm":
            said = f"{self.message}; is there a print in a loop?"
        return f"{said} ({self.at})" if self.at else said


@dataclass(frozen=True)
class Outcome:
    """What one call of the learner's code gave."""

    value: Any = None
    failure: Failure | None = None
    warnings: tuple[tuple[str, str, str], ...] = ()  # (message, line, text)
    changed: tuple[str, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Inventory:
    """What the learner's code defines, and what went wrong while it was loaded."""

    things: tuple[dict[str, Any], ...]
    failures: tuple[tuple[str, Failure], ...] = ()  # (cell, what was raised)


def _failure(found: Mapping[str, Any]) -> Failure:
    frames = tuple((f, int(line), name, text) for f, line, name, text in found["frames"])
    return Failure(found["type"], found["message"], frames)


def plain(value: Any) -> Any:
    """Turn lists of numbers into arrays: plain Python is as good as NumPy."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(entry) for entry in value)
    if isinstance(value, list):
        if value and all(_is_number(entry) for entry in value):
            return np.array(value) * 1.0
        entries = [plain(entry) for entry in value]
        shapes = {getattr(entry, "shape", None) for entry in entries}
        nested = all(isinstance(entry, list) for entry in value)
        return np.stack(entries) if nested and len(shapes) == 1 and None not in shapes else entries
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "uif"
    return type(value) in (int, float)


def _outcome(reply: Mapping[str, Any]) -> Outcome:
    return Outcome(
        plain(reply.get("value")),
        _failure(reply["error"]) if "error" in reply else None,
        tuple(tuple(warning) for warning in reply.get("warnings", ())),
        tuple(reply.get("changed", ())),
        tuple(tuple(both) for both in reply.get("shared", ())),
    )


def _status(text: str) -> None:
    """Write over the terminal's last line."""
    sys.stderr.write(f"\r{text[:78]:78}" + ("" if text else "\r"))
    sys.stderr.flush()


def _listen(stream: Any, answers: queue.Queue[Any]) -> None:
    with suppress(Exception), stream:
        while True:
            answers.put(child.receive(stream))
    answers.put(None)


@dataclass
class Learner:
    """The learner's program, loaded in a process of its own.

    Parameters
    ----------
    program : Program
    seconds : float
        How long one request may take; all together have six times that, but at least a minute.
    megabytes : int
        How much memory the process may take (POSIX).

    Notes
    -----
    The limits stop accidents, not malice: the code runs with the rights of whoever runs it.
    """

    program: Program
    seconds: float = SECONDS
    megabytes: int = MEGABYTES
    printed: str = ""
    printed_count: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _log: str = ""
    _answers: queue.Queue[Any] = field(default_factory=queue.Queue)
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def __post_init__(self) -> None:
        self.seconds = real_number("check", "seconds", self.seconds, 0.1, LONGEST)
        self.megabytes = positive_integer("check", "megabytes", self.megabytes, 128)
        if self.megabytes > LARGEST:
            raise InputError(
                f"check: megabytes is {self.megabytes}; expected at least 128 and at most {LARGEST}"
            )

    def __enter__(self) -> Learner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> Inventory:
        """Start a process and run the program's cells; an earlier process is ended."""
        self.close()
        self._start()
        self._answer(STARTING, START)
        cells = [(cell.name, cell.source) for cell in self.program.cells]
        where = {"folder": self.program.folder, "file": self.program.file}
        self._send({"do": "load", "cells": cells, **where})
        reply = self._answer(LOADING)
        failures = tuple((error["cell"], _failure(error)) for error in reply["errors"])
        return Inventory(tuple(reply["inventory"]), failures)

    def call(self, requests: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Make calls, one after the other, and return what each gave."""
        outcomes = []
        for start in range(0, len(requests), GROUP):
            group = [dict(request) for request in requests[start : start + GROUP]]
            self._send({"do": "calls", "calls": group})
            for call in group:
                method = [call["method"]] if "method" in call else []
                reply = self._answer(f"in {'.'.join([call['name'], *method])}")
                outcomes.append(_outcome(reply))
        return outcomes

    def close(self) -> None:
        """End the process and what it started."""
        process = self._process
        if process is None:
            return
        self._process = None
        if self._told:
            self._told = 0.0
            _status("")
        for pipe in (process.stdin,):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if os.name == "posix":
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        with suppress(OSError):
            os.unlink(self._log)

    # ------------------------------------------------------------------------------ the pipes

    def _start(self) -> None:
        descriptor, self._log = tempfile.mkstemp(prefix="lstmkit-check-", suffix=".txt")
        os.close(descriptor)
        script = Path(child.__file__)
        command = [sys.executable, str(script), str(self.megabytes), str(self.seconds), self._log]
        one = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {**os.environ, **one, "PYTHONDONTWRITEBYTECODE": "1", INSIDE: "1"}
        environment |= {"PYTHONUTF8": "1", "PYTHONWARNINGS": "default", "MPLBACKEND": "agg"}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise InputError(
                f"check: cannot start {sys.executable} to run your code ({error.strerror})"
            ) from None
        self._answers = queue.Queue()
        given = (self._process.stdout, self._answers)
        threading.Thread(target=_listen, args=given, daemon=True).start()

    def _send(self, request: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:  # over time: the answer will say so
            return
        with suppress(OSError):  # it is gone: the answer will say so
            process.stdin.write(child.pack(request))
            process.stdin.flush()

    def _answer(self, when: str, seconds: float | None = None) -> dict[str, Any]:
        wait, total = seconds or self.seconds + 0.5, max(ALL, TIMES * self.seconds)
        left = self._began + total - time.monotonic()
        try:
            reply = self._next(when, min(wait, left))
        except queue.Empty:
            if left < wait:
                self.close()
                raise Overtime(
                    f"the whole check took longer than {total:g} s; is your code slow? "
                    f"--seconds {total / 2:g} gives it more time"
                ) from None
            if when == STARTING:
                self.close()
                raise Stopped(f"Python did not start within {START:g} s; try again") from None
            where = self._where()
            self.close()
            raise Stopped(
                f"your code did not finish within {self.seconds:g} s {when}; is there a loop "
                f"without end?{where}"
            ) from None
        if reply is None:
            raise Stopped(self._end(when))
        self.printed, self.printed_count = reply["printed"]["kept"], int(reply["printed"]["count"])
        found: dict[str, Any] = reply
        return found

    def _next(self, when: str, seconds: float) -> dict[str, Any] | None:
        """Wait for an answer; on a terminal say so, once a second."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now >= until:
                raise queue.Empty
            if now - self._began > SLOW and now - self._told >= 1 and sys.stderr.isatty():
                self._told = now
                _status(f"still checking {self.program.name}, {when}: {now - self._began:.0f} s")
            with suppress(queue.Empty):
                found: dict[str, Any] | None = self._answers.get(timeout=min(1.0, until - now))
                return found

    def _end(self, when: str) -> str:
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        code = process.poll()
        where = self._where()
        self.close()
        if code is not None and code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            why = " (out of memory?)" if name == "SIGKILL" else ""
            return f"your code ended the process {when}: {name}{why}{where}"
        return f"your code ended the process {when} (exit code {code}){where}"

    def _where(self) -> str:
        """Say on which line of theirs the process stood when it last wrote that down."""
        with suppress(OSError):
            text = Path(self._log).read_text(encoding="utf-8", errors="replace")
            sources = {cell.name: cell.source.splitlines() for cell in self.program.cells}
            for name, number in re.findall(r'File "([^"]*)", line (\d+)', text):
                if name in sources and 0 < int(number) <= len(sources[name]):
                    line = sources[name][int(number) - 1].strip()
                    return f" ({name}, line {number}: {line})"
        return ""
