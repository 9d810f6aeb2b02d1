"""PyTorch's checkpoint files, read and written without PyTorch: named tensors in a zip file.

``ROOT/data.pkl`` is a pickle that describes the containers and the tensors, ``ROOT/data/KEY`` the
bytes of a storage, ``ROOT/byteorder`` "little" or "big". Source: PyTorch's documentation,
"Serialization semantics" (docs/source/notes/serialization.rst), and files of torch 2.13.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO

import numpy as np

from lstmkit.formats import pickles, zips
from lstmkit.formats.infile import Place
from lstmkit.formats.pickles import Map, Tensor
from lstmkit.formats.statedicts import MEANT, STORED, Kind, widen
from lstmkit.shapes import Array, InputError

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number before 1.6, pickled
MOST_DEPTH = 64
MOST_VALUES = 200_000  # that a checkpoint names, counting twice what is there twice
MOST_FACTS = 20


def is_old(head: bytes) -> bool:
    """Whether a file that begins so is a pickle or an old archive of PyTorch's (not a zip file)."""
    return head[:1] == b"\x80" or head[257:262] == b"ustar"


def refuse_old(path: Any, head: bytes) -> InputError:
    """Return the error for a file that is no zip file."""
    again = "open it with torch and save it again: torch.save(torch.load(path), path)"
    if head.startswith(LEGACY) or head[257:262] == b"ustar":
        what = f"is of PyTorch's old format (before 1.6), which is no zip file; {again}"
    else:
        what = (
            "is a bare pickle, which is code and not data; expected a file of torch.save: "
            "torch.save(model.state_dict(), path)"
        )
    return InputError(f"load: {os.fspath(path)!r} {what}")


class Checkpoint:
    """The tensors of a checkpoint by their dotted names; their bytes are read one at a time.

    Attributes
    ----------
    kinds : dict of Kind
        Dtype and shape of every tensor.
    facts : list of pairs
        The first plain values near the top: ``("epoch", "3")``.
    others : int
        How many plain values there are in all.
    """

    format = "PyTorch state dict (zip)"

    def __init__(self, path: Any, file: BufferedReader) -> None:
        self.path = path
        self.archive = zips.Archive(path, file)
        self.root = self._find_root()
        self.facts: list[tuple[str, str]] = []
        self.others = 0
        self._tensors: dict[str, Tensor] = {}
        order = self._word("byteorder", "little")
        if order not in ("little", "big"):
            raise zips.damaged(path, f"its byte order is {order!r}")
        self._order = "<" if order == "little" else ">"
        try:
            data = self.archive.read(f"{self.root}data.pkl", pickles.MOST_BYTES)
            self._walk(
                pickles.read(data, 4 * self.archive.size - len(data) + 2**20), 1000 + 8 * len(data)
            )
        except pickles.Refused as error:
            raise InputError(f"load: {os.fspath(path)!r}: {error}") from None
        self.facts.insert(0, ("byte order", order))
        self.facts.insert(0, ("file version", self._word("version", "none")[:16]))
        self.kinds = {name: Kind(t.dtype, t.shape) for name, t in self._tensors.items()}
        self._room = 4 * self.archive.size

    def _find_root(self) -> str:
        names = self.archive.names()
        roots = [name[: -len("data.pkl")] for name in names if name.endswith("/data.pkl")]
        for name in names:
            folder, _, rest = name.partition("/")
            if rest == "constants.pkl" or rest.startswith("code/"):
                raise InputError(
                    f"load: {os.fspath(self.path)!r} is TorchScript, which is code; save the state "
                    "dict instead: torch.save(torch.jit.load(path).state_dict(), path)"
                )
            if rest == "archive_format" or folder == "archive_format":
                raise InputError(
                    f"load: {os.fspath(self.path)!r} is an exported program; save the state dict "
                    "instead: torch.save(model.state_dict(), path)"
                )
        if len(roots) != 1 or roots[0].count("/") != 1 or ".." in roots[0].split("/"):
            raise InputError(
                f"load: {os.fspath(self.path)!r} is a zip file without a data.pkl of PyTorch's; "
                "expected one of torch.save: torch.save(model.state_dict(), path)"
            )
        return roots[0]

    def _word(self, name: str, default: str) -> str:
        if self.root + name not in self.archive:
            return default
        return self.archive.read(self.root + name, 16).decode("latin1").strip()

    def _walk(self, tree: Any, letters: int) -> None:
        """Name all that is in the containers, the shared parts as often as they are there."""
        for count, (path, depth, value) in enumerate(_leaves(tree)):
            letters -= len(path)
            if count > MOST_VALUES or letters < 0 or len(self._tensors) > pickles.MOST_TENSORS:
                raise pickles.Refused(
                    f"it names more than {MOST_VALUES} values or {pickles.MOST_TENSORS} tensors, "
                    f"or takes too many letters for it: {pickles.STATE}"
                )
            if isinstance(value, Tensor):
                if path in self._tensors:
                    raise zips.damaged(self.path, f"tensor {path!r:.60} comes twice")
                self._tensors[path] = value
            elif value is not _CONTAINER:
                self.others += 1
                plain = isinstance(value, bool | int | float | str)
                if plain and depth <= 2 and len(self.facts) < MOST_FACTS:
                    self.facts.append((repr(path)[1:-1][:60], _short(value)))

    def place(self, name: str) -> Place | None:
        """Return where a dense float32 or float64 tensor of this machine's byte order lies.

        None for any other. Its checksum has been compared.
        """
        tensor = self._tensors[name]
        dtype = np.dtype(self._order + STORED[tensor.dtype])
        if tensor.dtype not in ("float32", "float64") or not dtype.isnative:
            return None
        if not tensor.shape or 0 in tensor.shape or tensor.strides != _dense(tensor.shape):
            return None
        start, _ = self._storage_place(tensor)
        self.archive.check(f"{self.root}data/{tensor.storage.key}")
        return Place(start + tensor.offset * dtype.itemsize, dtype, tensor.shape)

    def _storage_place(self, tensor: Tensor) -> tuple[int, str]:
        """Return where a tensor's storage begins, and the name of its entry."""
        entry = f"{self.root}data/{tensor.storage.key}"
        start, room = self.archive.place(entry)
        said = tensor.storage.numbers * pickles.ITEMSIZES[tensor.dtype]
        if room != said:
            raise zips.damaged(
                self.path, f"entry {entry!r:.60} has {room} bytes and its tensors say {said}"
            )
        return start, entry

    def read(self, name: str) -> Array:
        """Return a new array of the tensor's numbers; half precision is widened to float32."""
        tensor = self._tensors[name]
        itemsize = pickles.ITEMSIZES[tensor.dtype]
        stored = np.dtype(self._order + STORED[tensor.dtype])
        count, last = 1, 0
        for size, stride in zip(tensor.shape, tensor.strides, strict=True):
            count *= size
            last += (size - 1) * stride
        if not count:
            return np.zeros(tensor.shape, MEANT[tensor.dtype])
        _, entry = self._storage_place(tensor)
        span = last + 1
        self._room -= span * itemsize
        if self._room < 0:
            raise InputError(
                f"load: {os.fspath(self.path)!r}: its tensors share storages so often that they "
                f"take more than four times the file; {pickles.STATE}"
            )
        flat = np.empty(span, stored)
        self.archive.read_into(entry, tensor.offset * itemsize, flat.data.cast("B"))
        array: Array = flat
        if tensor.strides == _dense(tensor.shape):
            array = flat.reshape(tensor.shape)
        else:
            steps = tuple(stride * itemsize for stride in tensor.strides)
            view = np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)
            array = np.ascontiguousarray(view).reshape(tensor.shape)
        return widen(array, tensor.dtype)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


