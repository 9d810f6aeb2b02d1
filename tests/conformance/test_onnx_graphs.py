"""Graphs as other exporters write them: read to a model, run by our Backend and by ONNX Runtime."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import lstmkit as lk
from lstmkit.formats import onnx as ours
from lstmkit.layers import Bidirectional, LastStep, Recurrent

pytestmark = pytest.mark.conformance

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node
info = helper.make_tensor_value_info


def weights(prefix="", directions=1, size=3, hidden=4, seed=0):
    """W, R, B of a node, as initializers."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (4 * hidden, size), "R": (4 * hidden, hidden), "B": (8 * hidden,)}
    return {
        prefix + name: rng.normal(0, 0.5, (directions, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def lstm(x, y, prefix="", inputs=(), **attributes):
    """An LSTM node of 4 units with the weights of a prefix."""
    outputs = y if isinstance(y, list) else [y]
    names = [x, *(prefix + name for name in "WRB"), *inputs]
    return node("LSTM", names, outputs, hidden_size=4, **attributes)


def free(name, rank=3):
    """An output of a graph, of any sizes."""
    return info(name, FLOAT, [f"{name}{k}" for k in range(rank)])


def graph(nodes, constants, inputs=None, outputs=None):
    inputs = inputs or [info("x", FLOAT, ["t", "n", 3])]
    outputs = outputs or [free("y")]
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    made = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def run_everywhere(model, feeds):
    """The first output by our Backend; held against ONNX Runtime's."""
    ours_ = ours.Backend.prepare(model).run(feeds)[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    theirs = session.run(None, feeds)[0]
    assert np.abs(ours_ - theirs).max() < 1e-5
    return theirs


def read(tmp_path, model):
    onnx.save(model, tmp_path / "m.onnx")
    return ours.read(tmp_path / "m.onnx")


def compare(tmp_path, model, time_first_out=True, left_over=()):
    """Read the model and hold it against both runtimes; x is time first."""
    x = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(np.float32)
    theirs = run_everywhere(model, {"x": x})
    contents = read(tmp_path, model)
    assert [line.split(":")[0] for line in contents.left_over] == list(left_over)
    y = contents.model(x.swapaxes(0, 1))[0]
    if time_first_out and theirs.ndim == 3:
        theirs = theirs.swapaxes(0, 1)
    assert np.abs(y - theirs.reshape(y.shape)).max() < 1e-5
    return contents.model


AXIS_1 = {"one": np.array([1])}


def test_two_nodes_for_two_directions_joined_as_tf2onnx_does(tmp_path):
    nodes = [
        lstm("x", "a", "f."),
        lstm("x", "b", "b.", direction="reverse"),
        node("Squeeze", ["a", "one"], ["a3"]),
        node("Squeeze", ["b", "one"], ["b3"]),
        node("Concat", ["a3", "b3"], ["y"], axis=2),
    ]
    model = compare(tmp_path, graph(nodes, weights("f.") | weights("b.", seed=1) | AXIS_1))
    assert isinstance(model, lk.LSTM)
    assert model.bidirectional


def test_directions_with_different_functions(tmp_path):
    names = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Elu"]
    nodes = [
        lstm("x", "a", direction="bidirectional", activations=names, activation_alpha=[0.3]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        node("Reshape", ["b", "shape"], ["y"]),
    ]
    shape = {"shape": np.array([0, 0, -1])}
    model = compare(tmp_path, graph(nodes, weights(directions=2) | shape))
    assert isinstance(model.layers["lstm"], Bidirectional)
    assert model.layers["lstm"].backward.lstm.cells[0].activations[0] == ("hard_sigmoid", 0.3, 0.5)


def test_directions_that_are_added(tmp_path):
    nodes = [
        lstm("x", "a", direction="bidirectional"),
        node("Split", ["a"], ["f", "b"], axis=1),
        node("Add", ["f", "b"], ["s"]),
        node("Squeeze", ["s", "one"], ["y"]),
    ]
    model = compare(tmp_path, graph(nodes, weights(directions=2) | AXIS_1))
    assert model.layers["lstm"].merge == "sum"


def test_a_sequence_that_is_turned_around_is_read_backwards(tmp_path):
    slices = {"first": np.array([-1]), "end": np.array([-(2**62)]), "zero": np.array([0])}
    turn = ["first", "end", "zero", "first"]
    nodes = [
        node("Slice", ["x", *turn], ["xr"]),
        lstm("xr", "a"),
        node("Squeeze", ["a", "one"], ["b"]),
        node("Slice", ["b", *turn], ["y"]),
    ]
    model = compare(tmp_path, graph(nodes, weights() | AXIS_1 | slices))
    assert model.layers["lstm"].backwards
    assert not model.layers["lstm"].turned
    model = compare(tmp_path, graph([*nodes[:2], node("Squeeze", ["a", "one"], ["y"])],
                                    weights() | AXIS_1 | slices))  # fmt: skip
    assert model.layers["lstm"].turned


def test_weights_that_are_made_of_constants(tmp_path):
    """Keras's exporters transpose, join and unsqueeze the weights in the graph."""
    given = weights()
    parts = np.split(given["W"][0], 4)
    nodes = [
        *(node("Transpose", [f"w{k}"], [f"t{k}"], perm=[1, 0]) for k in range(4)),
        node("Concat", [f"t{k}" for k in range(4)], ["w"], axis=0),
        node("Unsqueeze", ["w", "zero"], ["W"]),
        node("Constant", [], ["R"], value=numpy_helper.from_array(given["R"])),
        node("Cast", ["B64"], ["B"], to=FLOAT),
        lstm("x", ["", "h"]),
        node("Squeeze", ["h", "zero"], ["y"]),
    ]
    constants = {f"w{k}": part.T for k, part in enumerate(parts)}
    constants |= {"zero": np.array([0]), "B64": given["B"].astype(np.float64)}
    model = compare(tmp_path, graph(nodes, constants, outputs=[free("y", 2)]))
    assert model.layers["lstm"].last


def test_initial_states_in_the_file(tmp_path):
    rng = np.random.default_rng(5)
    start = {name: rng.normal(size=(1, 1, 4)).astype(np.float32) for name in ("h0", "c0")}
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "one", "two"], ["n"]),
        node("Concat", ["one", "n", "four"], ["size"], axis=0),
        node("Expand", ["h0", "size"], ["h"]),
        node("Expand", ["c0", "size"], ["c"]),
        lstm("x", "a", inputs=["", "h", "c"]),
        node("Squeeze", ["a", "one"], ["y"]),
    ]
    sizes = {"two": np.array([2]), "four": np.array([4])}
    model = compare(tmp_path, graph(nodes, weights() | AXIS_1 | sizes | start))
    assert (model.parameters["c_0_l0"] == start["c0"].ravel()).all()


def test_every_part_of_a_node(tmp_path):
    """Peepholes, clip, coupled gates and a state, float64 and layout 1: what the runtime lacks."""
    rng = np.random.default_rng(0)
    given = {name: a.astype(np.float64) for name, a in weights().items()}
    given["P"] = rng.normal(size=(1, 12))
    names = ["x", "W", "R", "B", "", "", "", "P"]
    nodes = [
        node("LSTM", names, ["a"], hidden_size=4, layout=1, clip=0.8, input_forget=1),
        node("Squeeze", ["a", "two"], ["y"]),
    ]
    x = info("x", TensorProto.DOUBLE, ["n", "t", 3])
    y = info("y", TensorProto.DOUBLE, ["n", "t", 4])
    model = graph(nodes, given | {"two": np.array([2])}, [x], [y])
    contents = read(tmp_path, model)
    assert contents.left_over == []
    values = rng.normal(size=(2, 6, 3))
    theirs = ours.Backend.prepare(model).run([values])[0]
    assert np.abs(contents.model(values)[0] - theirs).max() < 1e-12
    assert contents.model.cells[0].coupled_gates
    assert contents.model.dtype == np.float64


@pytest.mark.parametrize("opset", [1, 7, 14, 22])
def test_every_opset_of_the_operator(tmp_path, opset):
    attributes = {"output_sequence": 1} if opset == 1 else {}
    made = graph([lstm("x", ["y", "h"], **attributes)], weights(), outputs=[free("y", 4)])
    made.opset_import[0].version = opset
    contents = read(tmp_path, made)
    assert isinstance(contents.model, lk.LSTM)
    assert dict(contents.facts)["opset"] == str(opset)
    x = np.ones((3, 2, 3), np.float32)
    y = contents.model(x.swapaxes(0, 1))[0]
    if opset > 1:  # the checker of today's onnx does not know the others' oldest forms
        theirs = run_everywhere(made, {"x": x}) if opset < 22 else None
        assert theirs is None or np.abs(theirs[:, 0] - y.swapaxes(0, 1)).max() < 1e-6


def branches(condition_nodes, constants, inputs=None):
    squeeze = node("Squeeze", ["a", "one"], ["b"])
    one = helper.make_graph([lstm("x", "a"), squeeze], "then", [], [free("b")])
    other = helper.make_graph(
        [lstm("x", "a2", "other."), node("Squeeze", ["a2", "one"], ["b2"])],
        "else", [], [free("b2")],
    )  # fmt: skip
    nodes = [*condition_nodes, node("If", ["go"], ["y"], then_branch=one, else_branch=other)]
    return graph(nodes, constants | weights() | weights("other.", seed=9) | AXIS_1, inputs)


def test_layers_in_the_branch_that_the_sizes_choose(tmp_path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "two"], ["size"]),
        node("Equal", ["size", "three"], ["go"]),
    ]
    numbers = {"two": np.array(2), "three": np.array(3)}
    model = compare(tmp_path, branches(nodes, numbers))
    w = weights()["W"]
    assert (model.parameters["weight_ih_l0"][:4] == w[0, :4]).all()
    numbers["three"] = np.array(4)
    model = compare(tmp_path, branches(nodes, numbers))
    assert (model.parameters["weight_ih_l0"][:4] != w[0, :4]).any()


