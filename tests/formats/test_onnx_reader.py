"""ONNX files to models: what PyTorch's exporters write, and files that are damaged or hostile.

The files and their outputs are from torch 2.13: tests/fixtures/make_onnx_exports.py.
Reading needs no onnx package.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.formats import onnx
from lstmkit.formats.onnx.graph import File, Node
from lstmkit.formats.onnx.rules import RULES
from lstmkit.formats.onnx.walk import FIXED, GIVEN, Value, Walk
from lstmkit.shapes import InputError

FOLDER = Path(__file__).parents[1] / "fixtures" / "onnx"
FILES = sorted(path.name for path in FOLDER.glob("*.onnx"))
EXPECTED = {
    "plain": "LSTM(3, 4, num_layers=1)",
    "stacked": "LSTM(3, 4, num_layers=2)",
    "both": "LSTM(3, 4, num_layers=2, bidirectional)",
}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def test_there_are_files_of_both_exporters():
    assert len(FILES) == 13
    assert sum("dynamo" in name for name in FILES) == 4


@pytest.mark.parametrize("file", FILES)
def test_the_model_gives_what_torch_gave(file, expected):
    name = file.rsplit("_", 1)[0]
    contents = onnx.read(FOLDER / file)
    assert contents.left_over == []
    x, y = expected[f"{name}.x"], expected[f"{name}.y"]
    if name == "plain":  # time first; ours is batch first
        assert ("reads", "x (time first; here batch first)") in contents.facts
        x, y = x.swapaxes(0, 1), y.swapaxes(0, 1)
    got = contents.model(x)[0]
    assert got.shape == y.shape
    assert np.abs(got - y).max() < 1e-6
    if name in ("plain", "stacked", "both"):
        assert isinstance(contents.model, lk.LSTM)
    else:
        assert isinstance(contents.model, lk.Sequential)


def test_what_a_file_says_of_itself():
    contents = onnx.read(FOLDER / "steps_legacy.onnx")
    facts = dict(contents.facts)
    assert contents.format == "ONNX"
    assert facts["producer"].startswith("pytorch 2.13")
    assert int(facts["opset"]) >= 17
    assert facts["input"] == "x int64 (batch, time)"
    names = [name for name, _, _ in contents.arrays]
    assert "embedding.weight" in names
    assert repr(contents.model) == (
        "Sequential(embedding: Embedding(11, 4), lstm: LSTM(4, 5, num_layers=2, bidirectional), "
        "activation: Activation('relu'), linear: Linear(10, 3), "
        "activation_2: Activation('log_softmax'))"
    )


def test_the_states_are_the_graphs_inputs():
    contents = onnx.read(FOLDER / "stateful_legacy.onnx")
    assert ("state", "h, c") in contents.facts


@pytest.mark.parametrize("file", FILES)
def test_a_graph_is_run_as_it_stands(file, expected):
    name = file.rsplit("_", 1)[0]
    inputs = {"x": expected[f"{name}.x"]}
    if name == "stateful":
        inputs |= {"h": np.zeros((2, 2, 4)), "c": np.zeros((2, 2, 4))}
    outputs = onnx.run(FOLDER / file, inputs)
    y = next(iter(outputs.values()))
    assert y.dtype == np.float32
    assert np.abs(y - expected[f"{name}.y"]).max() < 1e-6
    with pytest.raises(InputError, match="it has no input 'z'; expected x"):
        onnx.run(FOLDER / file, inputs | {"z": 0})
    with pytest.raises(InputError, match="input 'x' is missing"):
        onnx.run(FOLDER / file, {})


# ------------------------------------------------------------------------- a file of our own


def varint(number):
    number &= 2**64 - 1
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def whole(field, number):
    return varint(field << 3) + varint(number)


def block(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name, array, **change):
    codes = {"float32": 1, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
    parts = [whole(1, size) for size in change.get("dims", array.shape)]
    parts += [whole(2, change.get("code", codes[array.dtype.name])), block(8, name)]
    parts += change.get("data", [block(9, array.tobytes())])
    return b"".join(parts)


def node(op, inputs, outputs, *attributes):
    parts = [*(block(1, name) for name in inputs), *(block(2, name) for name in outputs)]
    return b"".join([*parts, block(4, op), *(block(5, one) for one in attributes)])


def value(name, code=1, shape=("t", "n", 3)):
    dims = [block(1, whole(1, size) if isinstance(size, int) else block(2, size)) for size in shape]
    kind = whole(1, code) + block(2, b"".join(dims))
    return block(1, name) + block(2, block(1, kind))


X, Y = value("x"), value("y")


def model(nodes, tensors, inputs=(X,), outputs=(Y,), opset=14):
    graph = [*(block(1, one) for one in nodes), *(block(5, one) for one in tensors)]
    graph += [*(block(11, one) for one in inputs), *(block(12, one) for one in outputs)]
    return whole(1, 8) + block(2, "test") + block(7, b"".join(graph)) + block(8, whole(2, opset))


def weights(directions=1, seed=0, dtype=np.float32, size=3):
    rng = np.random.default_rng(seed)
    shapes = ((16, size), (16, 4), (32,))
    w, r, b = (rng.normal(0, 0.5, (directions, *shape)).astype(dtype) for shape in shapes)
    return w, r, b


def lstm_file(*, tensors=None, attributes=(), extra=()):
    w, r, b = weights()
    tensors = tensors or [tensor("W", w), tensor("R", r), tensor("B", b)]
    return model(
        [node("LSTM", ["x", "W", "R", "B"], ["y", "h"], *attributes), *extra], tensors,
        outputs=(value("y", shape=("t", 1, "n", 4)),),
    )  # fmt: skip


def load(tmp_path, data):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    return onnx.load(path)


def test_a_file_written_by_hand_is_read(tmp_path):
    lstm = load(tmp_path, lstm_file())
    w, _, b = weights()
    assert isinstance(lstm, lk.LSTM)
    assert (lstm.parameters["weight_ih_l0"][4:8] == w[0, 8:12]).all()  # f is third in ONNX
    assert np.allclose(lstm.parameters["bias_l0"][8:12], b[0, 12:16] + b[0, 28:])


@pytest.mark.parametrize(
    "form", ["raw", "float_data", "halves in int32_data", "bfloat16", "float64", "unpacked"]
)
def test_a_tensor_in_every_form(tmp_path, form):
    w, r, b = weights()
    w = (w * 8).round() / 8  # short enough for every type
    if form == "raw":
        one = tensor("W", w)
    elif form == "float_data":
        one = tensor("W", w, data=[block(4, w.tobytes())])
    elif form == "halves in int32_data":
        bits = w.astype(np.float16).view(np.uint16).ravel()
        one = tensor("W", w, code=10, data=[block(5, b"".join(varint(int(v)) for v in bits))])
    elif form == "bfloat16":
        bits = (w.view(np.uint32) >> 16).astype(np.uint16)
        one = tensor("W", w, code=16, data=[block(9, bits.tobytes())])
    elif form == "float64":
        one = tensor("W", w.astype(np.float64))
    else:
        one = tensor("W", w, data=[varint(4 << 3 | 5) + v.tobytes() for v in w.ravel()])
    lstm = load(tmp_path, lstm_file(tensors=[one, tensor("R", r), tensor("B", b)]))
    assert (lstm.parameters["weight_ih_l0"][:4] == w[0, :4]).all()


def external(name, offset, length):
    entries = {"location": name, "offset": str(offset), "length": str(length)}
    pairs = [block(13, block(1, key) + block(2, text)) for key, text in entries.items()]
    return [*pairs, whole(14, 1)]


def external_file(name, offset, length):
    w, r, b = weights()
    one = tensor("W", w, data=external(name, offset, length))
    return lstm_file(tensors=[one, tensor("R", r), tensor("B", b)])


def test_weights_in_a_second_file(tmp_path):
    w = weights()[0]
    (tmp_path / "m.data").write_bytes(b"\0" * 64 + w.tobytes())
    lstm = load(tmp_path, external_file("m.data", 64, w.nbytes))
    assert (lstm.parameters["weight_ih_l0"][:4] == w[0, :4]).all()


def test_a_second_file_is_read_from_the_models_folder_alone(tmp_path):
    w = weights()[0]
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(w.tobytes())
    os.symlink(tmp_path / "secret", folder / "link")
    os.symlink(tmp_path, folder / "up")
    for name in ("../secret", str(tmp_path / "secret"), "link", "up/secret", "..", "", "a\0b"):
        with pytest.raises(InputError, match=r"own folder|out of the model's folder"):
            load(folder, external_file(name, 0, w.nbytes))
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "missing"):
        with pytest.raises(InputError, match="copy it beside the model"):
            load(folder, external_file(name, 0, w.nbytes))


def test_a_second_file_is_read_as_far_as_it_goes(tmp_path):
    w = weights()[0]
    (tmp_path / "m.data").write_bytes(w.tobytes())
    for offset, length in ((4, w.nbytes), (0, w.nbytes - 4), (2**63, w.nbytes), (0, 2**62)):
        with pytest.raises(InputError, match="bytes"):
            load(tmp_path, external_file("m.data", offset, length))
    with pytest.raises(InputError, match="whole number"):
        load(tmp_path, external_file("m.data", "-1", w.nbytes))
    # Read again and again, a small file would fill the memory: each byte once.
    w, r, b = weights()
    places = [external("m.data", 12 * k, 12 * (16 - k)) for k in (0, 1)]
    both = [tensor(f"W{k}", w[:, k:], data=place) for k, place in enumerate(places)]
    with pytest.raises(InputError, match="each used once"):
        load(tmp_path, lstm_file(tensors=[*both, tensor("R", r), tensor("B", b)]))


@pytest.mark.parametrize(("step", "last"), [(0, False), (-1, True), (4, True), (2, False)])
def test_the_last_step_is_a_link_and_another_one_is_left_over(tmp_path, step, last):
    w, r, b = weights()
    data = model(
        [
            node("LSTM", ["x", "W", "R", "B"], ["a"]),
            node("Gather", ["a", "step"], ["b"], block(1, "axis") + whole(3, 0) + whole(20, 2)),
            node("Squeeze", ["b", "zero"], ["y"]),
        ],
        [
            *(tensor(name, array) for name, array in zip("WRB", (w, r, b), strict=True)),
            tensor("step", np.array(step)),
            tensor("zero", np.array([0])),
        ],
        inputs=(value("x", shape=(5, "n", 3)),),
        outputs=(value("y", shape=("n", 4)),),
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    contents = onnx.read(path)
    if last:
        assert contents.left_over == []
        assert contents.model.layers["lstm"].last
    else:
        assert isinstance(contents.model, lk.LSTM)
        assert contents.left_over[0].startswith("Gather node 'b': not understood")


@pytest.mark.parametrize("op", ["Slice", "Split", "Transpose", "Gather"])
def test_a_rule_gives_nothing_for_axes_that_are_unknown(op):
    """A value that no layer gives: its numbers are known, and not which axis is which."""
    places = [Value(FIXED, np.array([one])) for one in (-1, -(2**62), 1, -1)]
    given = [Value(GIVEN, np.ones((2, 3), np.float32)), *places[: 4 if op == "Slice" else 1]]
    if op in ("Split", "Transpose"):
        given = given[:1]
    walk = Walk(File("a file"), RULES)
    assert RULES[op](walk, Node(op, ["a"], ["b"], {}, opset=17), given) is None


@pytest.mark.parametrize("op", ["Slice", "Split", "Transpose", "Gather"])
def test_axes_of_what_no_layer_gives_are_unknown(tmp_path, op):
    """What stands before the LSTM is named, and the LSTM is read as it is."""
    more = {
        "Slice": (["first", "end", "axis", "step"], []),
        "Split": ([], []),
        "Transpose": ([], []),
        "Gather": (["axis"], [block(1, "axis") + whole(3, 0) + whole(20, 2)]),
    }[op]
    w, r, b = weights()
    numbers = {"first": -1, "end": -(2**62), "axis": 0, "step": -1}
    data = model(
        [
            node("Neg", ["x"], ["a"]),
            node(op, ["a", *more[0]], ["b"], *more[1]),
            node("LSTM", ["b", "W", "R", "B"], ["y"]),
        ],
        [
            *(tensor(name, array) for name, array in zip("WRB", (w, r, b), strict=True)),
            *(tensor(name, np.array([number])) for name, number in numbers.items()),
        ],
    )
    (tmp_path / "m.onnx").write_bytes(data)
    contents = onnx.read(tmp_path / "m.onnx")
    assert isinstance(contents.model, lk.LSTM)
    assert contents.left_over == [
        "LSTM node 'y': what makes its input of the graph's is not understood"
    ]


@pytest.mark.parametrize("op", ["Gather", "MatMul", "Reshape", "Concat", "Gemm"])
def test_a_node_that_is_not_what_its_name_says_is_named(tmp_path, op):
    w, r, b = weights()
    data = model(
        [
            node("LSTM", ["x", "W", "R", "B"], ["a"]),
            node(op, ["a"], ["y"], block(1, "axis") + whole(3, 99) + whole(20, 2)),
        ],
        [tensor(name, array) for name, array in zip("WRB", (w, r, b), strict=True)],
    )
    (tmp_path / "m.onnx").write_bytes(data)
    contents = onnx.read(tmp_path / "m.onnx")
    assert isinstance(contents.model, lk.LSTM)
    (line,) = contents.left_over
    assert line.startswith(f"{op} node 'y': ")
    assert "index" not in line


# ------------------------------------------------------------------------------ one operator alone

# https://onnx.ai/onnx/operators/onnx__TopK.html: of two equal numbers the one with the lower index
# comes first. Until opset 9 k is an attribute, and there is no other way than the largest.
ROWS = np.array([[1, 3, 3, 0], [2, 2, 2, 5]], np.float32)
TOP = {
    "largest": (1, 1, 3, [[3, 3, 1], [5, 2, 2]], [[1, 2, 0], [3, 0, 1]]),
    "smallest": (1, 0, 3, [[0, 1, 3], [2, 2, 2]], [[3, 0, 1], [0, 1, 2]]),
    "of a column": (0, 1, 1, [[2, 3, 3, 5]], [[1, 0, 0, 1]]),
    "the last axis": (-1, 0, 1, [[0], [2]], [[3], [0]]),
    "none": (1, 1, 0, np.zeros((2, 0)), np.zeros((2, 0))),
}


def top_k(tmp_path, axis, largest, k, opset=11):
    old = opset < 10
    numbers = {"axis": axis, "k": k} if old else {"axis": axis, "largest": largest}
    settings = [block(1, name) + whole(3, one) + whole(20, 2) for name, one in numbers.items()]
    given = ["x"] if old else ["x", "k"]
    data = model(
        [node("TopK", given, ["y", "places"], *settings)],
        [tensor("k", np.array([k]))],
        outputs=(Y, value("places", 7)),
        opset=opset,
    )
    (tmp_path / "m.onnx").write_bytes(data)
    return onnx.run(tmp_path / "m.onnx", {"x": ROWS})


@pytest.mark.parametrize(("name", "opset"), [*((name, 11) for name in TOP), ("largest", 9)])
def test_the_largest_and_the_smallest_with_their_places(tmp_path, name, opset):
    *asked, values, places = TOP[name]
    found = top_k(tmp_path, *asked, opset)
    assert found["y"].tolist() == np.asarray(values).tolist()
    assert found["places"].tolist() == np.asarray(places).tolist()
    assert found["y"].dtype == np.float32
    assert found["places"].dtype == np.int64


@pytest.mark.parametrize("k", [-1, 5])
def test_more_than_there_are_is_named(tmp_path, k):
    with pytest.raises(InputError, match=f"TopK node 'y': .*k is {k}; expected 0 to 4"):
        top_k(tmp_path, 1, 1, k)


# ------------------------------------------------------------------------------- hostile files


def graph_attribute(name, graph):
    return block(1, name) + block(6, graph) + whole(20, 5)


def deep(levels):
    graph = block(1, node("Identity", ["x"], ["y"]))
    for _ in range(levels):
        graph = block(1, node("If", ["x"], ["y"], graph_attribute("then_branch", graph)))
    return whole(1, 8) + block(7, graph)


def grown(op, array, *more):
    """A constant that an operator would make huge of a few bytes."""
    nodes = [node(op, ["small", "how"], ["big"], *more), node("Identity", ["big"], ["W"])]
    return model(
        [*nodes, node("LSTM", ["x", "W", "R"], ["y"])],
        [tensor("small", np.ones(1, np.float32)), tensor("how", array), tensor("R", weights()[1])],
    )


AXIS_0 = block(1, "axis") + whole(3, 0) + whole(20, 2)
EYE = np.eye(300, dtype=np.float32)
HOSTILE = {
    "empty": b"",
    "text": b"hello, this is no model",
    "zeros": b"\0" * 100,
    "a number without end": b"\xff" * 100,
    "a length beyond the file": whole(1, 8) + varint(7 << 3 | 2) + varint(2**62),
    "no graph": whole(1, 8) + block(2, "test"),
    "no nodes": model([], []),
    "names that are not UTF-8": model([node(b"\xff\xfe", ["x"], ["y"])], []),
    "a group": whole(1, 8) + varint(7 << 3 | 3),
    "half a million empty nodes": whole(1, 8) + block(7, b"\x0a\x00" * 500_000),
    "half a million empty inputs": whole(1, 8) + block(7, b"\x5a\x00" * 500_000),
    "many small nodes": whole(1, 8) + block(7, block(1, node("Relu", ["x"], ["x"])) * 100_000),
    "graphs in graphs": deep(60),
    "dims of 2^62": lstm_file(tensors=[tensor("W", weights()[0], dims=(1, 2**62, 2**62))]),
    "negative dims": lstm_file(tensors=[tensor("W", weights()[0], dims=(1, -16, -3))]),
    "too few bytes": lstm_file(tensors=[tensor("W", weights()[0], dims=(1, 16, 4))]),
    "too few numbers": lstm_file(tensors=[tensor("W", weights()[0], data=[block(4, b"\0" * 8)])]),
    "too many axes": lstm_file(tensors=[tensor("W", weights()[0], dims=(1,) * 60)]),
    "a trillion zeros": grown("Expand", np.array([10**6, 10**6])),
    "a trillion tiles": grown("Tile", np.array([10**12])),
    "a shape of a trillion": model(
        [
            node("ConstantOfShape", ["how"], ["W"]),
            node("LSTM", ["x", "W", "R"], ["y"]),
        ],
        [tensor("how", np.array([1, 10**6, 10**6])), tensor("R", weights()[1])],
    ),
    "a chain that doubles": model(
        [node("Concat", [f"a{k}"] * 2, [f"a{k + 1}"], AXIS_0) for k in range(60)],
        [tensor("a0", np.ones(1000, np.float32))],
    ),
    "products without end": model(
        [node("MatMul", ["a", "a"], ["b"])] * 5000, [tensor("a", EYE)]
    ),
    "sums without end": model(
        [node("ReduceMax", ["a"], ["b"])] * 9000, [tensor("a", EYE)]
    ),
    "an input of a trillion": model(
        [node("LSTM", ["x", "W", "R"], ["y"])],
        [tensor(name, array) for name, array in zip("WR", weights(), strict=False)],
        inputs=(value("x", shape=(10**6, 10**6, 3)),),
    ),
}  # fmt: skip
SAYS = {  # where another bound would end it too, but later
    "graphs in graphs": "more than 16 deep",
    "many small nodes": "more than 10000 nodes",
    "half a million empty inputs": "more than 4096 inputs",
    "sums without end": "more work than the limit allows",
    "products without end": "MatMul node 'b': ",
}
READ_ANYWAY = {"an input of a trillion"}  # the layers are fine; the graph is not computed


def refused(path, name):
    """Load a hostile file; return what it took in seconds."""
    start = time.process_time()
    if name in READ_ANYWAY:
        assert isinstance(onnx.load(path), lk.LSTM)
    else:
        with pytest.raises(InputError) as caught:
            onnx.load(path)
        assert "\n" not in str(caught.value)
        assert "m.onnx" in str(caught.value)
        assert SAYS.get(name, "") in str(caught.value)
    return time.process_time() - start


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_one_clear_error(tmp_path, name):
    path = tmp_path / "m.onnx"
    path.write_bytes(HOSTILE[name])
    assert refused(path, name) < 1
    if name not in SAYS:  # slow while memory is counted
        tracemalloc.start()
        try:
            refused(path, name)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(HOSTILE[name]) + 2**24
        finally:
            tracemalloc.stop()


def test_every_truncation_of_a_file_is_survived(tmp_path):
    data = (FOLDER / "plain_legacy.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    for end in range(0, len(data), 17):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"m\.onnx"):
            onnx.load(path)


def test_every_changed_byte_is_survived(tmp_path):
    data = (FOLDER / "plain_legacy.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    rng = np.random.default_rng(0)
    survived = 0
    for place in range(0, len(data), 11):
        changed = bytearray(data)
        changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            contents = onnx.read(path)
        except InputError:
            continue
        assert contents.model is not None or contents.left_over
        survived += 1
    assert survived > 50  # most bytes are names and weights


def test_numbers_that_are_not_finite_are_read_as_they_are(tmp_path):
    w, r, b = weights()
    w[0, 0, 0], b[0, 5] = np.inf, np.nan
    lstm = load(tmp_path, lstm_file(tensors=[tensor("W", w), tensor("R", r), tensor("B", b)]))
    assert lstm.parameters["weight_ih_l0"][0, 0] == np.inf