_CONTAINER = object()


def _leaves(tree: Any) -> Iterator[tuple[str, int, Any]]:
    """Give path, depth and value of everything; a container itself counts as one.

    Raises
    ------
    pickles.Refused
        If the containers lie too deep, one within another or within themselves.
    """
    waiting: list[Iterator[tuple[str, Any]]] = [iter([("", tree)])]
    while waiting:
        path, value = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
            continue
        depth = len(waiting) - 1
        if isinstance(value, Map | list) or type(value) is tuple:
            if depth >= MOST_DEPTH:
                raise pickles.Refused(
                    f"its containers lie more than {MOST_DEPTH} deep: {pickles.STATE}"
                )
            waiting.append(_children(path, value))
            yield path, depth, _CONTAINER
        else:
            yield path, depth, value


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    dot = f"{path}." if path else ""
    pairs = value.pairs if isinstance(value, Map) else enumerate(value)
    for key, child in pairs:
        if isinstance(key, str):
            if len(key) > 1000:
                raise pickles.Refused(f"a name in it has {len(key)} letters: {pickles.STATE}")
            yield dot + key, child
        elif isinstance(key, bool | int | float | None) and -(2**63) <= (key or 0) < 2**63:
            yield f"{dot}{key}", child
        else:
            raise pickles.Refused(
                f"a dict in it has a key that is no text and no number: {pickles.STATE}"
            )


def _short(value: Any) -> str:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a number of more than 64 bits"
    if isinstance(value, str):
        value = value[:80]
    return repr(value)[:80]


# ------------------------------------------------------------------------------- writing

_PROTOCOL = b"\x80\x02"
_STORAGE = {"float32": "FloatStorage", "float64": "DoubleStorage"}


def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write an ordered dict of float32 and float64 arrays as ``torch.save`` would."""
    plain = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in arrays.items()
    }
    parts = [_PROTOCOL, _ORDERED_DICT, b"("]
    for key, (name, array) in enumerate(plain.items()):
        parts += [_text(name), _tensor(str(key), array)]
    pickle = b"".join([*parts, b"u."])
    entries = [("data.pkl", memoryview(pickle)), ("byteorder", memoryview(b"little"))]
    for key, array in enumerate(plain.values()):
        entries.append((f"data/{key}", array.reshape(-1).data.cast("B")))
    entries.append(("version", memoryview(b"3\n")))
    zips.write(file, [(f"archive/{name}", data) for name, data in entries])


_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<L", len(data)) + data


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<l", value)
    data = value.to_bytes(9, "little")
    return b"\x8a\x09" + data


def _tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def _tensor(key: str, array: Array) -> bytes:
    """Write ``_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())``."""
    kind = _STORAGE[array.dtype.name].encode()
    storage = [b"(", _text("storage"), b"ctorch\n", kind, b"\n", _text(key), _text("cpu")]
    storage += [_number(array.size), b"tQ"]
    view = [_number(0), _tuple(array.shape), _tuple(_dense(array.shape)), b"\x89", _ORDERED_DICT]
    call = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", *storage, *view, b"tR"]
    return b"".join(call)
