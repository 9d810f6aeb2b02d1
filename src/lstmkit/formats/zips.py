"""Zip files whose entries are stored as they are, read without trusting a number in them.

PyTorch's checkpoints are such files. The standard library's reader takes more kinds of zip, loads
more of itself and says less about what is wrong. Layout: PKWARE's APPNOTE.TXT, sections 4.3 and
4.5.3 (zip64).
"""

from __future__ import annotations

import os
import struct
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

from lstmkit.shapes import InputError

MAGIC = b"PK\x03\x04"
MOST_ENTRIES = 100_000
MOST_NAMES = 32 * 2**20  # bytes of the table of entries
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_FINDER_64 = struct.Struct("<4sLQL")
_MOST_COMMENT = 65535
_PIECE = 2**16


class Entry(NamedTuple):
    """What the table says of an entry: ``start`` is that of its own header."""

    start: int
    size: int
    packed: int  # its size in the file; another one if it is compressed
    method: int  # 0: stored
    flags: int
    crc: int


def damaged(path: Any, why: str) -> InputError:
    """Return the error for a file that is not whole."""
    return InputError(f"load: {os.fspath(path)!r} is damaged: {why} (take another copy of it)")


class Archive:
    """A zip file's entries by name; bytes are read when they are asked for.

    Parameters
    ----------
    path
        Named in errors.
    file
        The open file, which must be able to seek.

    Raises
    ------
    InputError
        If the table of entries is not whole, or names one twice.
    """

    def __init__(self, path: Any, file: BufferedReader) -> None:
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size
        self._table = b""
        self._rows: dict[str, int] = {}  # where in the table: a hostile one has many
        try:
            self._read_table()
        except struct.error:
            raise damaged(path, "its table of entries is cut off") from None

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def names(self) -> list[str]:
        """Return the names of the entries, in the order of the table."""
        return list(self._rows)

    def _take(self, start: int, count: int) -> bytes:
        self.file.seek(start)
        return self.file.read(count)

    def _read_table(self) -> None:
        tail_start = max(0, self.size - _END.size - _MOST_COMMENT)
        tail = self._take(tail_start, self.size - tail_start)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise damaged(self.path, "it begins as a zip file and has no end of one")
        fields = _END.unpack_from(tail, at)
        count, length, start = fields[4:7]
        if 0xFFFF in fields[1:5] or 0xFFFFFFFF in (length, start):
            count, length, start = self._end_64(tail_start + at)
        if count > MOST_ENTRIES or length > MOST_NAMES:
            raise InputError(
                f"load: {os.fspath(self.path)!r} has {count} entries in {length} bytes; expected "
                f"at most {MOST_ENTRIES} in {MOST_NAMES}"
            )
        if start + length > tail_start + at or count * (_ENTRY.size + _LOCAL.size) > self.size:
            raise damaged(self.path, "its table of entries does not fit into it")
        self._table = self._take(start, length)
        at = 0
        for _ in range(count):
            at = self._read_row(at)

    def _end_64(self, end: int) -> tuple[int, int, int]:
        if end < _FINDER_64.size:
            raise damaged(self.path, "its zip64 record is missing")
        magic, _, where, _ = _FINDER_64.unpack(self._take(end - _FINDER_64.size, _FINDER_64.size))
        if magic != b"PK\x06\x07" or where + _END_64.size > self.size:
            raise damaged(self.path, "its zip64 record is missing")
        fields = _END_64.unpack(self._take(where, _END_64.size))
        if fields[0] != b"PK\x06\x06":
            raise damaged(self.path, "its zip64 record is missing")
        count, length, start = fields[7:10]
        return count, length, start

    def _read_row(self, at: int) -> int:
        fields = _ENTRY.unpack_from(self._table, at)
        name_end = at + _ENTRY.size + fields[10]
        end: int = name_end + fields[11] + fields[12]
        if fields[0] != b"PK\x01\x02" or end > len(self._table):
            raise damaged(self.path, "its table of entries is not whole")
        try:
            name = self._table[at + _ENTRY.size : name_end].decode("utf-8")
        except UnicodeDecodeError:
            raise damaged(self.path, "the name of an entry is not UTF-8") from None
        if name in self._rows:
            raise damaged(self.path, f"entry {name!r:.60} comes twice")
        self._rows[name] = at
        return end

    def entry(self, name: str) -> Entry:
        """Return what the table says of an entry.

        Raises
        ------
        InputError
            If there is no such entry.
        """
        at = self._rows.get(name)
        if at is None:
            raise damaged(self.path, f"entry {name!r:.60} is missing")
        fields = _ENTRY.unpack_from(self._table, at)
        extra = at + _ENTRY.size + fields[10]
        numbers = fields[9], fields[8], fields[16]
        long = _zip64_numbers(self._table[extra : extra + fields[11]], numbers)
        if long is None:
            raise damaged(self.path, f"the sizes of entry {name!r:.60} are cut off")
        size, packed, start = long
        return Entry(start, size, packed, fields[4], fields[3], fields[7])

    def place(self, name: str) -> tuple[int, int]:
        """Return where the bytes of a stored entry begin, and how many they are.

        Raises
        ------
        InputError
            If there is no such entry, it is encrypted or compressed, or it does not lie in the
            file.
        """
        entry = self.entry(name)
        if entry.flags & 0x41:  # encrypted, or strongly so
            raise damaged(self.path, f"entry {name!r:.60} is encrypted")
        if entry.method != 0 or entry.packed != entry.size:
            raise InputError(
                f"load: {os.fspath(self.path)!r}: entry {name!r:.60} is compressed, which PyTorch "
                "does not do; unpack the file and pack it again with `zip -0`"
            )
        header = self._take(entry.start, _LOCAL.size)
        fields = _LOCAL.unpack(header) if len(header) == _LOCAL.size else (b"",)
        if fields[0] != MAGIC:
            raise damaged(self.path, f"entry {name!r:.60} does not begin where the table says")
        start = entry.start + _LOCAL.size + fields[9] + fields[10]
        if self._take(entry.start + _LOCAL.size, fields[9]) != name.encode("utf-8"):
            raise damaged(self.path, f"entry {name!r:.60} has another name in its own place")
        if start + entry.size > self.size:
            raise damaged(self.path, f"entry {name!r:.60} is cut off")
        return start, entry.size

    def read(self, name: str, most: int) -> bytes:
        """Return the bytes of an entry of at most so many; its checksum must be right."""
        start, size = self.place(name)
        if size > most:
            raise InputError(
                f"load: {os.fspath(self.path)!r}: entry {name!r:.60} has {size} bytes; expected at "
                f"most {most}"
            )
        data = self._take(start, size)
        if len(data) != size or self._differs(name, crc32(data)):
            raise damaged(self.path, f"the bytes of entry {name!r:.60} are not those written")
        return data

    def read_into(self, name: str, offset: int, room: memoryview) -> None:
        """Fill ``room`` with the bytes of an entry from ``offset`` on: no copy is made."""
        start, size = self.place(name)
        if offset < 0 or offset + len(room) > size:
            raise damaged(self.path, f"entry {name!r:.60} has {size} bytes, and more are asked for")
        self.file.seek(start + offset)
        if self.file.readinto(room) != len(room):
            raise damaged(self.path, f"entry {name!r:.60} is cut off")
        if len(room) == size and self._differs(name, crc32(room)):
            raise damaged(self.path, f"the bytes of entry {name!r:.60} are not those written")

    def check(self, name: str) -> None:
        """Read a stored entry through, a piece at a time, and compare its checksum."""
        start, size = self.place(name)
        self.file.seek(start)
        crc = 0
        while size > 0:
            piece = self.file.read(min(size, _PIECE))
            if not piece:
                raise damaged(self.path, f"entry {name!r:.60} is cut off")
            crc = crc32(piece, crc)
            size -= len(piece)
        if self._differs(name, crc):
            raise damaged(self.path, f"the bytes of entry {name!r:.60} are not those written")

    def _differs(self, name: str, crc: int) -> bool:
        # torch.serialization.set_crc32_options(False) leaves 0 for every checksum.
        return self.entry(name).crc not in (0, crc)


