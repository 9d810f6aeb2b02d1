from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import lstmkit as lk
from lstmkit import store
from lstmkit.formats import detect
from lstmkit.formats.detect import Format, recognize
from lstmkit.loading import describe, load
from lstmkit.shapes import InputError
from lstmkit.tasks.language_model import LanguageModel

WORDS = "the cat sat on the mat\n" * 20


def tiny(tmp_path=None, **arguments) -> LanguageModel:
    arguments = {"hidden_size": 6, "embedding_size": 4, "seed": 0, **arguments}
    fit = {} if tmp_path is None else {"checkpoint": tmp_path / "checkpoint.safetensors"}
    return LanguageModel(**arguments).fit(WORDS, steps=12, batch_size=4, sequence_length=8, **fit)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tokens": "bytes"},
        {"tied": True, "embedding_size": None, "dtype": "float64"},
        {"num_layers": 2, "layer_norm": True, "peepholes": True, "proj_size": 3, "seed": None},
        {"coupled_gates": True, "dropout": 0.1, "recurrent_dropout": 0.1, "zoneout": 0.1},
    ],
)
def test_a_language_model_comes_back_as_it_was(tmp_path, arguments):
    model = tiny(**arguments)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert type(loaded) is LanguageModel
    assert loaded.config == model.config
    assert loaded.vocabulary == model.vocabulary
    assert loaded.parameters.keys() == model.parameters.keys()
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)
    assert loaded.generate("the ", 50, seed=1) == model.generate("the ", 50, seed=1)
    assert loaded.bits_per_character(WORDS) == model.bits_per_character(WORDS)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_a_loaded_model_can_be_fitted_again(tmp_path):
    model = tiny()
    model.save(tmp_path / "m")
    again = load(tmp_path / "m").fit(WORDS, steps=12, batch_size=4, sequence_length=8)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array)


def test_numpys_own_numbers_and_types_are_stored_as_plain_ones(tmp_path):
    model = tiny(hidden_size=np.int64(6), dtype=np.float64, seed=np.uint8(0))
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").config == tiny(dtype="float64").config


def test_strange_characters_survive(tmp_path):
    text = '"\\\u2028\0é😀\ud800\n' * 30
    model = LanguageModel(4, seed=0).fit(text, steps=1, batch_size=2, sequence_length=4)
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").vocabulary == model.vocabulary == "".join(sorted(set(text)))


def test_a_layer_comes_back_as_it_was(tmp_path):
    lstm = lk.LSTM(3, 5, 2, bidirectional=True, peepholes=True, proj_size=2, seed=0)
    lstm.save(tmp_path / "m")
    loaded = load(str(tmp_path / "m"))
    x = np.random.default_rng(0).normal(size=(2, 7, 3))
    np.testing.assert_array_equal(loaded(x)[0], lstm(x)[0])


def test_a_checkpoint_opens_as_its_model(tmp_path):
    model = tiny(tmp_path)
    loaded = load(tmp_path / "checkpoint.safetensors")
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)
    assert loaded.vocabulary == model.vocabulary


def test_a_checkpoint_with_patience_opens_with_its_best_weights(tmp_path):
    model = LanguageModel(6, embedding_size=4, seed=0)
    model.fit(
        WORDS,
        steps=40,
        batch_size=4,
        sequence_length=8,
        learning_rate=lambda step: 0.05 if step < 20 else 10.0,  # from then on it gets worse
        validation="the mat sat\n" * 5,
        validate_every=2,
        patience=100,
        checkpoint=tmp_path / "c",
    )
    assert model.result_.best_step < 40
    loaded = load(tmp_path / "c")
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)


def test_a_runs_folder_opens_as_its_model_or_else_its_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"holds no model\.safetensors or checkpoint\.safetensors"):
        load(tmp_path)
    tiny(tmp_path)
    assert load(tmp_path).tokens == "characters"
    tiny(tokens="bytes").save(tmp_path / "model.safetensors")
    assert load(tmp_path).tokens == "bytes"


