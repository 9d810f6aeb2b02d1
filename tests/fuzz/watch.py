"""Watches one call of a reader: what it answers, how long it takes, what it allocates and does."""

from __future__ import annotations

import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

from lstmkit.shapes import InputError

SECONDS = 1.0
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
        verdict, seconds = self._once(call, size, path)
        for _ in range(2):  # a busy machine is not a slow reader
            if not verdict.problem and seconds > SECONDS:
                seconds = min(seconds, self._once(call, size, path)[1])
        if not verdict.problem and seconds > SECONDS:
            return Verdict(f"took {seconds:.1f} s", verdict.refusal)
        return verdict

    def _once(self, call: Callable[[], Any], size: int, path: str | None) -> tuple[Verdict, float]:
        self._path, self._events = path, []
        problem, refusal, held = "", "", 0
        tracing = tracemalloc.is_tracing()
        if tracing:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        began = time.perf_counter()
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
        seconds = time.perf_counter() - began
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
