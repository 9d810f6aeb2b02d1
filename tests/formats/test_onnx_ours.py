"""ONNX files of ours come back as the model that was written, and what they say is not believed.

The files are from tests/fixtures/make_onnx_ours.py; reading needs no onnx package.
"""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.formats import onnx
from lstmkit.formats.onnx.protobuf import Reader
from lstmkit.shapes import InputError

FOLDER = Path(__file__).parents[1] / "fixtures" / "onnx" / "ours"
NAMES = ("decomposed", "node")
REFUSED = "the file's lstmkit entry is not used: "


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def block(field, data):
    data = data.encode() if isinstance(data, str) else bytes(data)
    return varint(field << 3 | 2) + varint(len(data)) + data


def taken_apart(name):
    """Return the fields of a file, without its metadata, and the entry that was there."""
    fields, entries = [], []
    for number, value in Reader(name).fields(memoryview((FOLDER / f"{name}.onnx").read_bytes())):
        if number == 14:
            pair = dict(Reader(name).fields(value))
            assert bytes(pair[1]) == b"lstmkit"
            entries.append(str(pair[2], "utf-8"))
        else:
            fields.append((number, value))
    (entry,) = entries
    return fields, json.loads(entry)


def put_together(fields, *entries):
    parts = [
        varint(number << 3) + varint(value) if isinstance(value, int) else block(number, value)
        for number, value in fields
    ]
    return b"".join([*parts, *(block(14, block(1, "lstmkit") + block(2, one)) for one in entries)])


