"""Watches one call of a reader: what it answers, how long it takes, what it allocates and does."""

from __future__ import annotations

import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

from lstmkit.shapes import InputError

SECONDS, WAITING = 1.0, 5.0  # of the processor; on the clock, which runs on a busy machine as well
TIMES, SPARE = 4, 2**21  # times the file, and bytes that the interpreter and small parts take
LONGEST = 500  # characters of a message

FORBIDDEN = (
    "code.", "compile", "cpython.", "ctypes.", "exec", "ftplib.", "http.", "import", "marshal.",
    "os.chdir", "os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link",
    "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove", "os.rename", "os.rmdir", "os.spawn",
    "os.startfile", "os.symlink", "os.system", "os.truncate", "os.unsetenv", "os.utime", "pickle.",
    "pty.", "shutil.", "socket.", "sqlite3.", "subprocess.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip
"""Events of Python's audit (PEP 578) by which a file would do something, or be more than data."""


class Verdict(NamedTuple):
    """What came of an input: ``problem`` is empty if all is well, ``refusal`` the clear error."""

    problem: str
    refusal: str


class Watch:
    """Watches the calls of one process.

    It cannot be taken off again (nor can an audit hook); between the calls it looks at nothing.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._events: list[str] = []
        self._looking = False
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._looking:
            return
        if event == "open":
            path, mode, flags = (*arguments, None, None, None)[:3]
            writes = isinstance(mode, str) and not set(mode) <= set("rbtU")
            if writes or str(path) != self._path or (flags or 0) & 0b11:
                self._events.append(f"open {path!r:.80} {mode}")
        elif event.startswith(FORBIDDEN):
            self._events.append(f"{event} {arguments!r:.80}")

    def judge(self, call: Callable[[], Any], size: int, path: str | None = None) -> Verdict:
        """Call and judge.

        Parameters
        ----------
        call
            Reads the input; what it returns is asked for its weights' bytes, see `weights`.
        size : int
            The input's bytes.
        path : str, optional
            The one file that may be opened, for reading.
        """
        verdict, (worked, waited) = self._once(call, size, path)
        if not verdict.problem and waited > SECONDS:
            tracing = tracemalloc.is_tracing()
            tracemalloc.stop()  # it takes ten times as long
            for _ in range(2):
                _, (again, passed) = self._once(call, size, path)
                worked, waited = min(worked, again), min(waited, passed)
            if tracing:
                tracemalloc.start()
        if not verdict.problem and (worked > SECONDS or waited > WAITING):
            return Verdict(f"took {worked:.1f} s, {waited:.1f} on the clock", verdict.refusal)
        return verdict

    def _once(
        self, call: Callable[[], Any], size: int, path: str | None
    ) -> tuple[Verdict, tuple[float, float]]:
        """Call and judge, but for the seconds: of the processor, and on the clock."""
        self._path, self._events = path, []
        problem, refusal, held = "", "", 0
        tracing = tracemalloc.is_tracing()
        if tracing:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        began, start = time.process_time(), time.perf_counter()
        self._looking = True
        try:
            result = call()
        except InputError as error:
            self._looking = False
            refusal = str(error)
            problem = _unclear(refusal)
        except BaseException as error:
            self._looking = False
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            problem = f"{type(error).__name__} at {at}: {error!s:.200}"
        else:
            self._looking = False
            held = weights(result)
        seconds = time.process_time() - began, time.perf_counter() - start
        if tracing:
            taken = tracemalloc.get_traced_memory()[1] - before
            if not problem and taken > TIMES * size + held + SPARE:
                problem = f"took {taken} bytes for a file of {size} and weights of {held}"
        if self._events:
            problem = f"did {'; '.join(self._events[:3])}"
        return Verdict(problem, refusal), seconds


def _unclear(message: str) -> str:
    if not message or len(message) >= LONGEST or not message.isprintable():
        return f"no clear line of text: {message!r:.120} … ({len(message)} characters)"
    return ""


def weights(result: Any) -> int:
    """Count the bytes of what was read: a model's parameters, or the arrays in a pair or a dict."""
    parameters = getattr(getattr(result, "model", result), "parameters", None)
    if isinstance(parameters, dict):
        return sum(array.nbytes for array in parameters.values())
    if isinstance(result, (tuple, list)):
        return sum(map(weights, result))
    if isinstance(result, dict):
        return sum(map(weights, result.values()))
    return int(getattr(result, "nbytes", 0))
