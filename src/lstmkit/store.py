"""One file for a configuration and named arrays: written whole or not at all, checked when read.

The file is safetensors (https://github.com/huggingface/safetensors): eight bytes that give the
length of a JSON header, the header, then the bytes of the arrays, one after the other. Ours has one
metadata entry, ``"lstmkit"``: a JSON object with the ``format`` of this entry (1), the ``kind`` of
thing stored and its ``config``. Nothing in a file is ever run.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lstmkit.shapes import Array, InputError, shown

FORMAT = 1
HEADER_LIMIT = 16 * 2**20  # bytes; the header of a model with 1000 arrays has about 0.1 MB
SPARE = 2**20  # bytes that the header's objects may take, and four times the file besides
MOST_AXES = 32  # what every NumPy can hold
LEFTOVER_AGE = 3600.0  # seconds after which the temporary file of a killed process is removed
PathLike = str | os.PathLike[str]

SIZES = {"U": (1, 2, 4, 8), "I": (1, 2, 4, 8), "F": (2, 4, 8)}  # bytes
DTYPES = {"BOOL": np.dtype(np.bool_)} | {
    f"{kind}{8 * size}": np.dtype(f"{kind.lower()}{size}")
    for kind, sizes in SIZES.items()
    for size in sizes
}


class Stored(NamedTuple):
    """What a file holds: `load` gives arrays by name, `inspect` only ``(dtype, shape)`` by name."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Any]


# ------------------------------------------------------------------------------- writing a file


@contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """Give a binary file whose contents appear at ``path`` all at once when the block ends.

    The bytes go to a temporary file in the same folder, are forced to the disk (fsync) and take
    the place of ``path`` by a rename, which is forced to the disk too. So whatever happens, power
    loss included, ``path`` is the old file or the new one, whole. If the block raises, the
    temporary file is removed and ``path`` stays as it was. A process that is killed leaves its
    temporary file (``.NAME.….partial``) behind; a later write to the same path removes it.

    A symbolic link stays one: the file it points to is replaced. The new file has the old one's
    permissions, and a file that may not be written is not replaced.

    Raises
    ------
    OSError
        Whatever the operating system says, with ``path`` as its file name: a missing or unwritable
        folder, a full disk, a directory or a device in the place of the file.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.partial")
    try:
        exists = _check_replaceable(target)
        _remove_leftovers(folder, name)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exists:
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
        _sync_folder(folder)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, target, temporary):
            error.filename, error.filename2 = os.fspath(path), None  # the name the caller knows
        raise


def check_writable(path: PathLike) -> None:
    """Raise the `OSError` that `atomic_write` would raise at the start; change nothing.

    It makes and removes the temporary file, so it also finds what permissions do not tell: a
    read-only or a full disk.
    """

    class Enough(Exception):
        pass

    with suppress(Enough), atomic_write(path) as file:
        file.write(b"\0")
        file.flush()
        raise Enough


def _check_replaceable(target: str) -> bool:
    """Whether there is a file already; raise if something stands there that is not to be lost."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", target)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    return True


def _remove_leftovers(folder: str, name: str) -> None:
    """Remove what killed writers of the same file left; a file in the making is never that old."""
    import glob

    for leftover in glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.*.partial")):
        with suppress(OSError):
            if time.time() - os.path.getmtime(leftover) > LEFTOVER_AGE:
                os.unlink(leftover)