def test_a_description_says_what_a_file_of_ours_holds(tmp_path):
    model = tiny(tmp_path)
    model.save(tmp_path / "m")
    described = describe(tmp_path / "m")
    assert described.format == "lstmkit 1 (safetensors)"
    assert described.left_over == []
    facts = dict(described.facts)
    assert (facts["kind"], facts["hidden_size"]) == ("LanguageModel", "6")
    assert facts["vocabulary"] == model.vocabulary
    assert set(described.arrays) == {
        (name, "float32", array.shape) for name, array in model.parameters.items()
    }
    tokens = [[0, 1, 2]]
    np.testing.assert_array_equal(described.model(tokens)[0], model(tokens)[0])

    checkpoint = describe(tmp_path / "checkpoint.safetensors")
    facts = dict(checkpoint.facts)
    assert (facts["kind"], facts["model"]) == ("checkpoint", "LanguageModel")
    assert facts["checkpoint: step"] == "12"
    assert checkpoint.arrays == described.arrays

    store.save(tmp_path / "m", "Unheard", {"x": 0.5}, {"w": np.zeros(3)})
    assert describe(tmp_path / "m") == (
        "lstmkit 1 (safetensors)",
        None,
        [("kind", "Unheard"), ("x", "0.5")],
        [("w", "float64", (3,))],
        ["the kind 'Unheard', which lk.load does not open"],
    )


def test_a_missing_file_keeps_the_systems_own_error(tmp_path):
    for use in (load, describe):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "nothing")


@pytest.mark.parametrize("use", [load, describe])
def test_a_damaged_file_is_told_wherever_it_is_cut(tmp_path, use):
    tiny().save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    for size in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "m").write_bytes(content[:size])
        with pytest.raises(InputError, match=r"/m'") as caught:
            use(tmp_path / "m")
        assert "\n" not in str(caught.value)


def test_a_changed_byte_of_the_header_raises_nothing_else(tmp_path):
    tiny().save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    rng = np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little")
    told = 0
    for place in rng.integers(8, 8 + header, 150):
        broken = bytearray(content)
        broken[place] = rng.integers(32, 127)
        (tmp_path / "m").write_bytes(broken)
        try:
            load(tmp_path / "m")
        except InputError as error:
            told += "\n" not in str(error)
    assert told > 100