def test_a_branch_that_the_input_chooses_is_read_and_named(tmp_path):
    x = info("x", FLOAT, ["t", "n", 3])
    made = branches([], {}, [x, info("go", BOOL, [])])
    contents = read(tmp_path, made)
    assert isinstance(contents.model, lk.LSTM)
    assert contents.left_over == [
        "If node 'y': depends on the input; only its then branch was read"
    ]


def looped(constants):
    """A loop over time, a step of an LSTM a turn, as a scripted module has it."""
    body = helper.make_graph(
        [
            node("Gather", ["x", "turn"], ["row"], axis=0),
            node("Unsqueeze", ["row", "zero"], ["step"]),
            lstm("step", ["", "h2", "c2"], inputs=["", "h1", "c1"]),
            node("Squeeze", ["h2", "zero"], ["out"]),
            node("Identity", ["on"], ["on2"]),
        ],
        "body",
        [info("turn", INT64, []), info("on", BOOL, []), free("h1"), free("c1")],
        [info("on2", BOOL, []), free("h2"), free("c2"), free("out", 2)],
    )
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "start"], ["turns"]),
        node("Loop", ["turns", "", "h0", "h0"], ["h", "c", "y"], body=body),
    ]
    zeros = {"h0": np.zeros((1, 2, 4), np.float32), "start": np.array(0), "zero": np.array([0])}
    return graph(nodes, constants | zeros, [info("x", FLOAT, ["t", 2, 3])])


