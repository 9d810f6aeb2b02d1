"""HDF5 as Keras writes it, read by ourselves.

libhdf5 is not made for files that somebody else has changed: of 7,400 files with a few bytes
altered, one ended its process and 14 kept it busy for more than a second. So this is a reader of
the small part of the format that h5py uses for Keras: groups, contiguous arrays of numbers, and
attributes of text. Whatever else the format knows (links, filters, chunks, virtual and external
arrays) is refused by name. No number in a file is trusted: every place is checked against the
file's size, an object may be reached once, and the work is bounded by the file's size.

Source: "HDF5 File Format Specification Version 3.0",
https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html; the numbers in the comments are
its sections.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 2**64 - 1
MOST_AXES = 32
DEEPEST = 64  # groups in groups
MOST_STEPS = 200_000
TEXT = np.dtype(object)
"""Stands for text of any length, which lies in a heap of its own."""


class Damaged(Exception):
    """The file is not whole, or not what Keras writes; the reader of the file adds its name."""


class Dataset(NamedTuple):
    """A named array: what it holds, and where."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: memoryview
    attributes: dict[str, Any]

    def array(self) -> Array:
        """Return the numbers as a read-only view of the file's bytes."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


class Group(NamedTuple):
    """Named groups and arrays, and attributes: numbers, text or lists of text."""

    members: dict[str, Group | Dataset]
    attributes: dict[str, Any]


def read(data: bytes) -> Group:
    """Read the tree of a file; arrays are views of ``data``.

    Raises
    ------
    Damaged
        With the reason, half a sentence.
    """
    return _Reader(data).root()


def flat(group: Group, prefix: str = "") -> dict[str, Dataset]:
    """Return all arrays below a group by their paths, ``"layers/dense/vars/0"``."""
    found: dict[str, Dataset] = {}
    for name, member in group.members.items():
        if isinstance(member, Group):
            found |= flat(member, f"{prefix}{name}/")
        else:
            found[prefix + name] = member
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.seen: set[int] = set()
        self.heaps: dict[int, dict[int, tuple[int, int]]] = {}
        # An array of a real file takes ten steps and 300 bytes; 10,000 arrays are enough.
        self.work = min(len(data) // 32 + 1000, MOST_STEPS)
        self.text = self.room = len(data)  # and no byte of it is used twice

    # ------------------------------------------------------------------ bytes

    def at(self, place: int, size: int) -> memoryview:
        if place < 0 or size < 0 or place + size > len(self.data):
            raise Damaged("it points past its end")
        return self.data[place : place + size]

    def number(self, place: int, size: int = 8) -> int:
        return int.from_bytes(self.at(place, size), "little")

    def expect(self, place: int, mark: bytes) -> None:
        if bytes(self.at(place, len(mark))) != mark:
            raise Damaged(f"there is no {mark.decode()} at byte {place}")

    def spend(self, steps: int = 1) -> None:
        self.work -= steps
        if self.work < 0:
            raise Damaged("its parts point at each other again and again")

    # ------------------------------------------------------------------ II: the superblock

    def root(self) -> Group:
        if bytes(self.data[:8]) != SIGNATURE:
            raise Damaged("it does not begin as an HDF5 file")
        version = self.number(8, 1)
        if version in (0, 1):
            sizes, start = bytes(self.at(13, 2)), 24 + 4 * version
            address = self.number(start + 40)  # of the root group, past its name in the entry
        elif version in (2, 3):
            sizes, start = bytes(self.at(9, 2)), 12
            address = self.number(start + 24)
        else:
            raise Damaged(f"its superblock has the version {version}; expected 0 to 3")
        if sizes != b"\x08\x08" or self.number(start) != 0:
            raise Damaged("its addresses are not those of a plain file")
        if self.number(start + 16) > len(self.data):
            raise Damaged("it is cut off")
        root = self.object(address, "/", 0)
        if not isinstance(root, Group):
            raise Damaged("it has no groups")
        return root

    # ------------------------------------------------------------------ IV.A: object headers

    def messages(self, address: int) -> list[tuple[int, int, int, int]]:
        """Give (type, flags, place, size) of every message in an object's header."""
        if bytes(self.at(address, 4)) == b"OHDR":
            return self.messages_2(address)
        if self.number(address, 1) != 1:
            raise Damaged(f"there is no object at byte {address}")
        blocks = [(address + 16, self.number(address + 8, 4))]
        found = []
        while blocks:
            place, size = blocks.pop(0)
            self.at(place, size)
            end = place + size
            while place + 8 <= end:
                self.spend()
                kind, length = self.number(place, 2), self.number(place + 2, 2)
                flags, place = self.number(place + 4, 1), place + 8
                if place + length > end:
                    raise Damaged(f"a message of the object at byte {address} is too long")
                if kind == 0x10:
                    blocks.append((self.number(place), self.number(place + 8)))
                found.append((kind, flags, place, length))
                place += length
        return found

    def messages_2(self, address: int) -> list[tuple[int, int, int, int]]:
        if self.number(address + 4, 1) != 2:
            raise Damaged(f"the object at byte {address} has a version that is not known")
        options = self.number(address + 5, 1)
        place = address + 6 + (16 if options & 0x20 else 0) + (4 if options & 0x10 else 0)
        width = 1 << (options & 3)
        blocks = [(place + width, self.number(place, width))]
        head = 6 if options & 4 else 4
        found = []
        while blocks:
            place, size = blocks.pop(0)
            self.at(place, size)
            end = place + size
            while place + head <= end:
                self.spend()
                kind, length = self.number(place, 1), self.number(place + 1, 2)
                flags, place = self.number(place + 3, 1), place + head
                if place + length > end:
                    raise Damaged(f"a message of the object at byte {address} is too long")
                if kind == 0x10:
                    begin, room = self.number(place), self.number(place + 8)
                    self.expect(begin, b"OCHK")
                    blocks.append((begin + 4, room - 8))
                found.append((kind, flags, place, length))
                place += length
        return found

    def object(self, address: int, name: str, depth: int) -> Group | Dataset:
        if address in self.seen:
            raise Damaged(f"{name!r:.80} is a second name of something in it")
        self.seen.add(address)
        if depth > DEEPEST:
            raise Damaged(f"its groups are more than {DEEPEST} deep")
        messages = self.messages(address)
        kinds = {kind: place for kind, _, place, _ in messages}
        for kind, flags, _, _ in messages:
            if flags & 2 and kind in (0x1, 0x3, 0x6, 0x8, 0x11):
                raise Damaged(f"{name!r:.80} shares its description with another object")
        attributes: dict[str, Any] = {}
        for kind, flags, place, size in messages:
            if kind == 0xC and not flags & 2:
                self.attribute(place, size, attributes)
        if 0x15 in kinds and self.dense(kinds[0x15], 2):
            raise Damaged(f"the attributes of {name!r:.80} lie in a heap")
        if 0x8 in kinds:
            return self.dataset(name, messages, attributes)
        links: dict[str, int] = {}
        if 0x11 in kinds:
            self.symbols(kinds[0x11], links)
        if 0x2 in kinds and self.dense(kinds[0x2], 8):
            raise Damaged(f"the members of {name!r:.80} lie in a heap")
        for kind, _, place, size in messages:
            if kind == 0x6:
                self.link(place, size, links)
        members = {
            key: self.object(target, f"{name.rstrip('/')}/{key}", depth + 1)
            for key, target in links.items()
        }
        return Group(members, attributes)

    def dense(self, place: int, counter: int) -> bool:
        """Whether a link or attribute info message (IV.A.2.c, v) points at a heap."""
        place += 2 + (counter if self.number(place + 1, 1) & 1 else 0)
        return self.number(place) != UNDEFINED

    # ------------------------------------------------------------------ III: groups

    def symbols(self, place: int, links: dict[str, int]) -> None:
        """Read the members of a group of the old kind: a B-tree of tables, names in a heap."""
        heap = self.number(place + 8)
        self.expect(heap, b"HEAP")
        names = self.at(self.number(heap + 24), self.number(heap + 8))
        nodes = [(self.number(place), 99)]
        while nodes:
            node, below = nodes.pop(0)
            self.spend()
            if bytes(self.at(node, 4)) == b"SNOD":
                for k in range(self.number(node + 6, 2)):
                    self.spend()
                    entry = node + 8 + 40 * k
                    name = self.name(names, self.number(entry))
                    if self.number(entry + 16, 4) == 2:
                        raise Damaged(f"{name!r:.80} is a soft link")
                    self.add(links, name, self.number(entry + 8))
                continue
            self.expect(node, b"TREE")
            kind, level = self.number(node + 4, 1), self.number(node + 5, 1)
            if kind != 0 or level >= below:
                raise Damaged(f"the tree at byte {node} is not that of a group")
            for k in range(self.number(node + 6, 2)):
                nodes.append((self.number(node + 32 + 16 * k), level))
                self.spend()

    def name(self, names: memoryview, place: int) -> str:
        end = bytes(names[place : place + 1024]).find(b"\0")
        if end < 0:
            raise Damaged("a name in it does not end")
        return _text(bytes(names[place : place + end]))

    def link(self, place: int, size: int, links: dict[str, int]) -> None:
        """Read one member of a group of the new kind (IV.A.2.g)."""
        end = place + size
        options = self.number(place + 1, 1)
        place += 2
        kind = self.number(place, 1) if options & 8 else 0
        place += (1 if options & 8 else 0) + (8 if options & 4 else 0) + (options >> 4 & 1)
        width = 1 << (options & 3)
        length = self.number(place, width)
        place += width
        if place + length > end:
            raise Damaged("a name in it does not end")
        name = _text(bytes(self.at(place, length)))
        if kind:
            what = {1: "a soft link", 64: "a link to another file"}.get(kind, "a link of its own")
            raise Damaged(f"{name!r:.80} is {what}")
        self.add(links, name, self.number(place + length))

    def add(self, links: dict[str, int], name: str, address: int) -> None:
        if name in links or name in ("", ".", "..") or "/" in name:
            raise Damaged(f"a member has the name {name!r:.80}, twice or against the rules")
        links[name] = address

    # ------------------------------------------------------------------ datasets

    def dataset(
        self, name: str, messages: list[tuple[int, int, int, int]], attributes: dict[str, Any]
    ) -> Dataset:
        kinds = {kind: (place, size) for kind, _, place, size in messages}
        if 0x7 in kinds:
            raise Damaged(f"the numbers of {name!r:.80} lie in another file")
        if 0x1 not in kinds or 0x3 not in kinds:
            raise Damaged(f"{name!r:.80} has no shape or no type")
        shape = self.shape(*kinds[0x1])
        dtype = self.dtype(*kinds[0x3])
        if dtype is None or dtype == TEXT:
            raise Damaged(f"{name!r:.80} is no array of numbers")
        place = kinds[0x8][0]
        version, layout = self.number(place, 1), self.number(place + 1, 1)
        if version not in (3, 4) or layout not in (0, 1):
            what = {2: "in chunks", 3: "in other files (a virtual array)"}.get(layout, "otherwise")
            raise Damaged(
                f"{name!r:.80} is stored {what}; expected one piece, as Keras writes it "
                "(h5repack -l CONTI makes it so)"
            )
        size = math.prod(shape) * dtype.itemsize
        if layout == 0:
            length, begin = self.number(place + 2, 2), place + 4
        else:
            begin, length = self.number(place + 2), self.number(place + 10)
        if begin == UNDEFINED and size == 0:
            begin, length = 0, 0
        self.room -= size
        if length != size or begin == UNDEFINED or self.room < 0:
            raise Damaged(f"{name!r:.80} has another size than its shape needs")
        return Dataset(dtype, shape, self.at(begin, size), attributes)

    def shape(self, place: int, size: int) -> tuple[int, ...]:
        """Read a dataspace message (IV.A.2.b)."""
        version, rank = self.number(place, 1), self.number(place + 1, 1)
        head = {1: 8, 2: 4}.get(version)
        if head is None or rank > MOST_AXES or head + 8 * rank > size:
            raise Damaged("a shape in it is not one")
        if version == 2 and self.number(place + 3, 1) == 2:
            return (0,)
        return tuple(self.number(place + head + 8 * k) for k in range(rank))

    def dtype(self, place: int, size: int) -> np.dtype[Any] | None:
        """Read a datatype message (IV.A.2.d); None for a type that is of no use here."""
        if size < 8:
            raise Damaged("a type in it is not one")
        kind, bits = self.number(place, 1) & 15, self.number(place + 1, 3)
        width = self.number(place + 4, 4)
        order = ">" if bits & 1 else "<"
        if kind == 0 and width in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{width}")
        if kind == 1 and size >= 20:
            exponent = {2: 5, 4: 8, 8: 11}.get(width)
            whole = self.number(place + 8, 2) == 0 and self.number(place + 10, 2) == 8 * width
            if whole and self.number(place + 13, 1) == exponent:
                return np.dtype(f"{order}f{width}")
        if kind == 3 and 0 < width <= len(self.data):
            return np.dtype(f"S{width}")
        if kind == 5 and 0 < width <= 8:
            return np.dtype(f"V{width}")
        if kind == 9 and width == 16 and bits & 15 == 1:
            return TEXT
        return None

    # ------------------------------------------------------------------ attributes

    def attribute(self, place: int, size: int, found: dict[str, Any]) -> None:
        """Read one attribute (IV.A.2.m) into ``found``; one of another type is passed over."""
        end = place + size
        version = self.number(place, 1)
        if version not in (1, 2, 3):
            raise Damaged("an attribute in it is not one")
        sizes = [self.number(place + 2 + 2 * k, 2) for k in range(3)]
        if version > 1 and self.number(place + 1, 1) & 3:
            return  # its type or shape stands in another object
        begin = place + 8 + (1 if version == 3 else 0)
        places = []
        for length in sizes:
            places.append(begin)
            begin += (length + 7) // 8 * 8 if version == 1 else length
        if begin > end:
            raise Damaged("an attribute in it is not one")
        name = _text(bytes(self.at(places[0], sizes[0])).split(b"\0")[0])
        dtype = self.dtype(places[1], sizes[1])
        shape = self.shape(places[2], sizes[2])
        if dtype is None or dtype.kind == "V":
            return
        count, width = math.prod(shape), 16 if dtype == TEXT else dtype.itemsize
        if begin + count * width > end:
            raise Damaged(f"the attribute {name!r:.80} is cut off")
        self.spend(count)
        if dtype == TEXT:
            values: list[Any] = [self.heap_text(begin + 16 * k) for k in range(count)]
        elif dtype.kind == "S":
            rows = [bytes(self.at(begin + width * k, width)) for k in range(count)]
            values = [_text(row.split(b"\0")[0]) for row in rows]
        else:
            values = np.frombuffer(self.at(begin, count * width), dtype).tolist()
        found[name] = values if shape else values[0]

    def heap_text(self, place: int) -> str:
        """Read text of any length from the global heap (III.E)."""
        self.spend()
        length, heap = self.number(place, 4), self.number(place + 4)
        if length == 0:
            return ""
        if heap not in self.heaps:
            self.expect(heap, b"GCOL")
            end = heap + self.number(heap + 8)
            self.at(heap, end - heap)
            objects: dict[int, tuple[int, int]] = {}
            begin = heap + 16
            while begin + 16 <= end:
                self.spend()
                index, size = self.number(begin, 2), self.number(begin + 8)
                if index == 0:
                    break
                objects[index] = (begin + 16, size)
                begin += 16 + (size + 7) // 8 * 8
            self.heaps[heap] = objects
        begin, size = self.heaps[heap].get(self.number(place + 12, 4), (0, -1))
        self.text -= length
        if length > size or self.text < 0:
            raise Damaged("a text in it is not where it should be")
        return _text(bytes(self.at(begin, length)))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("a text in it is not UTF-8") from None
