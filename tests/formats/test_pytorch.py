"""PyTorch's files, without PyTorch: the fixtures were made by tests/fixtures/pytorch/make.py."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import lstmkit as lk
from lstmkit import engine
from lstmkit.formats import pytorch, torchfiles, zips
from lstmkit.layers import Activation, Bidirectional, LastStep, Recurrent
from lstmkit.shapes import InputError

FILES = Path(__file__).parents[1] / "fixtures" / "pytorch"
EXPECTED = np.load(FILES / "expected.npz")
ONE_LSTM = sorted({key.split(".")[0] for key in EXPECTED.files} - {"torch_version"})


def path_of(name: str) -> Path:
    if name == "bfloat16_safetensors":
        return FILES / "bfloat16.safetensors"
    return FILES / f"{name}.{'safetensors' if name == 'foreign' else 'pt'}"


def test_every_fixture_is_used():
    assert len(ONE_LSTM) == 14


@pytest.mark.parametrize("name", ONE_LSTM)
def test_it_computes_what_pytorch_did(name):
    lstm = pytorch.load(path_of(name))
    x, y, h, c = (EXPECTED[f"{name}.{key}"] for key in "xyhc")
    assert lstm.dtype == x.dtype
    found, state = lstm(x)
    # float64: rounding of 6 steps; float32: 2^-24 of numbers about 1, a few of them.
    near = 1e-12 if x.dtype == np.float64 else 2e-6
    for got, want in ((found, y), (state[0], h), (state[1], c)):
        assert got.shape == want.shape
        assert np.abs(got - want).max() < near


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("plain", {}),
        ("cell", {}),
        ("unbiased", {"bias": False}),
        ("stacked", {"num_layers": 3}),
        ("half", {"bidirectional": True}),
        (
            "everything",
            {"num_layers": 2, "bidirectional": True, "proj_size": 3, "dtype": "float64"},
        ),
    ],
)
def test_the_sizes_are_inferred(name, arguments):
    config = lk.LSTM.config_of(input_size=3, hidden_size=5, **arguments)
    assert pytorch.load(path_of(name)).config == config


def test_both_biases_are_added_in_their_own_dtype():
    arrays = safetensors.numpy.load_file(path_of("foreign"))
    lstm = pytorch.load(path_of("foreign"))
    for k in range(2):
        both = arrays[f"bias_ih_l{k}"] + arrays[f"bias_hh_l{k}"]
        assert lstm.parameters[f"bias_l{k}"].tobytes() == both.tobytes()


def test_the_arrays_are_the_callers_own():
    for name in ("plain", "foreign", "views", "half"):
        for array in pytorch.load(path_of(name)).parameters.values():
            assert array.flags.writeable
            assert array.flags.c_contiguous
            assert array.dtype.isnative


def test_a_checkpoint_is_searched():
    path = FILES / "checkpoint.pt"
    with pytest.raises(InputError, match=r"2 LSTMs.*'model_state_dict.module.encoder'.*choose one"):
        pytorch.load(path)
    encoder = pytorch.load(path, prefix="model_state_dict.module.encoder")
    assert encoder.bidirectional
    assert not pytorch.load(path, "model_state_dict.module.decoder.").bidirectional
    with pytest.raises(
        InputError, match=r"no LSTM with the prefix 'model_state_.*an LSTM with the"
    ):
        pytorch.load(path, prefix="model_state_dict.module.gate")


def test_what_else_is_in_a_checkpoint_is_listed():
    contents = pytorch.read(FILES / "checkpoint.pt")
    assert contents.model is None
    lines = "\n".join(contents.left_over)
    for words in (
        "prefix 'model_state_dict.module.encoder': LSTM(3, 5, 1, bidirectional=True)",
        "prefix 'model_state_dict.module.gate': a GRU, not an LSTM",
        "prefix 'model_state_dict.module.plain': a plain RNN, not an LSTM",
        "'model_state_dict.module.embedding.weight': float32 [7, 3]",
        "'optimizer.state.0.exp_avg'",
        "'float8': float8_e4m3fn [2]",
        "'steps': int64 [4]",
        "plain values",
    ):
        assert words in lines
    assert {("epoch", "3"), ("loss", "0.25"), ("name", "'tagger'")} <= set(contents.facts)
    assert ("best", "float32", (2,)) in contents.arrays


def test_reading_gives_the_model_and_what_is_around_it():
    contents = pytorch.read(path_of("views"))
    assert contents.format == "PyTorch state dict (zip)"
    assert isinstance(contents.model, lk.LSTM)
    assert ("prefix", "_orig_mod.rnn") in contents.facts
    assert contents.left_over == []
    assert pytorch.read(path_of("foreign")).format == "PyTorch state dict (safetensors)"


def test_a_computed_weight_is_named():
    with pytest.raises(InputError, match=r"weight_hh_l0 is missing.*remove_parametrizations"):
        pytorch.load(FILES / "weight_norm.pt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("module", r"is a pickled module \('torch.nn.modules.rnn.LSTM'\).*model.state_dict\(\)"),
        ("own_module", r"holds a '__main__.Whole', which is code.*model.state_dict\(\)"),
        ("script", r"TorchScript.*torch.jit.load\(path\).state_dict\(\)"),
        ("legacy", r"old format.*torch.save\(torch.load\(path\), path\)"),
    ],
)
def test_code_is_refused_by_name(name, words):
    path = FILES / f"{name}.pt"
    for door in (pytorch.load, pytorch.read):
        with pytest.raises(InputError, match=words) as caught:
            door(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


# --------------------------------------------------------------------- state dicts of any kind


def written(tmp_path: Path, **shapes: tuple[int, ...]) -> Path:
    path = tmp_path / "state.pt"
    arrays = {k.replace("__", "."): np.ones(v, np.float32) for k, v in shapes.items()}
    with path.open("wb") as file:
        torchfiles.write(file, arrays)
    return path


PLAIN = {
    "weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight_hh_l0": None}, "weight_hh_l0 is missing"),
        ({"weight_ih_l0": None}, "weight_ih_l0 is missing"),
        ({"bias_hh_l0": None}, "bias_hh_l0 is missing"),
        ({"weight_ih_l2": (20, 5)}, "weight_ih_l1 is missing"),
        ({"weight_ih_l0_reverse": (20, 3)}, "weight_hh_l0_reverse is missing"),
        ({"weight_ih_l0": (15, 3), "weight_hh_l0": (15, 5)}, "a GRU"),
        ({"weight_ih_l0": (5, 3), "weight_hh_l0": (5, 5)}, "a plain RNN"),
        ({"weight_ih_l0": (19, 3)}, "19 rows and hidden_size is 5 by weight_hh_l0"),
        ({"weight_hh_l0": (20,)}, "expected matrices"),
        ({"weight_hh_l0": (20, 0)}, "expected matrices"),
        ({"weight_hr_l0": (2, 5)}, r"weight_hh_l0 has shape \(20, 5\); expected \(20, 2\)"),
        ({"weight_hr_l0": (5,)}, r"expected \(proj_size, hidden_size\)"),
        ({"weight_hr_l1": (2, 5)}, "weight_ih_l1 is missing"),
        ({"bias_ih_l0": (19,)}, r"bias_ih_l0 has shape \(19,\); expected \(20,\)"),
        ({"weight_ih_l1": (20, 3), "weight_hh_l1": (20, 5)}, r"weight_ih_l1 has shape \(20, 3\)"),
        ({"weight_ih_l9999": (20, 3)}, "it has 10000 layers; expected at most 1024"),
    ],
)
def test_a_state_dict_that_is_no_lstm_is_explained(tmp_path, changes, words):
    shapes = {k: v for k, v in (PLAIN | changes).items() if v is not None}
    path = written(tmp_path, **shapes)
    with pytest.raises(InputError, match=words) as caught:
        pytorch.load(path)
    assert "\n" not in str(caught.value)
    assert pytorch.read(path).model is None


def test_a_projection_that_does_not_shrink_is_refused(tmp_path):
    shapes = PLAIN | {"weight_hr_l0": (5, 5)}
    with pytest.raises(InputError, match="proj_size is 5"):
        pytorch.load(written(tmp_path, **shapes))


def test_integers_are_no_weights(tmp_path):
    path = tmp_path / "whole.safetensors"
    arrays = {name: np.ones(shape, np.int32) for name, shape in PLAIN.items()}
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(InputError, match="bias_hh_l0 is int32"):
        pytorch.load(path)


def test_names_that_only_look_alike_are_no_lstm(tmp_path):
    shapes = {"xweight_ih_l0": (20, 3), "weight_ih_l00": (20, 3), "weight_ih_reverse": (20, 3)}
    path = written(tmp_path, **shapes)
    with pytest.raises(InputError, match="no LSTM that can be read; it holds 'xweight_ih_l0'"):
        pytorch.load(path)


def test_mixed_precision_becomes_the_widest(tmp_path):
    arrays = {name: np.full(shape, 0.1, np.float32) for name, shape in PLAIN.items()}
    arrays["weight_hh_l0"] = arrays["weight_hh_l0"].astype(np.float64)
    path = tmp_path / "mixed.pt"
    with path.open("wb") as file:
        torchfiles.write(file, arrays)
    assert pytorch.load(path).dtype == np.float64


def test_a_big_endian_file_gives_the_same(tmp_path):
    """As a big-endian machine's PyTorch writes it: "big" in byteorder, and every number turned."""
    path = tmp_path / "big.pt"
    with zipfile.ZipFile(path_of("everything")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, "<f8").astype(">f8").tobytes()
            new.writestr(name, data)
    ours, theirs = pytorch.load(path), pytorch.load(path_of("everything"))
    for name, array in theirs.parameters.items():
        assert ours.parameters[name].dtype.isnative
        assert ours.parameters[name].tobytes() == array.tobytes()