def test_layers_in_the_body_of_a_loop(tmp_path):
    made = looped(weights())
    x = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(np.float32)
    theirs = run_everywhere(made, {"x": x})
    contents = read(tmp_path, made)
    assert contents.left_over[0] == (
        "Loop node 'h': only the layers in its body were read, not its turns"
    )
    assert isinstance(contents.model, lk.LSTM)
    y = contents.model(x.swapaxes(0, 1))[0]
    assert np.abs(y - theirs.swapaxes(0, 1)).max() < 1e-5


def test_what_stands_before_and_after_the_layers_is_named(tmp_path):
    nodes = [
        node("CumSum", ["x", "zero"], ["before"], name="sums"),
        lstm("before", "a"),
        node("Squeeze", ["a", "one"], ["b"]),
        node("ReduceMax", ["b"], ["y"], axes=[0], name="pooled"),
    ]
    contents = read(tmp_path, graph(nodes, weights() | AXIS_1 | {"zero": np.array(0)}))
    assert isinstance(contents.model, lk.LSTM)
    text = "\n".join(contents.left_over)
    assert "what makes its input of the graph's is not understood" in text
    assert "ReduceMax node 'pooled': not understood (gives 'y')" in text


# ------------------------------------------------------------------------- PyTorch's own exporter