def stored(tmp_path, kind="LanguageModel", change=None, **config):
    """A file of a model with something changed."""
    model = tiny()
    arrays = dict(model.parameters)
    if change is not None:
        change(arrays)
    store.save(tmp_path / "m", kind, model.config | config, arrays)
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kind": "Transformer"},
            "holds a 'Transformer'; expected one of LSTM, Sequential, LanguageModel",
        ),
        ({"kind": "LSTM"}, "does not hold a whole LSTM"),
        ({"hidden_size": 7}, r"head.weight is float32 \(.*, 6\); expected float32 \(.*, 7\)"),
        ({"hidden_size": "6"}, "hidden_size is '6'"),
        ({"hidden_size": 10**30}, "hidden_size is 1000.*; expected at most"),
        ({"num_layers": 10**9}, "num_layers is 1000000000; expected at most 1024"),
        ({"tokens": "words"}, "tokens is 'words'"),
        ({"tokens": "bytes"}, "a vocabulary of bytes, or none of characters"),
        ({"vocabulary": None}, "a vocabulary of bytes, or none of characters"),
        ({"dtype": "float64"}, "is float32 .*; expected float64"),
        ({"vocabulary": "abc"}, "embedding.weight is"),
        ({"vocabulary": 5}, "vocabulary: it is 5"),
        ({"vocabulary": ""}, "vocabulary: it is ''"),
        ({"rotary": True}, "config lacks, or should not have, rotary"),
        ({"change": lambda a: a.pop("head.bias")}, "head.bias is nothing; expected float32"),
        ({"change": lambda a: a.update(x=np.zeros(1))}, "x is float64 .*; expected nothing"),
    ],
)
def test_a_file_that_is_not_a_whole_model_is_told(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        load(stored(tmp_path, **arguments))
    assert str(caught.value).startswith("load: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", [load, describe])
def test_a_checkpoint_that_does_not_say_of_what_is_told(tmp_path, use):
    store.save(tmp_path / "m", "checkpoint", {"about": {}}, {"parameters/w": np.zeros(3)})
    with pytest.raises(InputError, match="does not say of what"):
        use(tmp_path / "m")
    store.save(tmp_path / "m", "checkpoint", {}, {"w": np.zeros(3)})
    with pytest.raises(InputError, match="checkpoint"):
        use(tmp_path / "m")


def test_clips_and_numbers_of_numpy_are_saved_and_loaded(tmp_path):
    """A config says what the layer is, in plain numbers, however large against its arrays."""
    lstm = lk.LSTM(3, np.int64(4), proj_size=np.int64(2), cell_clip=100, gate_clip=np.float32(50))
    lstm.save(tmp_path / "m")
    assert load(tmp_path / "m").config == lstm.config
    assert lstm.config["cell_clip"] == 100.0


def test_a_file_that_claims_more_than_it_holds_is_refused_at_once(tmp_path, monkeypatch):
    """Nothing is made or drawn before the shapes agree: a small file cannot ask for much."""
    model = LanguageModel(6, tokens="bytes", seed=0).fit("ab" * 100, steps=1, batch_size=2)
    config = {**model.config, "hidden_size": 100_000}
    arrays = model.parameters | {"bait": np.zeros(100_000, np.float32)}
    store.save(tmp_path / "m", "LanguageModel", config, arrays)
    monkeypatch.setattr("lstmkit.cell.orthogonal", lambda *_: pytest.fail("weights were drawn"))
    with pytest.raises(InputError, match="expected"):
        load(tmp_path / "m")


def test_arrays_of_another_dtype_than_the_configs_are_refused(tmp_path):
    lstm = lk.LSTM(2, 3, seed=0)
    doubles = {name: array.astype(np.float64) for name, array in lstm.parameters.items()}
    store.save(tmp_path / "m", "LSTM", lstm.config, doubles)
    with pytest.raises(InputError, match="is float64 and the config says float32"):
        load(tmp_path / "m")


FIXTURES = Path(__file__).parent / "fixtures" / "store"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lstm", lk.LSTM),
        ("coupled", lk.LSTM),
        ("sequential", lk.Sequential),
        ("language_model", LanguageModel),
        ("checkpoint", LanguageModel),
    ],
)
def test_files_of_format_1_stay_readable(tmp_path, name, kind):
    """Written by tests/fixtures/store/make_store.py with lstmkit 0.1.0; never written again."""
    file = FIXTURES / f"{name}.safetensors"
    model = load(file)
    assert type(model) is kind
    with np.load(FIXTURES / "expected.npz") as expected:
        numbers = name in ("lstm", "coupled")
        y, _ = model(expected["x"] if numbers else expected["tokens"])
        np.testing.assert_allclose(y, expected[name], rtol=0, atol=2e-6)  # float32
    described = describe(file)
    assert described.format == "lstmkit 1 (safetensors)"
    assert described.model is not None
    if name != "checkpoint":  # and while 1 is the newest, we write what we wrote
        model.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == file.read_bytes()