# ---------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"dtype": "float64"},
        {"num_layers": 2, "bidirectional": True, "proj_size": 2},
    ],
)
def test_what_is_saved_comes_back_bit_for_bit(tmp_path, options, suffix):
    lstm = lk.LSTM(3, 4, seed=1, **options)
    for array in lstm.parameters.values():
        array.flat[0] = -0.0
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    pytorch.save(lstm, first)
    again = pytorch.load(first)
    assert again.config == lstm.config
    for name, array in lstm.parameters.items():
        assert again.parameters[name].tobytes() == array.tobytes()
    pytorch.save(again, second)
    assert first.read_bytes() == second.read_bytes()


def test_the_bytes_are_a_whole_zip_file_aligned_as_pytorchs(tmp_path):
    path = tmp_path / "x.pt"
    pytorch.save(lk.LSTM(3, 4, seed=1), path)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert file.namelist()[:2] == ["archive/data.pkl", "archive/byteorder"]
        archive = zips.Archive(path, path.open("rb"))
        assert all(archive.place(name)[0] % 64 == 0 for name in file.namelist())
        archive.file.close()
    with path.open("rb") as opened:
        kinds = torchfiles.Checkpoint(path, opened).kinds
    assert {name: kind.shape for name, kind in kinds.items()} == {
        "weight_ih_l0": (16, 3),
        "weight_hh_l0": (16, 4),
        "bias_ih_l0": (16,),
        "bias_hh_l0": (16,),
    }