class Labels(torch.nn.Module):
    def __init__(self, layers, both, head):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 4)
        self.lstm = torch.nn.LSTM(4, 5, layers, batch_first=True, bidirectional=both)
        self.out = torch.nn.Linear(10 if both else 5, 3)
        self.both, self.head = both, head

    def forward(self, x):
        y, (h, _) = self.lstm(self.embedding(x))
        if self.head == "last":
            y = y[:, -1]
        elif self.head == "states":
            y = torch.cat([h[-2], h[-1]], -1) if self.both else h[-1]
        return self.out(torch.tanh(y))


@pytest.mark.parametrize("head", ["steps", "last", "states"])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (1, True), (2, True)])
def test_what_torch_exports_today(tmp_path, layers, both, head):
    torch.manual_seed(0)
    model, x = Labels(layers, both, head).eval(), torch.randint(0, 11, (3, 7))
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        axes = {"x": {0: "n", 1: "t"}}
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
        logging.disable(logging.NOTSET)
    y = model(x).detach().numpy()
    contents = ours.read(path)
    assert contents.left_over == []
    assert np.abs(contents.model(x.numpy())[0] - y).max() < 1e-5
    assert np.abs(run_everywhere(onnx.load(path), {"x": x.numpy()}) - y).max() < 1e-5


# ----------------------------------------------------------------------------- our own, read again


def chains():
    def head(size):
        return lk.Linear(size, 2, seed=3)

    def lstm_(**options):
        return lk.LSTM(3, 4, seed=1, **options)

    back = Recurrent(lk.LSTM(3, 4, seed=2), backwards=True)
    yield "stack", lstm_(num_layers=2, bidirectional=True)
    yield "peepholes", lstm_(peepholes=True, coupled_gates=True, gate_clip=0.7)
    yield "activations", lstm_(activations=(("hard_sigmoid", 0.3, 0.4), "elu", "softsign"))
    yield "start", lstm_(num_layers=2, learn_initial_state=True)
    yield "last", lk.Sequential({"a": Recurrent(lstm_(), last=True), "b": head(4)})
    yield "steps", lk.Sequential({"a": lstm_(bidirectional=True), "l": LastStep(), "b": head(8)})
    for merge in ("concat", "sum", "mul", "ave"):
        both = Bidirectional(Recurrent(lstm_()), back, merge)
        yield merge, lk.Sequential({"a": both, "b": head(both.output_size)})
    turned = Recurrent(lk.LSTM(3, 4, seed=2), backwards=True, turned=True)
    yield "turned", lk.Sequential({"a": turned, "b": head(4)})


@pytest.mark.parametrize(("name", "model"), list(chains()))
def test_what_we_write_is_read_again(tmp_path, name, model):
    if name == "start":
        rng = np.random.default_rng(0)
        for key, array in model.parameters.items():
            if key[:2] in ("h_", "c_"):
                array[...] = rng.normal(size=array.shape)
    ours.save(model, tmp_path / "m.onnx")
    contents = ours.read(tmp_path / "m.onnx")
    assert contents.left_over == []
    x = np.random.default_rng(2).normal(size=(2, 5, 3))
    assert np.abs(contents.model(x)[0] - model(x)[0]).max() < 1e-6
    if isinstance(model, lk.LSTM):
        assert contents.model.config == model.config
        for key, array in model.parameters.items():
            assert (contents.model.parameters[key] == array).all(), key
