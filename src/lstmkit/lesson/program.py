"""A learner's program as text: a file of Python, a notebook, or the names in a running session."""

from __future__ import annotations

import ast
import inspect
import io
import json
import os
import textwrap
import tokenize
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstmkit.shapes import InputError

LARGEST = 20_000_000  # bytes of a file


@dataclass(frozen=True)
class Cell:
    """A piece of source; what it raises does not stop the ones after it."""

    name: str
    source: str


@dataclass(frozen=True)
class Program:
    """Source in cells, the folder it stands in, remarks on how it was read, and its file."""

    name: str
    cells: tuple[Cell, ...]
    folder: str | None = None
    notes: tuple[str, ...] = ()
    file: str | None = None

    @property
    def source(self) -> str:
        """All cells that are Python, one after the other."""
        return "\n".join(cell.source for cell in self.cells)

    def trees(self) -> list[ast.Module]:
        """Parse the cells; those that are no Python are left out."""
        found = []
        for cell in self.cells:
            try:
                with warnings.catch_warnings():  # of a backslash in a docstring
                    warnings.simplefilter("ignore")
                    found.append(ast.parse(cell.source))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
        return found

    def said(self) -> str:
        """Return what they say about their code: docstrings and comments."""
        pieces = []
        for tree in self.trees():
            for node in ast.walk(tree):
                kinds = ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
                if isinstance(node, kinds) and (doc := ast.get_docstring(node)):
                    pieces.append(doc)
        for cell in self.cells:
            try:
                for token in tokenize.generate_tokens(io.StringIO(cell.source).readline):
                    if token.type == tokenize.COMMENT:
                        pieces.append(token.string)
            except (tokenize.TokenError, SyntaxError):
                continue
        return "\n".join(pieces)

    def unwritten(self) -> list[str]:
        """Name the functions, and methods as ``Class.method``, that are stubs still.

        A stub has dots where its lines should stand; before them it only sets variables, after
        them it returns nothing, or a variable that was set to something empty.
        """
        found: dict[str, bool] = {}
        for tree in self.trees():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    found[node.name] = _is_stub(node)
                elif isinstance(node, ast.ClassDef):
                    for inner in node.body:
                        if isinstance(inner, ast.FunctionDef):
                            found[f"{node.name}.{inner.name}"] = _is_stub(inner)
        return [name for name, stub in found.items() if stub]

    def waiting(self, stubs: Sequence[str]) -> dict[str, str]:
        """Name the functions that use one of the stubs, with its name: they cannot work yet."""
        found: dict[str, str] = {}
        for tree in self.trees():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                    needed = [stub for stub in stubs if stub in used]
                    found |= {node.name: needed[0]} if needed else {}
        return found


def _is_stub(function: ast.FunctionDef) -> bool:
    dots = False
    empty: set[str] = set()
    for node in function.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            dots = dots or node.value.value is ...
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            empty = empty | names if _is_empty(node.value) else empty - names
        elif isinstance(node, ast.Return):
            named = isinstance(node.value, ast.Name) and node.value.id in empty
            if not (named or _is_empty(node.value)):
                return False
        else:
            return False
    return dots


def _is_empty(value: ast.expr | None) -> bool:
    if isinstance(value, ast.List | ast.Tuple):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.Call):  # list()
        return isinstance(value.func, ast.Name) and not value.args and not value.keywords
    return value is None or (isinstance(value, ast.Constant) and value.value in (None, ...))