def test_a_prefix_stands_before_all_names(tmp_path):
    path = tmp_path / "x.pt"
    pytorch.save(lk.LSTM(3, 4, seed=1), path, prefix="encoder.rnn")
    assert pytorch.read(path).arrays[0][0] == "encoder.rnn.weight_ih_l0"
    assert pytorch.load(path, prefix="encoder.rnn").hidden_size == 4
    with pytest.raises(InputError, match="prefix is 'a"):
        pytorch.save(lk.LSTM(3, 4, seed=1), path, prefix="a\nb")


def test_a_chain_is_written_under_its_layers_names(tmp_path):
    model = lk.Sequential(
        {
            "embedding": lk.Embedding(7, 3, seed=0),
            "rnn": lk.LSTM(3, 4, 2, bidirectional=True, seed=1),
            "both": Bidirectional(
                Recurrent(lk.LSTM(8, 5, seed=2)), Recurrent(lk.LSTM(8, 5, seed=3), backwards=True)
            ),
            "last": LastStep(),
            "head": lk.Linear(10, 2, seed=4),
            "soft": Activation("softmax"),
        }
    )
    path = tmp_path / "x.pt"
    pytorch.save(model, path)
    arrays = {name: shape for name, _, shape in pytorch.read(path).arrays}
    assert arrays["embedding.weight"] == (7, 3)
    assert arrays["head.bias"] == (2,)
    assert arrays["both.weight_hh_l0_reverse"] == (20, 5)
    assert pytorch.load(path, "rnn").config == model.layers["rnn"].lstm.config
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    assert np.array_equal(
        pytorch.load(path, "both")(x)[0], model.layers["both"].run(x, None, None)[0]
    )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"peepholes": True}, "peepholes"),
        ({"coupled_gates": True}, "coupled_gates"),
        ({"layer_norm": True}, "layer_norm"),
        ({"cell_clip": 1.0}, "cell_clip"),
        ({"gate_clip": 1.0}, "gate_clip"),
        ({"activations": ("hard_sigmoid", "tanh", "tanh")}, "activations"),
        ({"zoneout": (0.1, 0.0)}, "zoneout"),
        ({"learn_initial_state": True}, "learn_initial_state"),
    ],
)
def test_a_variant_that_pytorch_lacks_is_refused_by_name(tmp_path, options, name):
    path = tmp_path / "x.pt"
    lstm = lk.LSTM(3, 4, seed=1, **options)
    for model, who in ((lstm, "the LSTM"), (lk.Sequential({"a": lstm}), "layer 'a'")):
        with pytest.raises(InputError, match=f"save: {who} has {name}, which nn.LSTM lacks"):
            pytorch.save(model, path)
    assert not path.exists()


