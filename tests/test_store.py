"""Files: exact round trips, whole or not at all, and nothing but `InputError` from bad bytes."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstmkit import store
from lstmkit.shapes import InputError

ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
# Letters of one to four bytes, and what does not print; to list all of Unicode takes seconds.
LETTERS = 'aZ09_. /"\\\n\0\x7f\xadéσ\u0301\u05d0\u2028\u2603\U0001f600'
DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "mask": np.array([True, False, True]),
    "step": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float64),
}
ONE = {"w": np.ones(2, np.float32)}
CONFIG = {"size": 3, "name": "σ \ud800 \n", "deep": [1, [2.5, None, True]], "big": 2**127}


def raw(header: object, data: bytes = b"", text: bytes | None = None) -> bytes:
    """Write a safetensors file by hand, right or wrong."""
    body = json.dumps(header).encode() if text is None else text
    return len(body).to_bytes(8, "little") + body + data


def entry(**changes: object) -> dict[str, str]:
    return {"lstmkit": json.dumps({"format": 1, "kind": "K", "config": {}} | changes)}


def one(dtype: str = "F32", shape: object = (2,), place: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()


# ------------------------------------------------------------------------------- right files


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    store.save(path, "LSTM", CONFIG, ARRAYS)
    for where in (path, str(path)):
        kind, config, arrays = store.load(where)
        assert (kind, config) == ("LSTM", CONFIG)
        same(arrays, ARRAYS)
    for array in arrays.values():
        array += array.dtype.type(1)  # writable, as weights must be
    assert os.listdir(tmp_path) == ["model.safetensors"]


@given(
    st.dictionaries(
        st.text(LETTERS, max_size=5).filter(
            lambda name: name.isprintable() and name != "__metadata__"
        ),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60)
def test_any_arrays(arrays: dict[str, np.ndarray]) -> None:
    path = "any.safetensors"
    store.save(path, "K", {}, arrays)
    same(store.load(path).arrays, arrays)
    assert store.inspect(path).arrays == {k: (a.dtype, a.shape) for k, a in arrays.items()}
    same(safetensors.numpy.load_file(path), arrays)  # the package reads it as we do


def test_bytes_do_not_depend_on_order_or_layout(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    store.save(a, "K", {"x": 1, "y": {"p": 2, "q": 3}}, ARRAYS)
    other = {name: ARRAYS[name] for name in reversed(ARRAYS)}
    other["weight"] = np.asfortranarray(other["weight"]).astype(">f4")
    store.save(b, "K", {"y": {"q": 3, "p": 2}, "x": 1}, other)
    assert a.read_bytes() == b.read_bytes()


def test_the_bytes_are_these(tmp_path: Path) -> None:
    """Written out by hand from the format's description."""
    path = tmp_path / "a"
    store.save(path, "K", {"n": 1}, {"w": np.array([1.0, -2.0], np.float32)})
    header = (
        rb'{"__metadata__":{"lstmkit":"{\"config\":{\"n\":1},\"format\":1,\"kind\":\"K\"}"},'
        rb'"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    )
    header += b" " * (-len(header) % 8)
    data = bytes.fromhex("0000803f000000c0")
    assert path.read_bytes() == len(header).to_bytes(8, "little") + header + data


def test_inspect_reads_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    store.save(path, "K", CONFIG, {"w": np.zeros(10**6, np.float32)})
    kind, config, arrays = store.inspect(path)
    assert (kind, config) == ("K", CONFIG)
    assert arrays == {"w": (np.dtype(np.float32), (10**6,))}
    with open(path, "r+b") as file:  # the arrays' bytes do not matter, their number does
        file.truncate(os.path.getsize(path) - 1)
    with pytest.raises(InputError, match=r"take 4000000 bytes and the file has 3999999"):
        store.inspect(path)


@pytest.mark.parametrize(
    ("config", "arrays", "message"),
    [
        ({"x": float("nan")}, {}, "config cannot be written as JSON"),
        ({"x": np.float32(1)}, {}, "config cannot be written as JSON"),
        ({"x": {1: 2, "1": 3}}, {}, "config cannot be written as JSON"),
        ({}, {"w": np.zeros(2, np.complex128)}, "'w' has dtype complex128; expected booleans"),
        ({}, {"w": np.array(["a"])}, "'w' has dtype <U1"),
        ({}, {"w": np.array([None])}, "'w' has dtype object"),
        ({}, {"__metadata__": np.zeros(2)}, "an array has the name '__metadata__'"),
        ({"x": "y" * store.HEADER_LIMIT}, ONE, "expected at most 16777216"),
        ({}, {}, "arrays is empty; expected at least one array"),
    ],
)
def test_what_cannot_be_saved(
    tmp_path: Path, config: dict[str, object], arrays: dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=message):
        store.save(path, "K", config, arrays)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


# ------------------------------------------------------------------------------- wrong files

NESTED = 15_000
WRONG = {
    "nothing": (b"", "not a whole safetensors file"),
    "short": (b"\x10\0\0", "not a whole safetensors file"),
    "text": (b"Once upon a time there was a file.", "not a whole safetensors file"),
    "zeros": (b"\0" * 64, "not a whole safetensors file"),
    "no object": (raw(None, text=b"[1, 2, 3]"), "its header is not a JSON object"),
    "no JSON": (raw(None, text=b"{'a': 1}"), "its header is not proper JSON"),
    "no UTF-8": (raw(None, text=b'{"\xff": 1}'), "its header is not proper JSON"),
    "deep": (raw(None, text=b"[" * NESTED + b"]" * NESTED), "its header is not proper JSON"),
    "NaN": (raw(None, text=b'{"a": NaN}'), "its header is not proper JSON"),
    "twice": (raw(None, text=b'{"a": {}, "a": {}}'), "a name comes twice"),
    "foreign": (raw({"w": one()}, bytes(8)), "safetensors without an lstmkit entry"),
    "foreign metadata": (raw({"__metadata__": {"format": "pt"}}), "without an lstmkit entry"),
    "metadata is a list": (raw({"__metadata__": []}), "without an lstmkit entry"),
    "entry is a number": (raw({"__metadata__": {"lstmkit": 1}}), "without an lstmkit entry"),
    "entry is no JSON": (raw({"__metadata__": {"lstmkit": "{"}}), "lstmkit entry is not proper"),
    "entry has a name twice": (
        raw({"__metadata__": {"lstmkit": '{"format":1,"kind":"K","kind":"L","config":{}}'}}),
        "lstmkit entry is not proper JSON .a name comes twice",
    ),
    "config has a name twice": (
        raw({"__metadata__": {"lstmkit": '{"format":1,"kind":"K","config":{"a":1,"a":1}}'}}),
        "a name comes twice",
    ),
    "newer": (raw({"__metadata__": entry(format=2)}), r"has format 2; this lstmkit reads format 1"),
    "format 1.0": (raw({"__metadata__": entry(format=1.0)}), "not that of format 1"),
    "format true": (raw({"__metadata__": entry(format=True)}), "not that of format 1"),
    "format 0": (raw({"__metadata__": entry(format=0)}), "not that of format 1"),
    "more": (raw({"__metadata__": entry(more=1)}), "not that of format 1"),
    "kind": (raw({"__metadata__": entry(kind=1)}), "has no kind and config"),
    "config": (raw({"__metadata__": entry(config=[])}), "has no kind and config"),
} | {
    name: (raw({"__metadata__": entry()} | tensors, bytes(room)), message)
    for name, tensors, room, message in [
        ("truncated", {"w": one()}, 7, "take 8 bytes and the file has 7"),
        ("too long", {"w": one()}, 9, "take 8 bytes and the file has 9"),
        ("no array", {"w": 1}, 0, "array 'w' is not described"),
        ("a field too many", {"w": one() | {"x": 1}}, 8, "array 'w' is not described"),
        ("bfloat16", {"w": one("BF16", [4])}, 8, "'w' has dtype 'BF16'; expected BOOL, U8"),
        ("dtype", {"w": one(["F32"])}, 8, "'w' has dtype"),
        ("shape 3", {"w": one(shape=[3])}, 8, "another size than its shape needs"),
        ("shape float", {"w": one(shape=[2.0])}, 8, "no proper shape and place"),
        ("shape true", {"w": one("F64", [True])}, 8, "no proper shape and place"),
        ("shape negative", {"w": one(shape=[-1, -2])}, 8, "no proper shape and place"),
        ("shape long", {"w": one(shape=[1] * 33 + [2])}, 8, "no proper shape and place"),
        ("shape huge", {"w": one(shape=[2**62, 2**62])}, 8, "another size than its shape"),
        ("place", {"w": one(place=[0, 8, 8])}, 8, "no proper shape and place"),
        ("place backwards", {"w": one(place=[8, 0])}, 8, "another size than its shape"),
        ("overlap", {"v": one(), "w": one(place=[4, 12])}, 12, "overlap or leave holes"),
        ("hole", {"v": one(), "w": one(place=[12, 20])}, 20, "overlap or leave holes"),
        ("hole first", {"w": one(place=[8, 16])}, 16, "overlap or leave holes"),
    ]
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(tmp_path: Path, case: str) -> None:
    data, message = WRONG[case]
    path = tmp_path / "some\nfile"
    path.write_bytes(data)
    for read in (store.load, store.inspect):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert re.match(r"load: '.*some\\nfile'", str(caught.value))
        assert len(str(caught.value).splitlines()) == 1


def test_booleans_are_zero_or_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(raw({"__metadata__": entry(), "b": one("BOOL", [2], [0, 2])}, b"\1\2"))
    with pytest.raises(InputError, match="has bytes other than 0 and 1"):
        store.load(path)


def test_header_limit(tmp_path: Path) -> None:
    """A length that the file has room for but no header needs: nothing of it is read."""
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.write((store.HEADER_LIMIT + 1).to_bytes(8, "little"))
        file.truncate(2 * store.HEADER_LIMIT)  # a hole: no disk, no memory
    with pytest.raises(InputError, match="its header takes 16777217 bytes"):
        store.load(path)


def test_a_claimed_size_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    shape = [2**40]
    path.write_bytes(raw({"__metadata__": entry(), "w": one("U8", shape, [0, 2**40])}, bytes(8)))
    with pytest.raises(InputError, match="take 1099511627776 bytes and the file has 8"):
        store.load(path)


def test_missing_and_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*gone'"):
        store.load(tmp_path / "gone")
    with pytest.raises((IsADirectoryError, PermissionError), match=re.escape(str(tmp_path))):
        store.load(tmp_path)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("valid") / "a"
    store.save(path, "K", {"size": 3, "name": "x"}, ARRAYS)
    return path.read_bytes()


def survives(path: Path, data: bytes) -> bool:
    """Load bytes; True if they load. Anything but InputError is a failure of the test."""
    path.write_bytes(data)
    results, lines = [], []
    for read in (store.inspect, store.load):
        try:
            results.append(read(path))
        except InputError as error:
            results.append(None)
            lines.append(str(error))
    header, whole = results
    assert not any("\n" in line for line in lines)
    assert whole is None or header is not None  # what loads can be inspected
    return whole is not None


def test_damage_at_random(tmp_path: Path, valid: bytes) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    loaded = 0
    header_end = 8 + int.from_bytes(valid[:8], "little")
    for _ in range(2000):
        data = bytearray(valid)
        for _ in range(rng.integers(1, 4)):
            where = rng.integers(header_end) if rng.random() < 0.8 else rng.integers(len(data))
            match rng.integers(4):
                case 0:
                    data[where] ^= 1 << rng.integers(8)
                case 1:
                    data[where] = rng.choice(np.frombuffer(b'0123456789{}[]",:-eE \\\0\xff', "u1"))
                case 2:
                    del data[where : where + rng.integers(1, 5)]
                case _:
                    data[where:where] = data[where : where + rng.integers(1, 30)]
            data = data or bytearray(b"\0")
        loaded += survives(path, bytes(data))
    assert 0 < loaded < 1500  # a changed weight is still a file; most damage is found


def test_truncated_anywhere(tmp_path: Path, valid: bytes) -> None:
    for length in range(len(valid)):
        assert not survives(tmp_path / "a", valid[:length])
    assert survives(tmp_path / "a", valid)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200)
def test_any_bytes(data: bytes, framed: bool) -> None:
    assert not survives(Path("any.bytes"), raw(None, text=data) if framed else data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=3), inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(LETTERS, max_size=3), st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "BOOL", "F4", "C64"]) | JSON,
     "shape": st.lists(st.integers(-1, 5), max_size=3) | JSON,
     "data_offsets": st.lists(st.integers(-1, 40), max_size=3) | JSON}) | JSON, max_size=3),
    st.integers(0, 40))  # fmt: skip
