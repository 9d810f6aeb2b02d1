"""Keras's files: read, refused, survived. None of it needs Keras or h5py."""

import contextlib
import json
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lstmkit.formats import keras
from lstmkit.formats.keras import archive, config, hdf5
from lstmkit.shapes import InputError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "keras"


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURES / "expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("file", "of", "x", "form"),
    [
        ("keras3.keras", "keras3", "tokens", "Keras (.keras)"),
        ("keras3.h5", "keras3", "tokens", "Keras whole model (.h5)"),
        ("keras1.h5", "keras1", "tokens", "Keras whole model (.h5)"),
        ("keras2.h5", "keras2", "numbers", "Keras whole model (.h5)"),
        ("tf_keras.h5", "tf_keras", "numbers", "Keras whole model (.h5)"),
    ],
)
def test_a_model_predicts_what_keras_does(twin, expected, file, of, x, form):
    contents = keras.read(FIXTURES / file)
    assert (contents.format, contents.left_over) == (form, [])
    y, _ = contents.model(expected[x])
    np.testing.assert_allclose(y, expected[of], rtol=0, atol=1e-6)


def test_a_file_says_what_is_in_it():
    contents = keras.read(FIXTURES / "keras3.keras")
    facts = dict(contents.facts)
    assert facts["model"] == "Sequential 'fixture'"
    assert (facts["keras_version"], facts["dtype"]) == ("3.15.1", "float32")
    assert ("layers/lstm/cell/vars/0", "float32", (6, 20)) in contents.arrays
    assert len(contents.arrays) == 12
    layers = contents.model.layers
    assert list(layers) == ["words_mask", "words", "both", "last", "out", "out_activation"]
    assert layers["last"].lstm.cells[0].activations[0] == ("hard_sigmoid", 1 / 6, 0.5)


def test_weights_alone_say_what_was_assumed():
    contents = keras.read(FIXTURES / "keras3.weights.h5")
    assert "tanh and sigmoid in every LSTM" in dict(contents.facts)["assumed"]
    whole = keras.load(FIXTURES / "keras3.keras").parameters
    assert contents.model.parameters.keys() == whole.keys()
    for name, array in contents.model.parameters.items():
        np.testing.assert_array_equal(array, whole[name])


# ------------------------------------------------------------------------------------- the config


def functional(*layers, first="x", last="z"):
    return {
        "class_name": "Functional",
        "config": {
            "layers": [
                {"class_name": kind, "config": {"name": name}, "name": name, "inbound_nodes": nodes}
                for kind, name, nodes in layers
            ],
            "input_layers": [[first, 0, 0]],
            "output_layers": [[last, 0, 0]],
        },
    }


def test_paths_count_the_classes_and_do_not_know_the_names():
    layers = [
        {"class_name": kind, "config": {"name": name}}
        for kind, name in [("LSTM", "b"), ("Dense", "c"), ("LSTM", "a"), ("Dropout", "d")]
    ]
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": layers}}
    model = {"class_name": "Sequential", "config": {"layers": [*layers, inner]}}
    paths = [node.path for node in config.chain(model)]
    assert paths[:3] == ["layers/lstm", "layers/dense", "layers/lstm_1"]
    assert paths[3:] == [f"layers/sequential/{path}" for path in paths[:3]]
    assert [node.top for node in config.chain(model)] == ["b", "c", "a", "inner", "inner", "inner"]