# ------------------------------------------------------------------------------- other formats


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def ours(tmp_path, kind="LSTM") -> bytes:
    lk.LSTM(2, 3, seed=0).save(tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def test_a_format_is_told_by_its_bytes(tmp_path):
    save_file({"weight": np.zeros(3)}, tmp_path / "foreign")
    save_file({"lstmkit": np.zeros(3)}, tmp_path / "named", metadata={"x": '"lstmkit":"'})
    onnx = bytes([8, 8, 0x12, 2]) + b"me" + bytes([0x3A, 3, 1, 2, 3, 0x42, 0])
    cases = {
        Format.LSTMKIT: [ours(tmp_path)],
        Format.SAFETENSORS: [(tmp_path / n).read_bytes() for n in ("foreign", "named")],
        Format.PYTORCH: [
            zipped("archive/data.pkl", "archive/version"),
            zipped("archive/code/x.py"),
            pickle.dumps({1: 2}),
            tarred("storages"),
        ],
        Format.KERAS: [
            zipped("metadata.json", "config.json", "model.weights.h5"),
            detect.HDF5,
            bytes(512) + detect.HDF5,
        ],
        Format.ONNX: [onnx, onnx[6:], onnx[:-2]],
    }
    for format, files in cases.items():
        for data in files:
            (tmp_path / "m.png").write_bytes(data)  # the name does not matter
            assert recognize(tmp_path / "m.png") is format, data[:60]
    (tmp_path / "m.onnx").write_bytes(b"anything")  # but for a format without a beginning
    assert recognize(tmp_path / "m.onnx") is Format.ONNX


def tarred(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    """Its length's first byte may be any: that of a pickle, too."""
    for length in range(40, 300):
        header = b'{"__metadata__":{"lstmkit":"x"}}'.ljust(length)
        (tmp_path / "m").write_bytes(length.to_bytes(8, "little") + header)
        assert recognize(tmp_path / "m") is Format.LSTMKIT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected an lstmkit file"),
        (b"hello world\n" * 100, "is text that begins with 'hello world"),
        ("schöne".encode() * 200, "is text that begins with 'schöne"),
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        (gzip.compress(b"x"), "is compressed by gzip"),
        (zipped("a.npy", "b.npy"), r"is a file of NumPy arrays \(.npz\)"),
        (zipped("a.txt"), "is a zip file of 1 files, the first of them 'a.txt'"),
        (zipped(), "is a zip file of 0 files"),
        (tarred("some.txt"), "is a tar archive"),
        (b"\x1c\0\0\0TFL3", "is a TensorFlow Lite model"),
        (b"\x93NUMPY\1\0", "is a NumPy array"),
        (b"\0\1\2\3", "it begins with the bytes 00 01 02 03"),
        (b"PK\3\4 and no more", "is damaged"),
        (bytes([200]) + bytes(7) + b'{"a":', "is damaged: it is a safetensors file that is cut"),
        (bytes([8, 8, 0x12, 2]), "unknown format; it begins with the bytes 08 08"),
    ],
)
@pytest.mark.parametrize("use", [load, describe])
def test_what_cannot_be_opened_is_told_by_what_it_looks_like(tmp_path, use, data, message):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        use(tmp_path / "m")
    assert str(caught.value).startswith(f"load: '{tmp_path / 'm'}' is")
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no regular file"):
        load(tmp_path / "pipe")


def test_a_folder_of_tensorflow_is_told(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="is a SavedModel of TensorFlow"):
        load(tmp_path)


def test_a_prefix_is_for_state_dicts(tmp_path):
    (tmp_path / "m").write_bytes(ours(tmp_path))
    with pytest.raises(
        InputError, match=r"prefix is 'encoder'.*expected a prefix only with a stat"
    ):
        load(tmp_path / "m", prefix="encoder")
    lstm = lk.LSTM(2, 3, seed=0)
    names = {
        "weight_ih_l0": "weight_ih_l0",
        "weight_hh_l0": "weight_hh_l0",
        "bias_ih_l0": "bias_l0",
    }
    theirs = {f"encoder.{k}": lstm.parameters[v] for k, v in names.items()}
    theirs["encoder.bias_hh_l0"] = np.zeros(12, np.float32)
    save_file(theirs | {"head.weight": np.zeros((2, 3), np.float32)}, tmp_path / "foreign")
    x = np.ones((1, 4, 2))
    for found in (load(tmp_path / "foreign"), load(tmp_path / "foreign", prefix="encoder")):
        np.testing.assert_array_equal(found(x)[0], lstm(x)[0])
    described = describe(tmp_path / "foreign")
    assert described.model is not None
    assert any("head.weight" in line for line in described.left_over)


def test_the_readers_of_other_formats_are_not_imported_before_they_are_needed():
    code = (
        "import sys, lstmkit; print([m for m in sys.modules if m.startswith('lstmkit.formats.')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(lk.__file__).resolve().parents[1])},
    ).stdout
    assert found.strip() == "['lstmkit.formats.base', 'lstmkit.formats.detect']"
