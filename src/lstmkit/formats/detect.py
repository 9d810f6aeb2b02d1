"""Which format a file is of, told by its bytes: a name may say anything."""

from __future__ import annotations

import os
import re
import stat
from enum import Enum
from io import BufferedReader

from lstmkit.shapes import InputError

PathLike = str | os.PathLike[str]


class Format(Enum):
    """Whose reader a file is for; the value is said in errors."""

    LSTMKIT = "an lstmkit file (safetensors)"
    SAFETENSORS = "a safetensors file of another library"
    PYTORCH = "a PyTorch file (.pt, .pth)"
    KERAS = "a Keras file (.keras, .weights.h5, .h5)"
    ONNX = "an ONNX model (.onnx)"


KNOWN = ", ".join(format.value for format in Format)
HEADER_LIMIT = 16 * 2**20  # of safetensors, as in lstmkit.store
HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_PLACES = (0, 512, 1024, 2048)  # it may stand after a block of the user's
ZIP, EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
TORCH_TAR = (b"sys_info", b"pickle", b"storages", b"tensors", b"./")  # before PyTorch 0.1.10
# Numbers and wire types of ModelProto's fields, from onnx.proto3.
MODEL_PROTO = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
IR_VERSION, GRAPH = 1, 7
MOST_FIELDS = 10_000  # that are looked at
OTHERS = (  # what is opened by mistake, by its first bytes
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself (git lfs pull)"),
    (b"\x1f\x8b", "compressed by gzip (gunzip it first)"),
    (b"BZh", "compressed by bzip2 (bunzip2 it first)"),
    (b"\xfd7zXZ\0", "compressed by xz (unxz it first)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd (unzstd it first)"),
    (b"7z\xbc\xaf", "a 7z archive (unpack it first)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF model"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x7fELF", "a program"),
)


def recognize(path: PathLike) -> Format:
    """Return a file's format, by its contents; nothing in it is believed beyond that.

    Raises
    ------
    InputError
        If it is none of those in `Format`: the message says what it looks like.
    FileNotFoundError, IsADirectoryError, PermissionError
        As `open` raises them.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
        raise _unknown(path, "no regular file")
    with open(path, "rb") as file:
        head = file.read(512)
        size = os.fstat(file.fileno()).st_size
        for place in HDF5_PLACES:
            file.seek(place)
            if file.read(len(HDF5)) == HDF5:
                return Format.KERAS
        if head.startswith((ZIP, EMPTY_ZIP)):
            return _zip(path, file)
        # Before the pickles: the length of a header may begin with their byte.
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= max(HEADER_LIMIT, size):
            return _safetensors(path, file, size)
        if head[:1] == b"\x80" or (head[257:262] == b"ustar" and head.startswith(TORCH_TAR)):
            return Format.PYTORCH  # pickles: its reader refuses them by name
        if _is_onnx(file, size) or (os.fspath(path).lower().endswith(".onnx") and size):
            return Format.ONNX
    raise _unknown(path, _looks_like(head))


def _zip(path: PathLike, file: BufferedReader) -> Format:
    from lstmkit.formats.zips import Archive

    names = Archive(path, file).names()
    if "config.json" in names or "model.weights.h5" in names:
        return Format.KERAS
    endings = ("/data.pkl", "/constants.pkl", "/archive_format")
    if any(name.endswith(endings) or "/code/" in name for name in names):
        return Format.PYTORCH
    if names and all(name.endswith(".npy") for name in names):
        raise _unknown(path, "a file of NumPy arrays (.npz)")
    first = f", the first of them {names[0]!r:.60}" if names else ""
    raise _unknown(path, f"a zip file of {len(names)} files{first}")


def _safetensors(path: PathLike, file: BufferedReader, size: int) -> Format:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise InputError(
            f"load: {os.fspath(path)!r} is damaged: it is a safetensors file that is cut off; "
            "take another copy of it"
        )
    # An array's name is followed by an object, our entry's by text: what matches is ours.
    header = file.read(min(length, HEADER_LIMIT))
    ours = re.search(rb'"lstmkit"\s*:\s*"', header)
    return Format.LSTMKIT if ours else Format.SAFETENSORS


def _is_onnx(file: BufferedReader, size: int) -> bool:
    """Whether the bytes are the fields of a ModelProto, one after the other.

    A file that is cut off counts if it begins as exporters begin: its reader says what is wrong.
    """
    seen: list[int] = []
    at = 0
    while at < size and len(seen) < MOST_FIELDS:
        file.seek(at)
        piece = file.read(20)
        tag, at_value = _varint(piece, 0)
        number, wire = tag >> 3, tag & 7
        if at_value < 0 or MODEL_PROTO.get(number) != wire:
            return False
        value, after = _varint(piece, at_value)
        if after < 0:
            return False
        seen.append(number)
        at += after + (value if wire == 2 else 0)
    return GRAPH in seen and (at == size or seen[0] == IR_VERSION)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of seven-bit groups that begins at a place, and where it ends; -1: none."""
    value = 0
    for k in range(at, min(len(data), at + 10)):
        value |= (data[k] & 127) << (7 * (k - at))
        if data[k] < 128:
            return value, k + 1
    return 0, -1


def _looks_like(head: bytes) -> str:
    if not head:
        return "empty"
    for magic, what in OTHERS:
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive (unpack it first)"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, and not the file itself (download it again)"
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text):
        return f"text that begins with {text[:24]!r}"
    return f"of an unknown format; it begins with the bytes {head[:8].hex(' ')}"


def _unknown(path: PathLike, what: str) -> InputError:
    return InputError(f"load: {os.fspath(path)!r} is {what}; expected {KNOWN}")