def test_a_functional_model_is_put_in_order():
    model = functional(
        ("Dense", "z", [[["y", 0, 0, {}]]]),
        ("InputLayer", "x", []),
        ("LSTM", "y", [[["x", 0, 0, {}]]]),
    )
    assert [node.name for node in config.chain(model)] == ["y", "z"]


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([("LSTM", "z", [[["x", 0, 0, {}], ["x", 0, 0, {}]]])], "takes 2 inputs"),
        ([("LSTM", "y", [[["x", 0, 0, {}]]]), ("Dense", "z", [[["x", 0, 0, {}]]])], "goes to"),
        ([("LSTM", "z", [[["x", 0, 0, {}]], [["x", 0, 0, {}]]])], "used 2 times"),
        ([("LSTM", "z", [[["x", 0, 1, {}]]])], "a state of 'x'"),
        ([("LSTM", "z", [[["x", 0, 0, {"initial_state": 1}]]])], "called with 'initial_state'"),
        ([("LSTM", "z", [[["w", 0, 0, {}]]])], "not one chain"),
        ([("LSTM", "x", [[["z", 0, 0, {}]]]), ("LSTM", "z", [[["x", 0, 0, {}]]])], "two layers"),
    ],
)
def test_what_is_no_chain_is_refused(layers, reason):
    with pytest.raises(config.Refused, match=reason):
        config.chain(functional(("InputLayer", "x", []), *layers))


# ------------------------------------------------------------------------------- altered models


def altered(tmp_path, change):
    """Change the config of the fixture and write it again."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FIXTURES / "keras3.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                model = json.loads(data)
                change({layer["config"]["name"]: layer for layer in model["config"]["layers"]})
                data = json.dumps(model).encode()
            new.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("layer", "changes", "reason"),
    [
        ("last", {"activation": "gelu"}, "layer 'last' has the activation 'gelu'"),
        ("last", {"activation": "softmax"}, "'softmax', which a cell cannot have"),
        ("last", {"units": 4}, "4 units and arrays of the shapes (6, 20)"),
        ("last", {"zero_output_for_mask": True}, "zero_output_for_mask without return_sequences"),
        ("last", {"time_major": True}, "time as its first axis"),
        ("both", {"merge_mode": None}, "layer 'both' has merge_mode=None"),
        ("both", {"backward_layer": {"class_name": "GRU", "config": {}}}, "around 'GRU'"),
        ("out", {"units": 3}, "layer 'out' has an array of shape (5, 2), unlike its config"),
        (
            "out",
            {
                "activation": {
                    "module": "builtins",
                    "class_name": "function",
                    "config": "evil",
                    "registered_name": "function",
                }
            },
            "layer 'out' has the activation 'evil'",
        ),
        (
            "out",
            {"activation": {"module": "os", "class_name": "system", "config": "true"}},
            "activation of its author's own, 'system'",
        ),
        ("words", {"input_dim": 8}, "layer 'words' has an array of shape (7, 4)"),
    ],
)
def test_an_option_without_counterpart_is_named(tmp_path, layer, changes, reason):
    path = altered(tmp_path, lambda layers: layers[layer]["config"].update(changes))
    contents = keras.read(path)
    assert contents.model is None
    assert reason in "; ".join(contents.left_over)
    with pytest.raises(InputError, match="holds no model that runs here"):
        keras.load(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"class_name": "Lambda"}, "layer 'out' is a 'Lambda', which is not among those known"),
        ({"module": "mine.layers"}, "a class of its author's own, 'Dense' of 'mine.layers'"),
        ({"registered_name": "mine>Dense"}, "a class of its author's own, 'Dense'"),
    ],
)
def test_a_foreign_layer_is_named_and_nothing_of_it_is_run(tmp_path, changes, reason):
    contents = keras.read(altered(tmp_path, lambda layers: layers["out"].update(changes)))
    assert contents.model is None
    assert reason in "; ".join(contents.left_over)
    assert len(contents.arrays) == 12


def test_what_makes_no_difference_here_is_noted(tmp_path):
    def change(layers):
        layers["last"]["config"].update(stateful=True, dtype="mixed_float16", seed=3)

    facts = keras.read(altered(tmp_path, change)).facts
    assert ("last", "computes in mixed_float16 in Keras, in float32 here") in facts
    assert any(name == "last" and "stateful" in fact for name, fact in facts)


# ------------------------------------------------------------------------------ damaged and hostile


def archived(tmp_path, **members):
    """Write the fixture again with other members; None leaves one out."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FIXTURES / "keras3.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = members.get(name.split(".")[0], old.read(name))
            if data is not None:
                new.writestr(name, data, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"model": None}, "it has no model.weights.h5; it holds 'metadata.json', 'config.json'"),
        ({"config": b"{"}, "config.json is not proper JSON"),
        ({"config": b"[]"}, "config.json is not a JSON object"),
        ({"config": b'{"a": 1, "a": 2}'}, "a name comes twice"),
        ({"config": b"[" * 8_000}, "config.json is not proper JSON"),
        ({"config": b"[" * 70_000}, "config.json is too large"),
        ({"config": b" " * 2**19}, "config.json would take 524288 bytes"),
        ({"config": b'{"class_name": "Sequential"}'}, "config is not one of Keras's"),
        ({"model": bytes(4_000_000)}, "model.weights.h5 would take 4000000 bytes"),
        ({"model": b"no"}, "it does not begin as an HDF5 file"),
    ],
)
def test_an_archive_with_another_member_in_it_is_refused(tmp_path, members, reason):
    with pytest.raises(InputError, match="cannot be read") as caught:
        keras.load(archived(tmp_path, **members))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"x" * 100])