def _sync_folder(folder: str) -> None:
    """Force a rename to the disk, where folders can be opened and synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows, or a folder that may be written and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems sync no folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def save(path: PathLike, kind: str, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a configuration and named arrays as one safetensors file, atomically.

    Equal input gives equal bytes, in whatever order the names come.

    Parameters
    ----------
    path
        Where; see `atomic_write`. The folder must exist.
    kind
        What the file holds, a word that the reader checks (``"LSTM"``).
    config
        JSON values only: dicts with text keys, lists, text, whole and finite real numbers,
        booleans, None. Tuples come back as lists.
    arrays
        Arrays of booleans, integers or floats (16 to 64 bits), any shape, any memory order.
        Values need not be finite.

    Raises
    ------
    InputError
        If the configuration is not JSON, there are no arrays, or one has another dtype; nothing is
        written.
    OSError
        If the file cannot be written; see `atomic_write`.
    """
    entry = {"format": FORMAT, "kind": kind, "config": dict(config)}
    try:
        text = json.dumps(entry, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"save: config cannot be written as JSON: {error}; expected text keys and finite values"
        ) from None
    if not arrays:  # safetensors 0.4.3 writes a broken file then
        raise InputError("save: arrays is empty; expected at least one array")
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    import safetensors.numpy

    data = safetensors.numpy.save(plain, metadata={"lstmkit": text})
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_LIMIT:
        raise InputError(
            f"save: config and array names take {length} bytes; expected at most {HEADER_LIMIT}"
        )
    if heavy(data[8 : 8 + length], len(data)):
        raise InputError(
            "save: config and array names have more parts than a file of this size may have; "
            "expected fewer dicts, lists and entries in config"
        )
    with atomic_write(path) as file:
        file.write(data)


def _plain(name: str, array: Array) -> Array:
    """Return the array in C order and native byte order, the form that goes into the file."""
    if not isinstance(name, str) or name == "__metadata__":
        raise InputError(f"save: an array has the name {name!r}; expected other text")
    array = np.asarray(array, order="C")
    native = array.dtype.newbyteorder("=")
    if native not in DTYPES.values():
        raise InputError(
            f"save: array {name!r} has dtype {array.dtype}; expected booleans, integers or floats"
        )
    return array.astype(native, copy=False)


# ------------------------------------------------------------------------------- reading a file


def load(path: PathLike) -> Stored:
    """Read a file that `save` wrote: its kind, its configuration and its arrays.

    The arrays are new and writable. Memory: the file's size for the arrays, and as much again while
    reading.

    Raises
    ------
    InputError
        If the file is damaged, truncated, not safetensors, not lstmkit's, or of a newer format.
        The message is one line that names the file and what is wrong with it.
    FileNotFoundError, IsADirectoryError, PermissionError
        As `open` raises them.
    """
    import safetensors.numpy

    with open(os.fspath(path), "rb") as file:
        stored = _read_header(path, file)
        file.seek(0)
        try:
            arrays = safetensors.numpy.load(file.read())
        except safetensors.SafetensorError as error:
            raise _damaged(path, shown(error)) from None
    for name, array in arrays.items():
        if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise _damaged(path, f"array {name!r:.60} is boolean and has bytes other than 0 and 1")
    return Stored(stored.kind, stored.config, {name: arrays[name] for name in stored.arrays})


def inspect(path: PathLike) -> Stored:
    """Read only the header: like `load`, with ``(dtype, shape)`` in the place of each array."""
    with open(os.fspath(path), "rb") as file:
        return _read_header(path, file)