def read(path: str | os.PathLike[str]) -> Program:
    """Read a ``.py`` file or a ``.ipynb`` notebook.

    Raises
    ------
    InputError
        If it is neither, or not to be read as text.
    OSError
        If it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"check: {path} is a folder; expected a .py file or a .ipynb notebook")
    if path.exists() and not path.is_file():
        raise InputError(f"check: {path} is no file; expected a .py file or a .ipynb notebook")
    if path.stat().st_size > LARGEST:
        raise InputError(f"check: {path} is larger than 20 MB; expected a file of Python")
    data = path.read_bytes()
    folder = str(path.resolve().parent)
    if path.suffix == ".ipynb":
        return _notebook(path, data, folder)
    if path.suffix not in (".py", ".pyw", ""):
        raise InputError(f"check: {path} is no .py file; expected one, or a .ipynb notebook")
    if b"\0" in data:
        raise InputError(f"check: {path} is binary; expected a .py file or a .ipynb notebook")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        source = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        raise InputError(f"check: {path} is not text in UTF-8; expected a file of Python") from None
    if not source.strip():
        raise InputError(f"check: {path} is empty; expected a file of Python")
    cell = Cell(path.name, source.replace("\r\n", "\n"))
    return Program(path.name, (cell,), folder, file=str(path.resolve()))


def _notebook(path: Path, data: bytes, folder: str) -> Program:
    wrong = f"check: {path} is no notebook of format 4; expected JSON with cells"
    try:
        found = json.loads(data)
        cells = found["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in code]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(wrong) from None
    if not any(source.strip() for source in sources):
        raise InputError(f"check: {path} has no code cells; expected a notebook with Python")
    kept, notes = [], []
    for number, source in enumerate(sources, 1):
        plain, left_out = without_magic(source)
        kept.append(Cell(f"cell {number}", plain))
        if left_out:
            notes.append(f"cell {number}: {left_out} of IPython left out")
    return Program(path.name, tuple(kept), folder, tuple(notes))


def without_magic(source: str) -> tuple[str, str]:
    """Comment out what only IPython understands, and say what; the line numbers stay."""
    lines = source.split("\n")
    if lines and lines[0].startswith("%%") and not lines[0].startswith(("%%time", "%%capture")):
        return "\n".join("# " + line for line in lines), f"a {lines[0].split()[0]} cell"
    count = 0
    for k, line in enumerate(lines):
        bare = line.strip()
        if bare.startswith(("%", "!", "?")) or (bare.endswith("?") and "#" not in bare):
            lines[k] = line[: len(line) - len(line.lstrip())] + "pass  # " + bare
            count += 1
    return "\n".join(lines), f"{count} line{'s' if count > 1 else ''}" if count else ""


# --------------------------------------------------------------------- from a running session


def from_namespace(namespace: Mapping[str, Any]) -> Program:
    """Collect the source of what a session defines, so that it can run in another process.

    Parameters
    ----------
    namespace : dict
        Such as ``globals()``: functions and classes are taken from it by their source, with the
        modules, functions and plain constants that they use.

    Raises
    ------
    InputError
        If it holds nothing whose source can be found.
    """
    if not isinstance(namespace, Mapping):
        raise InputError(
            f"check: namespace is a {type(namespace).__name__}; expected a dict such as globals()"
        )
    own = {
        name: item
        for name, item in namespace.items()
        if isinstance(name, str)
        and isinstance(item, types.FunctionType | type)
        and (not name.startswith("_") or item.__name__ == name)  # not what IPython keeps in _
        and _at_home(item, namespace)
    }
    pieces: dict[str, str] = {}
    for name, item in own.items():
        if (source := _source(name, item, namespace)) is not None:
            pieces[name] = source
    if not pieces:
        raise InputError(
            "check: namespace holds no function or class whose source can be found; define them in "
            "a cell or a file, or run: lstmkit check my_lstm.py"
        )
    head, tail = [], []
    for name in _used(pieces.values(), namespace):
        item = namespace[name]
        if name in pieces:
            continue
        if isinstance(item, types.ModuleType):
            head.append(f"import {item.__name__} as {name}")
        elif (value := _literal(item)) is not None:
            head.append(f"{name} = {value}")
        elif (value := _literal(item, tuple(pieces))) is not None:  # it holds their functions
            tail.append(f"{name} = {value}")
        elif hasattr(item, "__name__") and getattr(item, "__module__", None):
            head.append(f"from {item.__module__} import {item.__name__} as {name}")
    cells = [Cell("imports", line) for line in head]
    cells += [Cell(name, source) for name, source in pieces.items()]
    cells += [Cell("constants", line) for line in tail]
    file = namespace.get("__file__")  # modules beside it are found as they are in the session
    folder = os.path.dirname(os.path.abspath(file)) if isinstance(file, str) else os.getcwd()
    return Program("notebook", tuple(cells), folder, file=file if isinstance(file, str) else None)


def _literal(item: Any, own: Sequence[str] = (), depth: int = 0) -> str | None:
    """Write a constant as source: numbers, text, arrays, and containers of them.

    Functions count inside containers alone: those of NumPy, and those whose names ``own`` lists.
    """
    kind = type(item)
    if item is None or kind in (bool, int, str, bytes):
        return repr(item)
    if kind in (float, complex):
        return f"{kind.__name__}({str(item)!r})"
    if depth > 6:
        return None
    if kind in (list, tuple, set, frozenset):
        found = [_literal(entry, own, depth + 1) for entry in item]
        written = [text for text in found if text is not None]
        return f"{kind.__name__}([{', '.join(written)}])" if len(written) == len(found) else None
    if kind is dict:
        pairs = [[_literal(each, own, depth + 1) for each in pair] for pair in item.items()]
        whole = [f"{key}: {value}" for key, value in pairs if key is not None and value is not None]
        return f"{{{', '.join(whole)}}}" if len(whole) == len(pairs) else None
    if kind is np.ndarray or isinstance(item, np.generic):
        if item.dtype.kind not in "biufcUS" or item.size > 1_000_000:
            return None
        flat = _literal(np.asarray(item).reshape(-1).tolist())
        array = f'__import__("numpy").array({flat}, {item.dtype.str!r}).reshape({item.shape!r})'
        return array if isinstance(item, np.ndarray) else f"{array}[()]"
    if isinstance(item, np.random.Generator):
        return '__import__("numpy").random.default_rng(0)'
    name = str(getattr(item, "__name__", ""))
    if name and getattr(np, name, None) is item:
        return f'__import__("numpy").{name}'
    return name if depth and name in own else None


def _at_home(item: Any, namespace: Mapping[str, Any]) -> bool:
    home = namespace.get("__name__", "__main__")
    return getattr(item, "__module__", None) in (home, "__main__", None)


def _source(name: str, item: Any, namespace: Mapping[str, Any]) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(item))
    except (OSError, TypeError):
        pass
    history = namespace.get("In")  # IPython's cells, the newest last
    for cell in reversed(history if isinstance(history, list) else []):
        plain, _ = without_magic(str(cell))
        nodes = [node for tree in Program("", (Cell("", plain),)).trees() for node in tree.body]
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                return ast.get_source_segment(plain, node)
    return None


def _used(sources: Any, namespace: Mapping[str, Any]) -> list[str]:
    """List the names of the session that the sources mention, modules first."""
    names: dict[str, None] = {}
    for source in sources:
        for tree in Program("", (Cell("", source),)).trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.Name) and node.id in namespace:
                    names[node.id] = None
    return sorted(names, key=lambda name: not isinstance(namespace[name], types.ModuleType))