def test_what_is_no_file_of_kerass_is_refused(tmp_path, data):
    (tmp_path / "model.keras").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        keras.read(tmp_path / "model.keras")


def test_a_member_that_comes_twice_is_refused(tmp_path):
    path = archived(tmp_path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", "{}")
    with pytest.raises(InputError, match="comes twice"):
        keras.read(path)


def replaced(data, old, new):
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


@pytest.fixture(scope="module")
def whole():
    return (FIXTURES / "keras3.h5").read_bytes()


def test_soft_links_and_objects_with_two_names_are_refused(whole):
    table = whole.index(b"SNOD")
    entry = table + 8
    soft = bytearray(whole)
    soft[entry + 16] = 2
    with pytest.raises(hdf5.Damaged, match="is a soft link"):
        hdf5.read(bytes(soft))
    loop = bytearray(whole)
    root = int.from_bytes(whole[64:72], "little")
    loop[entry + 8 : entry + 16] = root.to_bytes(8, "little")
    with pytest.raises(hdf5.Damaged, match="is a second name of something"):
        hdf5.read(bytes(loop))


def layout_of(whole, shape):
    """Find where the layout message of a dataset of this shape has its numbers."""
    dims = b"".join(size.to_bytes(8, "little") for size in shape)
    place = whole.index(b"\x01" + bytes([len(shape)]) + b"\x01\0\0\0\0\0" + dims)
    return place, whole.index(b"\x03\x01", place + 8 + 16 * len(shape))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (1, b"\x02", "is stored in chunks"),
        (1, b"\x03", "virtual array"),
        (2, (2**40).to_bytes(8, "little"), "points past its end"),
        (10, (2**40).to_bytes(8, "little"), "another size than its shape needs"),
        (2, b"\xff" * 8, "another size than its shape needs"),
    ],
)
def test_arrays_that_do_not_lie_in_the_file_are_refused(whole, offset, value, reason):
    _, layout = layout_of(whole, (7, 4))
    data = bytearray(whole)
    data[layout + offset : layout + offset + len(value)] = value
    with pytest.raises(hdf5.Damaged, match=reason):
        hdf5.read(bytes(data))


def test_a_shape_that_claims_more_than_the_file_is_refused(whole):
    place, layout = layout_of(whole, (7, 4))
    data = bytearray(whole)
    data[place + 8 : place + 16] = (2**60).to_bytes(8, "little")
    with pytest.raises(hdf5.Damaged, match="another size than its shape needs"):
        hdf5.read(bytes(data))
    data[layout + 10 : layout + 18] = (2**64 - 1).to_bytes(8, "little")
    with pytest.raises(hdf5.Damaged, match=r"another size|past its end"):
        hdf5.read(bytes(data))


