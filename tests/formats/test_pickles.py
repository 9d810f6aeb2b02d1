"""The reader of pickles: what it takes, and that it refuses all else soon and in small memory."""

from __future__ import annotations

import collections
import pickle
import struct
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.formats import pickles, pytorch, zips
from lstmkit.formats.pickles import Map, Refused, Storage, Tensor
from lstmkit.shapes import InputError


def text(word: str) -> bytes:
    data = word.encode()
    return b"X" + struct.pack("<L", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: bytes = b"FloatStorage", key: bytes = text("0"), count: int = 6) -> bytes:
    kind = b"ctorch\n" + kind + b"\n"
    return b"(" + text("storage") + kind + key + text("cpu") + number(count) + b"tQ"


def tensor(
    offset: int = 0,
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    held: bytes | None = None,
) -> bytes:
    held = storage() if held is None else held
    view = number(offset) + numbers(*shape) + numbers(*strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + held + view + b"\x89NtR"


ROOM = 2**24


def read(body: bytes) -> object:
    return pickles.read(b"\x80\x02" + body + b".", ROOM)


def plain(value: object) -> object:
    """Turn the reader's maps into dicts."""
    if isinstance(value, Map):
        return {key: plain(one) for key, one in value.pairs}
    if isinstance(value, list | tuple):
        return type(value)(plain(one) for one in value)
    return value


# Letters of one to four bytes: all of Unicode takes seconds to list.
TEXT = st.text("a\0\n\\é\u2603\U0001f600")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner) | st.dictionaries(TEXT | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@settings(max_examples=50)
@given(PLAIN, st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_plain_containers_come_back(value, protocol):
    assert plain(pickles.read(pickle.dumps(value, protocol), ROOM)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_ordered_dict_with_attributes_comes_back(protocol):
    state = collections.OrderedDict(a=1, b=collections.OrderedDict(c=2))
    state._metadata = {"": {"version": 1}}
    found = pickles.read(pickle.dumps(state, protocol), ROOM)
    assert plain(found) == {"a": 1, "b": {"c": 2}}


def test_bytes_are_taken_as_text_or_bytes():
    assert pickles.read(pickle.dumps(b"\x00\xff", 2), ROOM) == "\x00\xff"
    assert pickles.read(pickle.dumps(b"\x00\xff", 3), ROOM) == b"\x00\xff"


def test_a_tensor_is_described():
    kept = Storage("0", "float32", 6)
    assert read(tensor()) == Tensor(kept, "float32", 0, (2, 3), (3, 1))
    assert read(tensor(5, (1,), (10**6,))).offset == 5
    assert read(tensor(0, (), ())).shape == ()
    assert read(tensor(6, (0, 7), (7, 1))).shape == (0, 7)
    assert read(tensor(held=storage(b"HalfStorage"))).dtype == "float16"


def test_shared_tensors_are_one():
    found = read(b"](" + tensor() + b"q\x00h\x00h\x00e")
    assert found[0] is found[1] is found[2]


@pytest.mark.parametrize(
    "body",
    [
        tensor(0, (2, 4), (4, 1)),  # more than there is
        tensor(1),
        tensor(7, (1,), (1,)),
        tensor(0, (7,), (0,)),  # an expanded view is larger than its storage
        tensor(0, (2,), (6,)),
        tensor(-1, (1,), (1,)),
        tensor(0, (-1,), (1,)),
        tensor(3, (2,), (-1,)),
        tensor(0, (2**61, 2**61), (0, 0)),
        tensor(0, (1,) * 17, (1,) * 17),
        tensor(0, (2,), (3, 1)),
        tensor(2**62, (1,), (1,)),
        tensor(held=storage(count=-1)),
        tensor(held=storage(count=2**62)),
        tensor(held=storage(kind=b"float32")),
        tensor(held=storage(key=number(0))),
        tensor(held=b"N"),
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._utils\n_rebuild_parameter\n)R",
        b"ctorch._utils\n_rebuild_parameter\n(NNNtR",
        b"ctorch._utils\n_rebuild_tensor_v3\n(" + storage() + b"NNNNNNtR",
        b"ctorch\nSize\n(K\x01tR",
        b"ctorch\ndevice\n)R",
        b"c_codecs\nencode\n)R",
        b"ccollections\nOrderedDict\n(]tR",
        text("storage") + b"Q",
        b"N)R",
        b"ctorch\nfloat32\nN}b",
        b"R",
        b"0",
        b"h\x05",
        b"q\x00",
        b"t",
        b"(K\x01",
        b"NN",
        b"",
        b"]K\x01K\x02s",
        b"}(K\x01u",
        b"}K\x01a",
        b"K\x01(0a",
        b"X\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8d" + b"\xff" * 8,
        b"\x95" + b"\xff" * 8,
        b"p-1\n",
        b"p99999999999\n",
        b"L" + b"9" * 10_000 + b"L\n",
        b"I1x\n",
        b"\x00",
        b"\xfe",
    ],
)
def test_what_is_not_whole_is_refused(body):
    for data in (b"\x80\x02" + body + b".", b"\x80\x02" + body):
        with pytest.raises(Refused) as caught:
            pickles.read(data, ROOM)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


class Opens:
    def __reduce__(self):
        return (open, ("/nowhere", "w"))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_is_executed(protocol):
    data = pickle.dumps({"a": Opens()}, protocol)
    with pytest.raises(Refused, match=r"holds a '\w*io.open', which is code and not an array"):
        pickles.read(data, ROOM)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"cos\nsystem\n(X\x02\x00\x00\x00lstR", "'os.system', which is code"),
        (b"\x8c\x02os\x8c\x06system\x93", "'os.system', which is code"),
        (b"(X\x02\x00\x00\x00lsios\nsystem\n", "the instruction INST"),
        (b"(ccollections\nOrderedDict\no", "the instruction OBJ"),
        (b"ccollections\nOrderedDict\n)\x81", "the instruction NEWOBJ"),
        (b"ccollections\nOrderedDict\n)}\x92", "the instruction NEWOBJ_EX"),
        (b"\x82\x01", "the instruction EXT1"),
        (b"\x83\x01\x00", "the instruction EXT2"),
        (b"\x84\x01\x00\x00\x00", "the instruction EXT4"),
        (b"Pname\n", "the instruction PERSID"),
        (b"\x97", "the instruction NEXT_BUFFER"),
        (b"\x8f", "the instruction EMPTY_SET"),
        (b"ctorch\nfloat32\n)R", "calls 'torch.float32'"),
        (b"ctorch.nn.modules.rnn\nLSTM\n)R", "is a pickled module ('torch.nn.modules.rnn.LSTM')"),
        (b"c__torch__.a\nB\n", "TorchScript"),
        (b"ctorch._utils\n_rebuild_sparse_tensor\n", "_rebuild_sparse_tensor"),
        (b"c__builtin__\neval\n", "'__builtin__.eval'"),
        (b"ccollections\nOrderedDict.__class__\n", "OrderedDict.__class__"),
        (b"ctorch\nload\n", "'torch.load'"),
    ],
)
def test_every_other_thing_is_refused_by_name(body, words):
    with pytest.raises(Refused) as caught:
        read(body)
    assert words in str(caught.value)
    assert "model.state_dict()" in str(caught.value)


