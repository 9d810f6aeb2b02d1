"""Mutations of zip files: of their members, and of the records around them."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Sequence
from random import Random

import blobs

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]
NAMES = ("", "a", "../../etc/passwd", "/etc/passwd", "é\n", "a" * 300, "data.pkl", "config.json")


def mutation(of_member: Callable[[str], Mutation]) -> Mutation:
    """Make a mutation of zips, from that of a member by its name."""

    def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
        members = _members(data)
        if not members or random.random() < 0.15:
            return blobs.mutate(random, data, others)
        kind = zipfile.ZIP_STORED
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if not members:
                break
            at, way = random.randrange(len(members)), random.random()
            name, inside = members[at]
            if way < 0.7:
                members[at] = (name, of_member(name)(random, inside, [m[1] for m in members]))
            elif way < 0.75:
                del members[at]
            elif way < 0.8:
                members.append((name, random.choice(members)[1]))
            elif way < 0.85:
                other = random.choice(members)[0]
                members[at] = (random.choice((*NAMES, other, name + "x", name.upper())), inside)
            elif way < 0.9:
                members[at] = (name, random.choice(members)[1])
            elif way < 0.93:
                kind = zipfile.ZIP_DEFLATED
            elif way < 0.94:  # a bomb
                kind = zipfile.ZIP_DEFLATED
                members[at] = (name, inside + bytes(random.choice((2**16, 2**22, 2**24))))
            else:
                members.insert(at, (random.choice(NAMES), b"x" * random.choice((0, 1, 1000))))
        data = _zip(members, kind)
        return blobs.mutate(random, data, others) if random.random() < 0.15 else data

    return mutate


def _members(data: bytes) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            return [(entry.filename, opened.read(entry)) for entry in opened.infolist()]
    except zipfile.BadZipFile:  # another format, or checksums that were never written
        return []


def _zip(members: list[tuple[str, bytes]], kind: int) -> bytes:
    """Write a zip whose checksums are right."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", kind, compresslevel=1) as opened:
        warnings.simplefilter("ignore")  # names that come twice
        for name, inside in members:
            opened.writestr(zipfile.ZipInfo(name), inside, kind)
    return file.getvalue()