def test_directions_that_pytorch_lacks_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    lstm, other = lk.LSTM(3, 4, seed=1), lk.LSTM(3, 4, bias=False, seed=1)
    turned = {"backwards": True, "turned": True}
    for layer in (
        Recurrent(lstm, backwards=True),
        Bidirectional(Recurrent(lstm), Recurrent(lstm, backwards=True), "sum"),
        Bidirectional(Recurrent(lstm), Recurrent(other, backwards=True)),
        Bidirectional(Recurrent(lstm), Recurrent(lstm, **turned)),
    ):
        with pytest.raises(InputError, match="layer 'a'"):
            pytorch.save(lk.Sequential({"a": layer}), path)
    with pytest.raises(InputError, match="model is Linear"):
        pytorch.save(lk.Linear(3, 2, seed=0), path)


def test_safetensors_are_marked_as_pytorchs(tmp_path):
    path = tmp_path / "x.safetensors"
    pytorch.save(lk.LSTM(3, 4, seed=1), path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    assert ("format", "pt") in pytorch.read(path).facts


# -------------------------------------------------------------------------------- bad bytes


def refused(path: Path) -> str:
    """Give the one line with which both doors refuse a file."""
    with pytest.raises(InputError) as caught:
        pytorch.load(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert len(line) < 4000
    return line


@pytest.mark.parametrize("name", ["plain.pt", "views.pt", "foreign.safetensors"])
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, name):
    data = (FILES / name).read_bytes()
    path = tmp_path / "x"
    for length in range(0, len(data), 23):
        path.write_bytes(data[:length])
        refused(path)


@pytest.mark.parametrize("name", ["plain.pt", "half.pt", "foreign.safetensors"])
def test_one_wrong_byte_never_ends_in_anything_else(tmp_path, name):
    data = bytearray((FILES / name).read_bytes())
    path = tmp_path / "x"
    rng = np.random.default_rng(0)
    wrong = 0
    for at in rng.integers(0, len(data), 150):
        kept, data[at] = data[at], int(rng.integers(256))
        path.write_bytes(data)
        try:
            pytorch.load(path)
        except InputError:
            wrong += 1
        data[at] = kept
    assert wrong > 20


def test_a_wrong_weight_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "x.pt"
    pytorch.save(lk.LSTM(3, 4, seed=1), path)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        at = zips.Archive(path, file).place("archive/data/0")[0]
    data[at + 5] ^= 1
    path.write_bytes(data)
    assert "the bytes of entry 'archive/data/0' are not those written" in refused(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x"
    for data, words in (
        (b"", "is not a file of PyTorch's"),
        (b"hello", "is not a file of PyTorch's"),
        (b"\x80\x04N.", "bare pickle"),
        (b"x" * 257 + b"ustar", "old format"),
        (b"PK\x03\x04", "has no end of one"),
        ((10**9).to_bytes(8, "little") + b"{", "not a whole safetensors file"),
    ):
        path.write_bytes(data)
        assert words in refused(path)
    with pytest.raises(FileNotFoundError):
        pytorch.load(tmp_path / "nothing.pt")


def zipped(**entries: bytes) -> bytes:
    """Make a zip file of ``root/NAME`` entries (a dot is written as two underscores)."""
    made = io.BytesIO()
    rows = [(f"root/{k.replace('__', '.')}", memoryview(v)) for k, v in entries.items()]
    zips.write(made, rows)
    return made.getvalue()


def test_zip_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "x"
    for data, words in (
        (zipped(hello=b""), "without a data.pkl"),
        (zipped(data__pkl=b"\x80\x02}.", byteorder=b"middle"), "byte order is 'middle'"),
        (zipped(data__pkl=b"\x80\x02}.", archive_format=b"pt2"), "exported program"),
        (zipped(data__pkl=b"\x80\x02}.", constants__pkl=b""), "TorchScript"),
        (zipped(data__pkl=b"\x80\x02}."), "it holds nothing"),
    ):
        path.write_bytes(data)
        assert words in refused(path)


def test_compressed_encrypted_and_doubled_entries_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path_of("plain")) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in entries.items():
            new.writestr(name, data)
    assert "is compressed" in refused(path)

    whole = path_of("plain").read_bytes()
    table = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[table + 8] |= 1
    path.write_bytes(encrypted)
    assert "is encrypted" in refused(path)

    rows = [(name, memoryview(data)) for name, data in entries.items()]
    with path.open("wb") as file:
        zips.write(file, [*rows, rows[-1]])
    assert "comes twice" in refused(path)

    other = whole.replace(b"plain/data/0", b"plain/data/X", 1)  # in its own place alone
    path.write_bytes(other)
    assert "has another name in its own place" in refused(path)


def test_a_zip64_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "_FULL", 100)  # as if sizes of 100 bytes were too large
    path = tmp_path / "x.pt"
    lstm = lk.LSTM(3, 4, seed=1)
    pytorch.save(lstm, path)
    monkeypatch.undo()
    data = path.read_bytes()
    assert data.count(b"PK\x06\x06") == 1
    # The short fields hold 100 then; what tells a reader of zip64 is 2^32 - 1.
    full, short = (b"\xff" * 4), (100).to_bytes(4, "little")
    start = data.index(b"PK\x01\x02")
    path.write_bytes(data[:start] + data[start:].replace(short, full))
    again = pytorch.load(path)
    assert np.array_equal(again.parameters["weight_ih_l0"], lstm.parameters["weight_ih_l0"])
    path.write_bytes(path.read_bytes().replace(b"PK\x06\x07", b"PK\x06\x00"))
    assert "zip64 record is missing" in refused(path)