# ------------------------------------------------------------------- hostile ones, in a file


def in_a_file(tmp_path: Path, body: bytes, key0: bytes = bytes(24)) -> Path:
    path = tmp_path / "x.pt"
    rows = [("x/data.pkl", b"\x80\x02" + body + b"."), ("x/data/0", key0)]
    with path.open("wb") as file:
        zips.write(file, [(name, memoryview(data)) for name, data in rows])
    return path


def laughs(
    depth: int, start: bytes = b"]", again: bytes = b"q\x00(" + b"h\x00" * 9 + b"l"
) -> bytes:
    """Lists of ten times the list before: 10^depth values, if each were looked at."""
    return b"]" + b"".join(b"q\x000](" + b"h\x00" * 10 + b"e" for _ in range(depth))


HOSTILE = {
    "laughs": laughs(9),
    "laughing dicts": b"}" + b"".join(
        b"q\x000}(" + b"".join(text(str(k)) + b"h\x00" for k in range(10)) + b"u" for _ in range(9)
    ),
    "a list in itself": b"]q\x00(" + b"h\x00" * 9 + b"e",
    "a dict in itself": b"}q\x00" + text("a") + b"h\x00s",
    "deep tuples": b")" + b"\x85" * 20_000,
    "deep lists": b"]" * 20_000 + b"a" * 19_999,
    "many steps": b"N0" * 200_001 + b"N",
    "long names": b"}" + b"".join(
        b"q\x000}" + text("n" * 999) + b"h\x00s" for _ in range(60)
    ),
    "one long name": b"}" + text("n" * 100_000) + b"Ns",
    "a tuple of tuples as a key": b"}" + b")" + b"\x85" * 20_000 + b"Ns",
    "keys that collide": b"}(" + b"".join(
        number(k * (2**61 - 1)) + b"N" for k in range(1, 4000)
    ) + b"u",
    "a great number": b"\x8b" + struct.pack("<l", 10**6) + b"\x7f" * 10**6,
    "many tensors": b"](" + tensor().replace(b"(" + storage(), b"q\x00(" + storage())[:-1] +
        b"q\x01R" + b"h\x00h\x01R" * 60_001 + b"e",
    "many views": tensor() + b"q\x000](" + b"h\x00" * 50_000 + b"e",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_pickle_is_refused_soon(tmp_path, name):
    path = in_a_file(tmp_path, HOSTILE[name])
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        pytorch.load(path)
    assert time.process_time() - start < 3  # seconds; it takes well under one on a quiet machine
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"many steps", "many tensors"}))
def test_a_hostile_pickle_takes_little_memory(tmp_path, name):
    path = in_a_file(tmp_path, HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(InputError):
        pytorch.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20 + 4 * path.stat().st_size  # 8 MiB: the limits on steps and tensors


def test_views_of_one_storage_do_not_multiply_it(tmp_path):
    """A thousand layers that share one storage of four kilobytes."""
    count = 1000
    held = storage(count=count)
    names = b""
    for k in range(200):
        rows = ((f"weight_ih_l{k}", 40, 10), (f"weight_hh_l{k}", 40, 10))
        for name, high, wide in rows:
            names += text(name) + tensor(0, (high, wide), (wide, 1), held)
    path = in_a_file(tmp_path, b"}(" + names + b"u", bytes(4 * count))
    size = path.stat().st_size
    if 200 * 2 * 1600 > 4 * size:
        with pytest.raises(InputError, match="more than four times the file"):
            pytorch.load(path)
    else:
        pytest.fail("the case is no test of the bound")


def test_a_storage_must_have_the_bytes_that_its_tensors_say(tmp_path):
    names = text("weight_ih_l0") + tensor(0, (4, 1), (1, 1)) + text("weight_hh_l0")
    names += tensor(0, (4, 1), (1, 1))
    path = in_a_file(tmp_path, b"}(" + names + b"u")
    assert pytorch.load(path).hidden_size == 1
    path = in_a_file(tmp_path, b"}(" + names + b"u", bytes(23))
    with pytest.raises(InputError, match="has 23 bytes and its tensors say 24"):
        pytorch.load(path)
    other = names.replace(text("0"), text("../../etc"))
    with pytest.raises(InputError, match=r"'x/data/\.\./\.\./etc' is missing"):
        pytorch.load(in_a_file(tmp_path, b"}(" + other + b"u"))


def test_a_name_that_comes_twice_is_refused(tmp_path):
    body = b"}(" + text("a") + tensor() + text("a") + tensor() + b"u"
    with pytest.raises(InputError, match="tensor 'a' comes twice"):
        pytorch.load(in_a_file(tmp_path, body))


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data):
    with suppress(Refused):
        pickles.read(data, ROOM)


