"""What runs in the learner's process: it loads their code, calls it and sends back what came.

This file is run as a script, so it needs NumPy and Python alone. The checker's process talks to it
through two pipes in frames: a length, a line of JSON, raw numbers. Nothing is ever unpickled.
The limits guard against accidents (an endless loop, all memory taken), not against malice.
"""

from __future__ import annotations

import builtins
import copy
import faulthandler
import inspect
import io
import json
import linecache
import os
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

MODULE = "learner"
LARGEST = 4_000_000  # numbers in one array that are sent back
DEEPEST, MOST = 6, 20_000  # levels and entries of a nested result
PRINTED, STORM = 2_000, 1_000_000  # characters that are kept, and that are too many

# ------------------------------------------------------------------------------------ frames


def pack(value: Any) -> bytes:
    """Turn nested lists, tuples, dicts, arrays and plain values into one frame."""
    arrays: list[np.ndarray[Any, Any]] = []
    count = 0

    def tree(item: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if item is None or type(item) in (bool, str):
            return {"v": item if not isinstance(item, str) else item[:100_000]}
        if type(item) in (int, float):
            return {"v": item} if abs(item) < 2**63 or item != item else {"o": "a huge number"}
        if isinstance(item, np.ndarray | np.generic):
            array = np.asarray(item)
            if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16:
                return {"o": f"an array of dtype {array.dtype}"}
            if array.size > LARGEST:
                return {"o": f"an array of shape {array.shape}"}
            arrays.append(np.ascontiguousarray(array).reshape(array.shape))
            return {"a": len(arrays) - 1}
        if isinstance(item, np.random.Generator):
            state = item.bit_generator.state
            return {"r": state} if state["bit_generator"] == "PCG64" else {"o": "a Generator"}
        if depth > DEEPEST or count > MOST:
            return {"o": "something deeply nested"}
        if isinstance(item, tuple) and (names := state_names(type(item))) is not None:
            item = tuple(getattr(item, name) for name in names)
        if isinstance(item, list | tuple):
            kind = "l" if isinstance(item, list) else "t"
            return {kind: [tree(entry, depth + 1) for entry in item[:MOST]]}
        if isinstance(item, dict):
            pairs = [(str(key)[:200], tree(entry, depth + 1)) for key, entry in item.items()]
            return {"d": pairs}
        if callable(getattr(item, "__array__", None)):  # a tensor of another library
            with suppress(Exception):
                return tree(np.asarray(item), depth + 1)
        kind = type(item).__name__
        return {"o": f"a{'n' if kind[0] in 'aeiouAEIOU' else ''} {kind}"}

    shape = tree(value, 0)
    infos = [(array.dtype.str, array.shape) for array in arrays]
    head = json.dumps({"tree": shape, "arrays": infos}).encode()
    body = b"".join(array.tobytes() for array in arrays)
    return len(head).to_bytes(8, "little") + len(body).to_bytes(8, "little") + head + body


def state_names(kind: type) -> tuple[str, str] | None:
    """Return the names of h and c, in this order, where a class is a named tuple of the two."""
    fields = list(getattr(kind, "_fields", ()))
    h, c = ([name for name in fields if str(name).lower()[:1] == letter] for letter in "hc")
    return (h[0], c[0]) if len(fields) == 2 and h and c else None


class Other:
    """Stands for a result that is neither numbers nor text."""

    def __init__(self, what: str) -> None:
        self.what = what


def unpack(head: bytes, body: bytes) -> Any:
    """Undo `pack`; arrays are copies that can be written to."""
    found = json.loads(head)
    arrays, at = [], 0
    for name, shape in found["arrays"]:
        dtype = np.dtype(name)
        if dtype.kind not in "biufc":
            raise ValueError(f"a frame holds dtype {dtype}")
        size = dtype.itemsize
        for axis in shape:
            size *= axis
        arrays.append(np.frombuffer(body[at : at + size], dtype).reshape(shape).copy())
        at += size

    def value(node: dict[str, Any]) -> Any:
        ((kind, content),) = node.items()
        if kind == "v":
            return content
        if kind == "a":
            return arrays[content]
        if kind == "o":
            return Other(content)
        if kind == "r":
            generator = np.random.default_rng(0)
            generator.bit_generator.state = content
            return generator
        if kind == "d":
            return {key: value(entry) for key, entry in content}
        entries = [value(entry) for entry in content]
        return entries if kind == "l" else tuple(entries)

    return value(found["tree"])


def receive(stream: BinaryIO) -> Any:
    """Read one frame; raise EOFError at the end."""
    sizes = stream.read(16)
    if len(sizes) < 16:
        raise EOFError
    head = stream.read(int.from_bytes(sizes[:8], "little"))
    body = stream.read(int.from_bytes(sizes[8:], "little"))
    return unpack(head, body)


# ------------------------------------------------------------------------------ their output


class Storm(RuntimeError):
    """More was printed than anybody reads."""


class Printed(io.TextIOBase):
    """Stands for stdout and stderr: keeps the beginning, counts the rest, stops a storm."""

    encoding, errors = "utf-8", "replace"

    def __init__(self) -> None:
        self.kept, self.count = "", 0

    def write(self, text: str) -> int:
        """Take text as a file does."""
        self.count += len(text)
        if len(self.kept) < PRINTED:
            self.kept += text[: PRINTED - len(self.kept)]
        if self.count > STORM:
            raise Storm(f"more than {STORM:,} characters printed")
        return len(text)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def close(self) -> None:
        """Stay open."""

    def reconfigure(self, **options: Any) -> None:
        """Do nothing: nothing is encoded here."""

    def fileno(self) -> int:
        """Return the descriptor, which leads nowhere."""
        return 1

    @property
    def buffer(self) -> Bytes:
        """What takes bytes."""
        return Bytes(self)


class Bytes(io.RawIOBase):
    """Stands for ``sys.stdout.buffer``."""

    def __init__(self, text: Printed) -> None:
        self.text = text

    def write(self, data: Any) -> int:
        """Take bytes as a file does."""
        self.text.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def writable(self) -> bool:
        """Say yes."""
        return True


def _no_input(prompt: object = "") -> str:
    raise RuntimeError("input() was called; there is nobody to answer here")


# ------------------------------------------------------------------------------- their code


def describe(error: BaseException, files: set[str]) -> dict[str, Any]:
    """Shorten an error to its type, its first line and the learner's own lines."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code, line = trace.tb_frame.f_code, trace.tb_lineno
        if code.co_filename in files:
            text = linecache.getline(code.co_filename, line).strip()
            frames.append((code.co_filename, line, code.co_name, text[:200]))
        trace = trace.tb_next
    message = str(error)
    if isinstance(error, SyntaxError):
        message = error.msg or "invalid syntax"
        if error.filename in files:
            line_text = (error.text or "").strip()[:200]
            frames.append((error.filename, error.lineno or 0, "<module>", line_text))
    if isinstance(error, KeyError):
        message = message.strip("'\"")
    return {
        "type": type(error).__name__,
        "message": " ".join(message.split())[:300],
        "frames": [list(map(str, frame)) for frame in frames[-3:]],
    }


def signature(function: Any) -> list[tuple[str, str, bool]]:
    """List a function's parameters: name, kind, whether there is a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [(p.name, p.kind.name, p.default is not p.empty) for p in parameters]


class Loaded:
    """The learner's module."""

    def __init__(
        self, cells: list[tuple[str, str]], folder: str | None, file: str | None = None
    ) -> None:
        self.module = types.ModuleType(MODULE)
        if file:
            self.module.__file__ = file
        sys.modules[MODULE] = self.module
        self.files = {name for name, _ in cells}
        self.errors: list[dict[str, Any]] = []
        if folder:
            sys.path.insert(0, folder)
            with suppress(OSError):
                os.chdir(folder)
        for name, source in cells:
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)
            try:
                with warnings.catch_warnings():  # of a backslash in a docstring
                    warnings.simplefilter("ignore")
                    code = compile(source, name, "exec")
                exec(code, self.module.__dict__)
            except BaseException as error:
                self.errors.append({"cell": name, **describe(error, self.files)})

    def inventory(self) -> list[dict[str, Any]]:
        """List the functions and classes that they define."""
        found = []
        for name, item in list(vars(self.module).items()):
            if isinstance(item, types.FunctionType) and item.__module__ == MODULE:
                doc = inspect.getdoc(item) or ""
                entry = {"name": name, "kind": "function", "parameters": signature(item)}
                found.append({**entry, "doc": doc})
            elif isinstance(item, type) and item.__module__ == MODULE:
                bases = [base for base in reversed(item.__mro__) if base.__module__ == MODULE]
                methods = {
                    key: signature(method)[1:]
                    for base in bases
                    for key, method in vars(base).items()
                    if isinstance(method, types.FunctionType)
                }
                made: dict[str, Any] = {"name": name, "kind": "class", "methods": methods}
                made |= {"parameters": signature(item), "doc": inspect.getdoc(item) or ""}
                found.append(made)
        return found

    def as_theirs(self, argument: Any) -> Any:
        """Make a pair of states one of their own class, where they have a named tuple for it."""
        if type(argument) is tuple and len(argument) == 2:
            for kind in list(vars(self.module).values()):
                if isinstance(kind, type) and issubclass(kind, tuple) and state_names(kind):
                    return kind(**dict(zip(state_names(kind) or (), argument, strict=True)))
        return argument

    def target(self, request: dict[str, Any]) -> Callable[..., Any]:
        """Find what is to be called; an object is made anew for each call."""
        thing = getattr(self.module, request["name"])
        if "method" not in request:
            found: Callable[..., Any] = thing
            return found
        thing = thing(*request["init"], **request.get("init_named", {}))
        give(thing, request["set"])
        method: Callable[..., Any] = getattr(thing, request["method"])
        return method

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call something, and say what came back and what happened on the way."""
        arguments, named = request["args"], request["named"]
        before = copy.deepcopy((arguments, named))
        reply: dict[str, Any] = {"warnings": []}
        with (
            warnings.catch_warnings(record=True) as caught,
            np.errstate(all="warn", under="ignore"),
        ):
            warnings.simplefilter("always")
            try:
                value = self.target(request)(
                    *map(self.as_theirs, arguments),
                    **{name: self.as_theirs(argument) for name, argument in named.items()},
                )
                reply["value"] = value
            except BaseException as error:
                reply["error"] = describe(error, self.files)
        for warning in caught[:20]:
            text = linecache.getline(warning.filename, warning.lineno).strip()
            own = warning.filename in self.files
            line = [str(warning.lineno), text[:200]] if own else ["", ""]
            reply["warnings"].append([str(warning.message)[:200], *line])
        reply["changed"] = different((arguments, named), before)
        if "value" in reply:
            reply["shared"] = shared(reply["value"], (arguments, named))
        return reply


def give(thing: Any, weights: dict[str, Any]) -> None:
    """Put weights where an object keeps them: in itself, in a cell inside it, or in a dict."""
    inside = list(getattr(thing, "__dict__", {}).values())
    cells = [thing, *(item for item in inside if type(item).__module__ == MODULE)]
    dicts = [item for cell in cells for item in vars(cell).values() if isinstance(item, dict)]
    for name, value in weights.items():
        kept = [entries for entries in dicts if name in entries]
        for entries in kept:
            entries[name] = value
        owners = [cell for cell in cells if hasattr(cell, name)]
        for owner in owners or ([] if kept else [thing]):
            setattr(owner, name, value)


def leaves(value: Any, path: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    """List the arrays inside nested lists, tuples and dicts, with where they stand."""
    if depth > DEEPEST:
        return []
    if isinstance(value, np.ndarray):
        return [(path, value)]
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list | tuple):
        entries = list(enumerate(value))
    else:
        return []
    return [leaf for key, entry in entries for leaf in leaves(entry, f"{path}.{key}", depth + 1)]


def different(now: Any, before: Any) -> list[str]:
    """Say which arrays are not what they were."""
    after = dict(leaves(now))
    changed = [
        path
        for path, array in leaves(before)
        if path not in after or not np.array_equal(after[path], array, equal_nan=True)
    ]
    return changed + sorted(set(after) - {path for path, _ in leaves(before)})


def shared(value: Any, arguments: Any) -> list[tuple[str, str]]:
    """Say which arrays of a result share memory with an argument, or with an earlier result."""
    found = []
    results = leaves(value)[:60]
    for k, (path, array) in enumerate(results):
        for other, given in leaves(arguments):
            if np.may_share_memory(array, given) and array.size:
                found.append((path, f"argument{other}"))
        for other, earlier in results[:k]:
            if np.may_share_memory(array, earlier) and np.array_equal(array, earlier):
                found.append((path, f"result{other}"))
    return found[:20]


# ------------------------------------------------------------------------------------- main


def limit(megabytes: int, seconds: int) -> None:
    """Bound the memory, and the processor's time in case nobody is left to stop this process."""
    try:
        import resource
    except ImportError:  # not POSIX: the time limit alone
        return
    size = megabytes * 2**20
    for kind, most in ((resource.RLIMIT_AS, size), (resource.RLIMIT_CPU, seconds)):
        with suppress(ValueError, OSError):
            hard = resource.getrlimit(kind)[1]
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.setrlimit(kind, (most, hard))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(arguments: list[str]) -> None:
    """Serve one checker, until it closes the pipe."""
    megabytes, seconds, log = int(arguments[0]), float(arguments[1]), arguments[2]
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    where = open(log, "w", encoding="utf-8")
    faulthandler.enable(where)
    limit(megabytes, int(seconds * 20) + 60)
    sys.path.pop(0)  # the folder of this script
    sys.argv = [MODULE]
    printed = Printed()
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = printed  # type: ignore[assignment,misc]
    builtins.input = _no_input
    loaded: Loaded | None = None

    def answer(reply: dict[str, Any]) -> None:
        printed_now = {"kept": printed.kept, "count": printed.count}
        try:
            frame = pack({**reply, "printed": printed_now})
        except (MemoryError, RecursionError) as error:
            frame = pack({"error": describe(error, set()), "printed": printed_now})
        answers.write(frame)
        answers.flush()

    answer({})  # ready: the time of the first request starts now
    while True:
        try:
            request = receive(questions)
        except EOFError:
            os._exit(0)  # without what their code registered for the end
        # Shortly before the time is over: write down where their code stands.
        faulthandler.dump_traceback_later(seconds * 0.9, exit=False, file=where)
        if request["do"] == "load":
            loaded = Loaded(request["cells"], request["folder"], request["file"])
            answer({"inventory": loaded.inventory(), "errors": loaded.errors})
        elif loaded is not None:
            for call in request["calls"]:
                answer(loaded.call(call))
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1:])