def test_a_safetensors_file_with_a_hole_is_refused(tmp_path):
    path = tmp_path / "x"
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    for rows, room, words in (
        ({"a": entry}, 5, "take 4 bytes and the file has 5"),
        ({"a": entry | {"dtype": "F4"}}, 4, "has dtype 'F4'"),
        ({"a": entry | {"shape": [3]}}, 4, "another size than its shape needs"),
        ({"a": entry}, 4, "'a': bfloat16 [2]"),
    ):
        text = json.dumps(rows).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(room))
        assert words in refused(path)


# ------------------------------------------------------------------- weights left in the file


@pytest.mark.parametrize("name", ["plain", "everything", "stacked", "cell", "half", "views"])
def test_weights_left_in_the_file_give_the_same_bits(name, twin):
    kept, lstm = pytorch.load(path_of(name)), pytorch.load(path_of(name), in_file=True)
    left = [key for key, array in lstm.parameters.items() if engine.in_file(array)]
    assert bool(left) == (name not in ("half", "views"))
    x = EXPECTED[f"{name}.x"]
    for arguments in ({}, {"lengths": [2, 6]}):
        (got, got_state), (want, want_state) = (a(x, **arguments) for a in (lstm, kept))
        for one, other in zip((got, *got_state), (want, *want_state), strict=True):
            assert np.array_equal(one, other)
    for got, want in zip(lstm.trace(x), kept.trace(x), strict=True):
        assert np.array_equal(got, want)
    if not lstm.bidirectional:
        assert np.array_equal(lstm.stream(2).step(x[:, 0]), kept.stream(2).step(x[:, 0]))
    for key, array in kept.parameters.items():
        assert np.array_equal(np.asarray(lstm.parameters[key]), array)