def read(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    return onnx.read(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_comes_back(name):
    model = lk.load(FOLDER / f"{name}.safetensors")
    contents = onnx.read(FOLDER / f"{name}.onnx")
    assert contents.left_over == []
    assert type(contents.model) is type(model)
    assert contents.model.config == model.config
    assert list(contents.model.parameters) == list(model.parameters)
    for key, array in model.parameters.items():
        assert contents.model.parameters[key].tobytes() == array.tobytes(), key
        assert contents.model.parameters[key].flags.writeable
    x = np.random.default_rng(0).standard_normal((2, 5, model.input_size)).astype(model.dtype)
    assert contents.model(x)[0].tobytes() == model(x)[0].tobytes()
    facts = dict(contents.facts)
    assert facts["layers"].startswith("as the lstmkit entry says")
    assert facts.get("state", "").startswith("h_0_one, c_0_one") == (name == "decomposed")


@pytest.mark.parametrize("name", NAMES)
def test_the_arrays_that_are_shown_have_names_and_axes(name):
    assert all(array and shape for array, _, shape in onnx.read(FOLDER / f"{name}.onnx").arrays)


def test_no_weight_is_in_the_file_twice():
    for name in NAMES:
        _, entry = taken_apart(name)
        absent = ["one.c_0_l0", "one.h_0_l0"] if name == "decomposed" else []  # the caller gives
        assert sorted(entry["absent"]) == absent
        model = lk.load(FOLDER / f"{name}.safetensors")
        assert {*entry["parameters"], *absent} == set(model.parameters)


def test_without_the_entry_the_graph_alone_is_read(tmp_path):
    fields, _ = taken_apart("node")
    contents = read(tmp_path, put_together(fields))
    assert isinstance(contents.model, lk.LSTM)
    assert "layers" not in dict(contents.facts)
    fields, _ = taken_apart("decomposed")
    contents = read(tmp_path, put_together(fields))
    assert contents.model is None
    words = " ".join(contents.left_over)
    assert "Scan node 'one/Scan': not understood" in words
    for one in ("index", "NoneType", "range", "unpack", "error"):
        assert one not in words


# -------------------------------------------------------------------------- entries that are false


def put(value, *path):
    """Return what changes one value of an entry."""

    def change(entry):
        *way, last = path
        for key in way:
            entry = entry[key]
        entry[last] = value

    return change


def drop(*path):
    def change(entry):
        *way, last = path
        for key in way:
            entry = entry[key]
        del entry[last]

    return change


LSTM = ("config", "layers", 1, 2, "lstm")
WHERE = ("parameters", "one.weight_ih_l0")
FALSE = {
    "a newer format": (put(2, "format"), "its format is 2; this lstmkit reads format 1"),
    "a format that is true": (put(True, "format"), "its format is True"),
    "no format": (drop("format"), "its format is None"),
    "no config": (drop("config"), "it is not that of format 1"),
    "something more": (put(1, "more"), "it is not that of format 1"),
    "another kind": (put("Pickle", "kind"), "its kind is Pickle; expected"),
    "a kind of another model": (put("LSTM", "kind"), "lstm: "),
    "a config that is a list": (put([], "config"), "not three objects"),
    "another dtype": (put("float16", "config", "dtype"), "no dtype float32 or float64"),
    "a dtype of other arrays": (put("float32", "config", "dtype"), "is float64 and the model f"),
    "an array that is not there": (put("W", *WHERE, 0), "which the graph has not"),
    "no place": (put("W", *WHERE), "it says no array, layout and direction"),
    "a direction that is true": (put(True, *WHERE, 2), "it says no array, layout and direction"),
    "a direction too many": (put(1, *WHERE, 2), "cannot lie in 'one/weight_ih.0' as is said"),
    "a direction below 0": (put(-1, *WHERE, 2), "cannot lie in"),
    "a direction without end": (put(10**30, *WHERE, 2), "cannot lie in"),
    "an unknown layout": (put("eval", *WHERE, 1), "cannot lie in"),
    "a layout of a node": (put("gates", *WHERE, 1), "has shape (12,); expected (12, 2)"),
    "a layout of more axes": (
        put("gates", "parameters", "one.bias_l0", 1),
        "'one.bias_l0' cannot lie in",
    ),
    "a layout of other axes": (put("row", *WHERE, 1), "cannot lie in"),
    "another layout": (put("same", *WHERE, 1), "layer 'one'"),
    "one place for two": (
        put(["one/weight_ih.0", "turned", 0], "parameters", "one.weight_hh_l0"),
        "is said to be where another parameter is",
    ),
    "a parameter too few": (drop(*WHERE), "missing ['weight_ih_l0']"),
    "a parameter too many": (put("", "absent", "one.more"), "unknown ['more']"),
    "numbers that are none": (put("xyz", "absent", "one.h_0_l0"), "of 'one.h_0_l0' are damaged"),
    "numbers as a list": (put([1], "absent", "one.h_0_l0"), "of 'one.h_0_l0' are damaged"),
    "half a number": (put("0000", "absent", "one.h_0_l0"), "of 'one.h_0_l0' are damaged"),
    "too many numbers": (put("00" * 80, "absent", "one.h_0_l0"), "h_0_l0"),
    "an unknown option": (put(1, *LSTM, "more"), "layer 'one'"),
    "an option that is missing": (drop(*LSTM, "cell_clip"), "layer 'one'"),
    "a size of a trillion": (put(10**12, *LSTM, "hidden_size"), "layer 'one'"),
    "a trillion layers": (put(10**12, *LSTM, "num_layers"), "layer 'one'"),
    "an option of another type": (put({}, *LSTM, "activations"), "layer 'one'"),
    "a layer that is no list": (put("", "config", "layers", 1), "a layer is ''"),
    "other zoneout": (put([0.1, 0.3], *LSTM, "zoneout"), "does not give what the graph gives"),
    "another clip": (put(0.7, *LSTM, "cell_clip"), "does not give what the graph gives"),
    "another mask": (put(1, "config", "layers", 0, 2, "value"), "does not give what the graph"),
    "steps in another order": (
        put(False, "config", "layers", 1, 2, "turned"),
        "does not give what the graph gives",
    ),
    "a layer too few": (drop("config", "layers", 5), "does not give what the graph gives"),
    "no last step": (drop("config", "layers", 3), "in another shape than the graph"),
    "gates in another order": (
        lambda entry: put(entry["parameters"]["both.forward.bias_l0"], *WHERE)(entry),
        "is said to be where another parameter is",
    ),
    "directions exchanged": (
        lambda entry: entry["parameters"].update(
            {
                "one.norm_ih_gain_l0": entry["parameters"]["one.norm_hh_gain_l0"],
                "one.norm_hh_gain_l0": entry["parameters"]["one.norm_ih_gain_l0"],
            }
        ),
        "does not give what the graph gives",
    ),
}


def refusal(tmp_path, data):
    """Read a file whose entry is not used: the line that says so."""
    start = time.process_time()
    contents = read(tmp_path, data)
    assert time.process_time() - start < 1
    assert contents.model is None or isinstance(contents.model, lk.LSTM)
    line = contents.left_over[0]
    assert line.startswith(REFUSED)
    assert sum(one.startswith(REFUSED) for one in contents.left_over) == 1
    return line


@pytest.mark.parametrize("name", FALSE)
def test_what_a_file_says_is_not_believed(name, tmp_path):
    fields, entry = taken_apart("decomposed")
    change, words = FALSE[name]
    change(entry)
    assert words in refusal(tmp_path, put_together(fields, json.dumps(entry)))


def test_a_file_of_which_nothing_is_read_says_why_in_a_line(tmp_path):
    fields, _ = taken_apart("decomposed")
    (tmp_path / "m.onnx").write_bytes(put_together(fields, "[]"))
    words = (
        "m.onnx' has no LSTM that can be read: the file's lstmkit entry is not used: it is not a"
    )
    with pytest.raises(InputError, match=words) as caught:
        onnx.load(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError, KeyError, OverflowError, RecursionError])
def test_a_config_that_nobody_thought_of_is_refused(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error("whatever")

    fields, entry = taken_apart("decomposed")
    monkeypatch.setattr(lk.Sequential, "from_parameters", fail)
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert words == f"{REFUSED}its config cannot be used"


LAYOUTS = {
    "weight_ih_l0": "coupled_gates",
    "bias_l0": "coupled_bias",
    "peephole_l0": "coupled_peepholes",
    "h_0_l0": "row",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_file_says_of_an_lstm_node_is_not_believed(name, tmp_path):
    fields, entry = taken_apart("node")
    places = entry["parameters"]
    assert places[name][1:] == [LAYOUTS[name], 0]
    assert places[f"{name}_reverse"][1:] == [LAYOUTS[name], 1]
    other = f"{name}_reverse"
    places[name], places[other] = places[other], places[name]
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "does not give what the graph gives" in words
    contents = onnx.read(tmp_path / "m.onnx")  # by the graph alone
    model = lk.load(FOLDER / "node.safetensors")
    assert contents.model.parameters[name].tobytes() == model.parameters[name].tobytes()


@pytest.mark.parametrize("direction", [-1, 2, 10**30])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_direction_that_an_lstm_node_has_not(name, direction, tmp_path):
    fields, entry = taken_apart("node")
    entry["parameters"][name][2] = direction
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert f"{name!r} cannot lie in" in words


HOSTILE = {
    "text": ("an LSTM, I think", "it is not proper JSON"),
    "a list": ("[]", "it is not a JSON object"),
    "a name twice": ('{"format": 1, "format": 1}', "a name comes twice"),
    "nan": ('{"format": NaN}', "NaN is not JSON"),
    "deep": ("[" * 100_000, "it has more parts than one needs"),
    # How deep JSON may be is up to the version of Python.
    "deep enough": ('{"a":' * 4000 + "1" + "}" * 4000, "not proper JSON|its format is None"),
    "a million parts": ('{"format": [' + "[]," * 40_000 + "1]}", "more parts"),
    "a long text that is no ASCII": (
        f'{{"a": "{"x" * 3_000_000}\\ud83d\\ude00"}}',
        "more than one",
    ),
    "a number without end": ('{"format": ' + "9" * 100_000 + "}", "it is not proper JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_entry_may_be_any_text(name, tmp_path):
    fields, _ = taken_apart("node")
    text, words = HOSTILE[name]
    data = put_together(fields, text)
    assert re.search(words, refusal(tmp_path, data))
    tracemalloc.start()
    try:
        onnx.read(tmp_path / "m.onnx")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + 2**24
    finally:
        tracemalloc.stop()


def test_there_is_one_entry(tmp_path):
    fields, entry = taken_apart("node")
    text = json.dumps(entry)
    assert "there are several" in refusal(tmp_path, put_together(fields, text, text))


def changed_graph(fields, change):
    return [(number, change(bytes(value)) if number == 7 else value) for number, value in fields]


def test_a_graph_that_computes_something_else_is_not_the_entrys(tmp_path):
    fields, entry = taken_apart("decomposed")
    fields = changed_graph(fields, lambda graph: graph.replace(b"\x22\x04Tanh", b"\x22\x04Relu", 1))
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "does not give what the graph gives" in words


def test_a_graph_with_more_inputs_or_outputs_is_not_the_entrys(tmp_path):
    fields, entry = taken_apart("node")
    inputs = changed_graph(fields, lambda graph: graph + block(11, block(1, "more")))
    words = refusal(tmp_path, put_together(inputs, json.dumps(entry)))
    assert "the graph's inputs are x, lengths, more" in words
    outputs = changed_graph(fields, lambda graph: graph + block(12, block(1, "x")))
    words = refusal(tmp_path, put_together(outputs, json.dumps(entry)))
    assert "the graph has 2 outputs and its model 1" in words


def test_other_weights_in_the_graph_are_the_models(tmp_path):
    # Who changes the arrays of a file, and not the graph, has another model of the same form.
    fields, entry = taken_apart("node")
    model = lk.load(FOLDER / "node.safetensors")
    row = model.parameters["h_0_l0"]
    fields = changed_graph(fields, lambda g: g.replace(row.tobytes(), (2 * row).tobytes()))
    contents = read(tmp_path, put_together(fields, json.dumps(entry)))
    assert contents.left_over == []
    assert (contents.model.parameters["h_0_l0"] == 2 * row).all()


def node(op, inputs, outputs, *attributes):
    """Return a node as it stands in a graph."""
    names = [*(block(1, name) for name in inputs), *(block(2, name) for name in outputs)]
    return block(1, b"".join([*names, block(4, op), *(block(5, one) for one in attributes)]))


def numbers(name, *values, size=8):
    """Return whole numbers as they stand in a graph."""
    code, data = {8: 7, 4: 6}[size], b"".join(value.to_bytes(size, "little") for value in values)
    shape = varint(1 << 3) + varint(len(values))
    return block(5, shape + varint(2 << 3) + varint(code) + block(8, name) + block(9, data))


def test_lengths_that_the_graph_passes_over_are_seen(tmp_path):
    fields, entry = taken_apart("node")
    more = node("Max", ["lengths", "three"], ["longest"]) + numbers("three", 3, size=4)
    fields = changed_graph(
        fields, lambda g: more + g.replace(block(1, "lengths"), block(1, "longest"), 1)
    )
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "does not give what the graph gives" in words


def test_a_graph_that_grows_without_end_is_ended(tmp_path):
    fields, entry = taken_apart("node")
    more = node("Tile", ["a", "b"], ["c"]) + numbers("a", 1) + numbers("b", 2**40)
    fields = changed_graph(fields, lambda graph: graph + more)
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "larger than the limit allows" in words


def test_a_graph_of_endless_work_is_ended(tmp_path):
    fields, entry = taken_apart("node")
    shape = varint(1 << 3) + varint(300) + varint(1 << 3) + varint(300)
    wide = shape + varint(2 << 3) + varint(1) + block(8, "wide") + block(9, bytes(360_000))
    more = node("ReduceMax", ["wide"], ["top"]) * 3000 + block(5, wide)
    fields = changed_graph(fields, lambda graph: graph + more)
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "more work than the limit allows" in words


def test_a_graph_without_end_is_ended(tmp_path):
    """A loop that the entry's model has not, of 2^62 turns."""
    body = node("Identity", ["go"], ["on"])
    body += b"".join(block(11, block(1, name)) for name in ("turn", "go"))
    body += block(12, block(1, "on"))
    attribute = block(1, "body") + block(6, body) + varint(20 << 3) + varint(5)
    loop = node("Loop", ["many", ""], [], attribute) + numbers("many", 2**62)
    fields, entry = taken_apart("node")
    fields = changed_graph(fields, lambda graph: graph + loop)
    words = refusal(tmp_path, put_together(fields, json.dumps(entry)))
    assert "its loops take more than" in words


def test_every_changed_byte_of_the_entry_is_survived(tmp_path):
    data = (FOLDER / "node.onnx").read_bytes()
    start = data.index(b'{"absent"')
    rng = np.random.default_rng(0)
    used = 0
    for place in range(start, len(data) - 20, 13):
        changed = bytearray(data)
        changed[place] = rng.integers(32, 127)
        contents = read(tmp_path, changed)
        used += contents.left_over == []
        assert contents.model is not None
    assert used < 20  # of rates of dropout and the like, which do nothing in use