def test_any_truncation_is_one_clear_error(tmp_path, whole):
    path = tmp_path / "model.h5"
    for size in range(0, len(whole), 997):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError) as caught:
            keras.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["keras3.h5", "keras3.weights.h5", "keras3.keras", "keras2.h5"])
def test_any_altered_bytes_are_survived(tmp_path, file):
    """A few hundred of what the fuzzers try by the hundred thousand."""
    original = (FIXTURES / file).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "model"
    errors = []
    for _ in range(60):
        data = bytearray(original)
        for place in rng.integers(0, len(data), rng.choice([1, 4, 30])):
            data[place] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(data)
        try:
            keras.read(path)
        except InputError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert not any("\n" in error for error in errors)


def test_the_limits_leave_room_for_large_models():
    layer = {"class_name": "LSTM", "config": {f"option {k}": None for k in range(60)}}
    data = json.dumps({"layers": [layer] * 500}).encode()
    assert len(archive._json("config", data, 3 * len(data))["layers"]) == 500


# ---------------------------------------------------------------------------------- made to hurt


def test_a_file_that_asks_for_much_gets_little(tmp_path):
    """The peak stays below four times the file, its weights and what a small model takes."""
    layers = [{"class_name": "Activation", "config": {"activation": "relu", "name": "a"}}] * 2000
    crowd = {"class_name": "Sequential", "config": {"layers": layers}}
    files = {
        "layers": archived(tmp_path, config=json.dumps(crowd).encode()).read_bytes(),
        "lists": archived(tmp_path, config=b"[" + b"[]," * 4_000 + b"[]]").read_bytes(),
        "zeros": archived(tmp_path, model=bytes(2**18)).read_bytes(),
        "deep": archived(tmp_path, config=b'{"a":' * 8_000 + b"1" + b"}" * 8_000).read_bytes(),
        "padded": (FIXTURES / "keras3.h5").read_bytes() + bytes(2**20),
    }
    path = tmp_path / "model"
    for name, data in files.items():
        path.write_bytes(data)
        tracemalloc.start()
        start = time.perf_counter()
        with contextlib.suppress(InputError):
            keras.read(path)
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * len(data) + 2**20, name
        assert seconds < 3, name  # of a machine that does other things, and traces


def repeating(count):
    """Write an object whose header goes on in the same block ``count`` times."""
    names = b"a" * 60_000
    attribute = b"\x01\0\x08\0\x08\0\x10\0" + b"x".ljust(8, b"\0")
    attribute += b"\x13\0\0\0\x01\0\0\0"  # text of one byte
    attribute += b"\x01\x01\0\0\0\0\0\0" + len(names).to_bytes(8, "little") + names
    block = b"\x0c\0" + len(attribute).to_bytes(2, "little") + bytes(4) + attribute
    root, place = 96, 96 + 16 + 24 * count
    more = b"\x10\0\x10\0" + bytes(4) + place.to_bytes(8, "little")
    more += len(block).to_bytes(8, "little")
    header = b"\x01\0\x01\0\x01\0\0\0" + (24 * count).to_bytes(4, "little") + bytes(4)
    end = place + len(block)
    start = hdf5.SIGNATURE + b"\0\0\0\0\0\x08\x08\0" + bytes(8)
    start += bytes(8) + b"\xff" * 8 + end.to_bytes(8, "little") + b"\xff" * 8
    start += bytes(8) + root.to_bytes(8, "little") + bytes(24)
    return start + header + more * count + block


def test_parts_that_point_at_one_place_again_and_again_are_given_up():
    start = time.perf_counter()
    with pytest.raises(hdf5.Damaged, match="again and again"):
        hdf5.read(repeating(2000))
    assert time.perf_counter() - start < 1


def test_arrays_that_share_their_place_are_given_up(whole):
    reader = hdf5._Reader(whole)
    reader.room = 500  # as if the arrays before had taken the rest
    with pytest.raises(hdf5.Damaged, match="another size than its shape needs"):
        reader.root()