def test_a_matrix_of_many_pieces_is_packed_whole(tmp_path, twin):
    """Units come 64 at a time here: 200 are three pieces and a rest, with a projection."""
    for suffix in ("pt", "safetensors"):
        path = tmp_path / f"x.{suffix}"
        lstm = lk.LSTM(700, 200, 2, bidirectional=True, proj_size=150, seed=1)
        pytorch.save(lstm, path)
        x = np.random.default_rng(0).normal(size=(3, 4, 700)).astype(np.float32)
        assert np.array_equal(pytorch.load(path, in_file=True)(x)[0], lstm(x)[0])


def test_weights_left_in_the_file_are_for_inference_and_can_be_saved(tmp_path):
    lstm = lk.load(path_of("plain"), in_file=True)
    x = EXPECTED["plain.x"]
    with pytest.raises(InputError, match="load them without in_file"):
        lstm.forward(x)
    lstm.save(tmp_path / "x.safetensors")
    assert np.array_equal(lk.load(tmp_path / "x.safetensors")(x)[0], lstm(x)[0])
    with pytest.raises(InputError, match="expected it only with a state dict"):
        lk.load(tmp_path / "x.safetensors", in_file=True)


def test_a_file_that_changes_under_its_lstm_is_noticed(tmp_path):
    path = tmp_path / "x.pt"
    pytorch.save(lk.LSTM(3, 4, seed=1), path)
    x = np.ones((1, 2, 3), np.float32)
    lstm = pytorch.load(path, in_file=True)
    before = lstm(x)[0]
    pytorch.save(lk.LSTM(3, 4, seed=2), path)  # takes its place: the old one is still open
    assert np.array_equal(lstm(x)[0], before)
    lstm = pytorch.load(path, in_file=True)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="has changed; load it again"):
        lstm(x)


def test_a_wrong_weight_is_found_before_it_is_left_in_the_file(tmp_path):
    path = tmp_path / "x.pt"
    pytorch.save(lk.LSTM(3, 4, seed=1), path)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        data[zips.Archive(path, file).place("archive/data/0")[0]] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="are not those written"):
        pytorch.load(path, in_file=True)


# ----------------------------------------------------------------------- with nothing else there


def test_a_checkpoint_runs_where_there_is_only_numpy_and_safetensors():
    script = Path(__file__).with_name("alone.py")  # `nox -s frameworkless` runs it, too
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run with lstmkit, numpy, safetensors\n"


def test_what_trains_is_loaded_when_it_is_asked_for():
    code = (
        "import sys, numpy\n"
        "brought = set(sys.modules)\n"  # by an old NumPy, hashlib
        "import lstmkit\n"
        "late = ('lstmkit.training', 'lstmkit.tasks', 'lstmkit.cli', 'lstmkit.lesson', 'hashlib')\n"
        "assert not [name for name in late if name in {*sys.modules} - brought]\n"
        "from lstmkit import LanguageModel, TrainingDiverged\n"
        "assert 'lstmkit.tasks' in sys.modules\n"
        "from lstmkit import *\n"
        "try: lstmkit.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "module 'lstmkit' has no attribute 'nothing'\n", done.stderr