@settings(max_examples=150)
def test_any_header(tensors: dict[str, object], room: int) -> None:
    survives(Path("any.header"), raw({"__metadata__": entry()} | tensors, bytes(room)))


# -------------------------------------------------------------------------- writing, whole or not


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_atomic_write_replaces_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with store.atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_block(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with store.atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def no_space(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk(io.RawIOBase):
    """A file on a disk without room: what is written fails, at once or when it is flushed."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        no_space()
        return 0


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize("size", [10, 10**6])
@pytest.mark.parametrize("exists", [True, False])
def test_a_failing_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, size: int, exists: bool
) -> None:
    """Every call into the system fails once: the old file stays, and nothing else does."""
    path = tmp_path / "a"
    if exists:
        path.write_bytes(b"old")
    if call == "write":

        def full(name: str, mode: str) -> io.BufferedWriter:
            open(name, mode).close()
            return io.BufferedWriter(FullDisk())

        monkeypatch.setattr(store, "open", full, raising=False)
    else:
        monkeypatch.setattr(os, call, no_space)
    with pytest.raises(OSError, match=r"No space left on device: '.*a'") as caught:
        store.save(path, "K", {}, {"w": np.zeros(size, np.uint8)})
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == (["a"] if exists else [])
    if exists:
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("code", "fails"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_folder_that_does_not_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails: bool
) -> None:
    """The new file is there, whole; only a real failure is told."""
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="'a'") if fails else nullcontext():
        store.save("a", "K", {}, ONE)
    assert store.load("a").kind == "K"
    assert os.listdir(tmp_path) == ["a"]


def test_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        is_folder = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))
        calls.append("folder" if is_folder else f"file of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def note_replace(a: str, b: str) -> None:
        calls.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with store.atomic_write(tmp_path / "a") as file:
        file.write(b"12345")
    assert calls == ["file of 5", "rename", "folder"]


WRITER = """
import sys, numpy as np
from lstmkit import store
print("go", flush=True)
k = 0
while True:
    k += 1
    store.save(sys.argv[1], "K", {"k": k}, {"w": np.full(50_000, k, np.float32)})
"""


def test_killed_at_any_instant(tmp_path: Path) -> None:
    """SIGKILL at random instants of a loop of writes: the file is always one whole write."""
    path = tmp_path / "a"
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment()
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.005 + 0.03 * rng.random())
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if path.exists():
            stored = store.load(path)
            assert (stored.arrays["w"] == stored.config["k"]).all()
            seen.append(stored.config["k"])
    assert len(set(seen)) > 1
    left = sorted(set(os.listdir(tmp_path)) - {"a"})
    assert all(name.startswith(".a.") and name.endswith(".partial") for name in left)
    for name in left:
        os.utime(tmp_path / name, (0, time.time() - store.LEFTOVER_AGE - 1))
    (tmp_path / ".a.fresh.partial").write_bytes(b"somebody else's write")
    store.save(path, "K", {}, ONE)
    assert sorted(os.listdir(tmp_path)) == [".a.fresh.partial", "a"]


def environment() -> dict[str, str]:
    source = Path(store.__file__).parents[1]
    return os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("write", [store.check_writable, lambda p: store.save(p, "K", {}, ONE)])
def test_unwritable_places(tmp_path: Path, write: object) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for name, error in [
        ("gone/a", FileNotFoundError),
        ("folder", IsADirectoryError),
        ("file/a", (NotADirectoryError, FileNotFoundError)),
        ("a" * 300, OSError),
        ("", OSError),
    ]:
        with pytest.raises(error) as caught:
            write(name)  # type: ignore[operator]
        assert str(caught.value).count("\n") == 0
        assert repr(name) in str(caught.value)  # the name that was given, not the temporary one
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OSError, match=r"Not a regular file: '.*null'"):
        store.check_writable(os.devnull)
    assert not os.path.isfile(os.devnull)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody who may not write; root may, so that the system's answers are given for it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if ROOT:
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*a'"):
        store.save(path, "K", {}, ONE)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_check_writable_changes_nothing(tmp_path: Path) -> None:
    store.check_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").write_bytes(b"old")
    before = os.stat(tmp_path / "a")
    store.check_writable(tmp_path / "a")
    assert os.stat(tmp_path / "a").st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "a").read_bytes() == b"old"


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    with store.atomic_write("link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert os.stat("real").st_mode & 0o777 == 0o640
    umask = os.umask(0)
    os.umask(umask)
    store.save("fresh", "K", {}, ONE)
    assert os.stat("fresh").st_mode & 0o777 == 0o666 & ~umask
