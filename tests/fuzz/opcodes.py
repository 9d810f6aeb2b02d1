"""Mutations of pickles as a list of instructions, and instructions that would do harm."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Sequence
from random import Random

import blobs

HOSTILE = (
    b"cos\nsystem\n",
    b"cposix\nsystem\n(Vtrue\ntR",
    b"(S'true'\nios\nsystem\n",
    b"\x8c\x02os\x8c\x06system\x93",
    b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R",
    b"ctorch.storage\n_load_from_bytes\n",
    b"ctorch.nn.modules.rnn\nLSTM\n",
    b"c__builtin__\ngetattr\n",
    b"ccollections\nOrderedDict\n)R",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"\x82\x01", b"\x84\xff\xff\xff\x7f", b"\x81", b"\x92", b"o", b"b", b"R", b"Q", b"P0\n",
    b"\x97", b"\x98", b"\x96" + b"\xff" * 8, b"\x8e" + b"\xff" * 8, b"\x8d" + b"\xff" * 8,
    b"\x8b\xff\xff\xff\x7f", b"\x8a\xff", b"X\xff\xff\xff\xff", b"r\xff\xff\xff\xff0",
    b"j\xff\xff\xff\xff",
    b"q\x00", b"h\x00", b"\x94", b"2", b"0", b"1", b"(", b"]", b"}", b")", b"t", b"l", b"d", b"a",
    b"e", b"s", b"u", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90", b"\x91", b"N", b"\x88", b".",
    b"\x95" + b"\xff" * 8, b"I" + b"9" * 5000 + b"\n", b"L1L\n", b"F1e999\n", b"\x80\x09",
    b"G" + struct.pack(">d", float("nan")), b"I-1\n", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f", b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"X\x03\x00\x00\x00a\x0a\x1b",
)  # fmt: skip


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a few instructions, or bytes where it is no pickle any more."""
    if random.random() < 0.15:
        return blobs.mutate(random, data, others)
    code = _instructions(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
        if not code:
            break
        at, way = random.randrange(len(code)), random.randrange(9)
        if way == 0:
            del code[at]
        elif way == 1:
            code.insert(at, random.choice(code))
        elif way == 2:
            other = random.randrange(len(code))
            code[at], code[other] = code[other], code[at]
        elif way == 3:
            code[at] = random.choice(HOSTILE)
        elif way == 4:
            start = random.randrange(len(code))
            code[at:at] = code[start : start + random.choice((2, 5, 20))]
        elif way == 5 and random.random() < 0.05:
            piece = random.choice(HOSTILE)
            code.insert(at, piece * (blobs.BULK // len(piece)))
        elif way == 6:
            code[at] = _number(random, code[at])
        elif way == 7 and len(code[at]) > 1:
            code[at] = code[at][:1] + blobs.mutate(random, code[at][1:])
        else:
            code.insert(at, random.choice(HOSTILE))
    return b"".join(code)


def _number(random: Random, instruction: bytes) -> bytes:
    """Put another whole number in the place of one."""
    if instruction[:1] not in (b"K", b"M", b"J", b"I", b"\x8a"):
        return instruction
    value = blobs.number(random)
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw if random.random() < 0.5 else b"I%d\n" % value


def _instructions(data: bytes) -> list[bytes]:
    try:
        starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:
        return [data[k : k + 1] for k in range(len(data))]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