@settings(max_examples=100)
@given(st.data())
def test_any_instructions_are_taken_or_refused(data):
    pieces = [
        b"N", b")", b"]", b"}", b"(", b"t", b"u", b"e", b"a", b"s", b"R", b"b", b"Q", b"0", b"2",
        b"q\x01", b"h\x01", b"\x94", b"\x85", b"\x86", b"K\x02", b"1", b"l", b"d", b"\x93",
        text("a"), text("torch"), text("float32"), tensor(), storage(), b"ctorch\nSize\n",
        b"ccollections\nOrderedDict\n",
    ]  # fmt: skip
    body = b"".join(data.draw(st.lists(st.sampled_from(pieces), max_size=40)))
    with suppress(Refused):
        read(body)


def test_the_numbers_of_a_dtype_are_numpys():
    for name, size in pickles.ITEMSIZES.items():
        if name != "bfloat16":
            assert np.dtype(name).itemsize == size


def test_names_that_take_more_letters_than_the_pickle_are_refused(tmp_path):
    with pytest.raises(InputError, match="too many letters"):
        pytorch.load(in_a_file(tmp_path, HOSTILE["long names"]))


@pytest.mark.parametrize(
    "body",
    [
        b"]" * 20_000,
        b"}" * 10_000,
        b"X\x02\0\0\0ab" * 10_000,
        b"(l" * 10_000,
        b")\x85" * 10_000,
        b"}(" + b"K\x01K\x02" * 10_000 + b"u",
        b"ccollections\nOrderedDict\n" + b"q\x00" + b"h\x00)R" * 10_000,
    ],
    ids=["lists", "dicts", "text", "old lists", "tuples", "pairs", "calls"],
)
def test_what_a_pickle_makes_is_bounded_by_its_file(body):
    """An empty list is one byte of a pickle and 56 of memory."""
    data = b"\x80\x02" + body + b"."
    tracemalloc.start()
    with pytest.raises(Refused, match="far more than a file of this size needs"):
        pickles.read(data, 2 * len(data) + 2**17)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data) + 2**19


def test_an_instruction_of_old_pickles_is_refused_before_it_is_decoded():
    with pytest.raises(Refused, match="the instruction STRING"):
        read(b"S'\\\xb8'\n")  # decoding it would warn


def test_a_name_with_a_backslash_is_refused():
    with pytest.raises(Refused, match="a name with a backslash"):
        read(b"ccollections\nOrdered\\\xb8Dict\n)R")