def read_header(path: PathLike, file: BinaryIO) -> tuple[dict[str, Any], Any, int]:
    """Read a safetensors header: its arrays, still unchecked, the metadata, and where data begin.

    Raises
    ------
    InputError
        If it is cut off, too long, or no JSON object.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length < 2 or length > size - 8:
        raise _foreign(path, "it is not a whole safetensors file")
    if length > HEADER_LIMIT:
        raise _foreign(path, f"its header takes {length} bytes, more than {HEADER_LIMIT}")
    data = file.read(length)
    if heavy(data, size):
        raise _damaged(path, f"its header has more parts than {length} bytes of one need")
    header = _json(path, "header", data)
    return header, header.pop("__metadata__", None), 8 + length


def _read_header(path: PathLike, file: BinaryIO) -> Stored:
    """Check and read everything but the arrays' bytes, without trusting any number in the file."""
    header, metadata, start = read_header(path, file)
    text = metadata.get("lstmkit") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise _foreign(path, "it is safetensors without an lstmkit entry")
    if heavy(text.encode("utf-8", "replace"), os.fstat(file.fileno()).st_size):
        raise _damaged(path, "its lstmkit entry has more parts than one needs")
    entry = _json(path, "lstmkit entry", text)
    version = entry.get("format")
    if type(version) is int and version > FORMAT:
        raise InputError(
            f"load: {os.fspath(path)!r} has format {shown(version, 40)}; this lstmkit reads format "
            f"{FORMAT} (upgrade lstmkit)"
        )
    if type(version) is not int or version != FORMAT or set(entry) != {"format", "kind", "config"}:
        raise _damaged(path, "its lstmkit entry is not that of format 1")
    if not isinstance(entry["kind"], str) or not isinstance(entry["config"], dict):
        raise _damaged(path, "its lstmkit entry has no kind and config")
    room = os.fstat(file.fileno()).st_size - start
    sizes = {code: dtype.itemsize for code, dtype in DTYPES.items()}
    arrays = {
        name: (DTYPES[code], shape)
        for name, (code, shape, _) in layout(path, header, room, sizes).items()
    }
    return Stored(entry["kind"], entry["config"], arrays)


def layout(
    path: PathLike, header: Mapping[str, Any], room: int, sizes: Mapping[str, int]
) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Check that the arrays fill the file exactly, each with the bytes that its shape needs.

    ``sizes`` gives the dtypes that may come and the bytes of a number. Returns the dtype, the shape
    and the first byte, counted from where the data begin, of each array.
    """
    arrays: dict[str, tuple[str, tuple[int, ...], int]] = {}
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _damaged(
                path, f"array {name!r:.60} is not described by dtype, shape, data_offsets"
            )
        code, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in sizes:
            known = ", ".join(sizes)
            raise InputError(
                f"load: {os.fspath(path)!r}: array {name!r:.60} has dtype {code!r:.60}; "
                f"expected {known}"
            )
        if not (_whole_numbers(shape, MOST_AXES) and _whole_numbers(place, 2) and len(place) == 2):
            raise _damaged(path, f"array {name!r:.60} has no proper shape and place")
        if place[1] - place[0] != math.prod(shape) * sizes[code]:
            raise _damaged(path, f"array {name!r:.60} has another size than its shape needs")
        arrays[name] = (code, tuple(shape), place[0])
        places.append((place[0], place[1]))
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise _damaged(path, "its arrays overlap or leave holes")
        end = stop
    if end != room:
        raise _damaged(path, f"its arrays take {end} bytes and the file has {room}")
    return arrays


def _whole_numbers(value: Any, most: int) -> bool:
    """Whether a JSON value is a list of at most so many whole numbers, none negative."""
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(one) is int and one >= 0 for one in value)


def heavy(text: bytes, size: int) -> bool:
    """Whether JSON would become more objects than a file of that size may ask memory for.

    A short text can become 20 times its size; beside a model's weights that is nothing.
    """
    objects = 256 * text.count(b"{") + 64 * text.count(b"[") + 48 * text.count(b",")
    return objects > 4 * size + SPARE


def _json(path: PathLike, part: str, data: str | bytes) -> dict[str, Any]:
    try:
        return json_object(data)
    except ValueError as error:
        raise _damaged(path, f"its {part} is {error}") from None


def json_object(data: str | bytes) -> dict[str, Any]:
    """Read a JSON object; a name that comes twice, NaN and infinities are refused at any depth.

    Its size is the caller's to see to: `heavy`.

    Raises
    ------
    ValueError
        If it is something else; the message says what.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("a name comes twice")
        return result

    def no_constant(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    try:
        value = json.loads(
            data if isinstance(data, str) else data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not proper JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _damaged(path: PathLike, why: str) -> InputError:
    return InputError(f"load: {os.fspath(path)!r} is damaged: {why} (take another copy of it)")


def _foreign(path: PathLike, why: str) -> InputError:
    return InputError(
        f"load: {os.fspath(path)!r} is not a file of lstmkit's: {why}; expected one that save wrote"
    )