def _zip64_numbers(extra: bytes, numbers: tuple[int, int, int]) -> list[int] | None:
    """Return size, size in the file and place, from the zip64 field where they do not fit."""
    wanted = sum(n == 0xFFFFFFFF for n in numbers)
    if not wanted:
        return list(numbers)
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and length >= 8 * wanted and at + 4 + length <= len(extra):
            long = iter(struct.unpack_from(f"<{wanted}Q", extra, at + 4))
            return [next(long) if n == 0xFFFFFFFF else n for n in numbers]
        at += 4 + length
    return None


# ------------------------------------------------------------------------------- writing


_DATE = 0x21  # 1 January 1980, the first that a zip file can hold
_FULL = 0xFFFFFFFF
_UTF8 = 0x800


def write(file: BinaryIO, entries: list[tuple[str, memoryview]], alignment: int = 64) -> None:
    """Write entries as they are, each one's bytes at a multiple of ``alignment``; no dates.

    Equal input gives equal bytes. Sizes and counts beyond the old limits get zip64 records.
    """
    table: list[bytes] = []
    at = 0
    for name, data in entries:
        row, head = _headers(name.encode("utf-8"), len(data), crc32(data), at, alignment)
        table.append(row)
        file.write(head)
        file.write(data)
        at += len(head) + len(data)
    count, rows = len(table), b"".join(table)
    file.write(rows)
    end = at + len(rows)
    if end >= _FULL or count >= 0xFFFF:
        file.write(_END_64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(rows), at))
        file.write(_FINDER_64.pack(b"PK\x06\x07", 0, end, 1))
    short = min(count, 0xFFFF)
    file.write(
        _END.pack(b"PK\x05\x06", 0, 0, short, short, min(len(rows), _FULL), min(at, _FULL), 0)
    )


def _headers(name: bytes, size: int, crc: int, at: int, alignment: int) -> tuple[bytes, bytes]:
    """Return an entry's row of the table, and what stands before its bytes."""
    long = [size, size] if size >= _FULL else []
    here = _LOCAL.size + len(name) + len(_zip64(long))
    fill = -(at + here + 4) % alignment
    extra = _zip64(long) + struct.pack("<2H", 0x4246, fill) + bytes(fill)  # "FB" is PyTorch's
    sizes = crc, min(size, _FULL), min(size, _FULL), len(name)
    version = 45 if long or at >= _FULL else 20
    head = _LOCAL.pack(MAGIC, version, _UTF8, 0, 0, _DATE, *sizes, len(extra))
    more = _zip64([*long, at] if at >= _FULL else long)
    place = 0, 0, 0, 0, min(at, _FULL)
    kind = b"PK\x01\x02", version, version, _UTF8, 0, 0, _DATE
    row = _ENTRY.pack(*kind, *sizes, len(more), *place)
    return row + name + more, head + name + extra


def _zip64(numbers: list[int]) -> bytes:
    if not numbers:
        return b""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)
