"""Models of ours as ONNX files: ONNX's checker takes them, and ONNX Runtime gives our outputs.

Every file goes through the checker with full shape inference, comes back through `load` as the
model that was written, and is run on batches and times of other sizes than any before. float64
agrees within 1e-10. float32 agrees within 1e-5 (of the largest number where that is above 1), or,
where the equations themselves enlarge rounding (a normalization of nearly equal numbers), within 8
times our own distance from float64; the counts that are printed say how often.
"""

import itertools
import os
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

import lstmkit as lk
from lstmkit.formats.onnx import build, load, read, run, save, steps
from lstmkit.layers import (
    Activation,
    Bidirectional,
    Embedding,
    LastStep,
    Linear,
    Masking,
    Recurrent,
    Sequential,
)
from lstmkit.shapes import InputError

pytestmark = pytest.mark.conformance

OPTIONS = {
    "bias": False,
    "proj_size": 2,
    "peepholes": True,
    "coupled_gates": True,
    "layer_norm": True,
    "cell_clip": 0.6,
    "gate_clip": 0.8,
    "activations": ("hard_sigmoid", "softsign", "identity"),
    "zoneout": (0.1, 0.2),
    "learn_initial_state": True,
    "bidirectional": True,
    "num_layers": 3,
    "dropout": 0.5,
    "recurrent_dropout": 0.5,
}
LACKING = ("proj_size", "layer_norm", "cell_clip", "zoneout")  # what ONNX's LSTM has not
BOUNDED = ("sigmoid", "tanh", "hard_sigmoid", "softsign")  # of a gate: else c runs away
FUNCTIONS = ["sigmoid", "tanh", "relu", "hard_sigmoid", "softsign", "identity"]
DTYPES = ("float32", "float64")


def session(model, path, **options):
    """Write, check and open a model."""
    save(model, path, **options)
    data = path.read_bytes()
    onnx.checker.check_model(data, full_check=True)
    quiet = onnxruntime.SessionOptions()
    quiet.intra_op_num_threads, quiet.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(data, quiet, providers=["CPUExecutionProvider"])


def shaken(model, rng):
    """Move every weight, so that none is 0 or 1 by chance."""
    for array in model.parameters.values():
        array += rng.normal(0, 0.2, array.shape).astype(array.dtype)
    return model


def in_float64(model):
    """The same model, computed in float64."""

    def widen(config):
        if isinstance(config, dict):
            return {k: "float64" if k == "dtype" else widen(v) for k, v in config.items()} | (
                {"bfloat16": False} if "bfloat16" in config else {}
            )
        return [widen(v) for v in config] if isinstance(config, list) else config

    return type(model).from_parameters(widen(model.config), model.parameters)


def as_chain(model):
    return model if isinstance(model, Sequential) else Sequential({"lstm": model})


def endings(model):
    """What follows h_0 and the like, for every LSTM of the chain."""
    chain = as_chain(model)
    if len(chain.lstms) == 1 and not any(
        isinstance(layer, Bidirectional) for layer in chain.layers.values()
    ):
        return [""]
    found = []
    for name, layer in chain.layers.items():
        if isinstance(layer, Recurrent):
            found.append(f"_{name}")
        elif isinstance(layer, Bidirectional):
            found += [f"_{name}_forward", f"_{name}_backward"]
    return found


def draw_state(model, batch, rng):
    state = []
    for lstm in as_chain(model).lstms:
        cell, count = lstm.cells[0], len(lstm.cells)
        sizes = cell.output_size, cell.hidden_size
        state.append(tuple(rng.normal(size=(count, batch, s)).astype(lstm.dtype) for s in sizes))
    return state


def results(model, x, state, lengths, want_state):
    """All that our model gives, in the order of the file's outputs."""
    y, ends = as_chain(model)(x, state, lengths)
    return [y, *(array for pair in ends for array in pair)] if want_state else [y]


def compare(model, runtime, x, state, lengths, counts, path=None):
    """Run the file, by our interpreter as well where the path is given, and hold it against us."""
    feed = {"x": x}
    if lengths is not None:
        feed["lengths"] = np.asarray(lengths, np.int32)
    if state is not None:
        for ending, (h, c) in zip(endings(model), state, strict=True):
            feed |= {f"h_0{ending}": h, f"c_0{ending}": c}
    names = ["y"]
    if state is not None:
        names += [f"{letter}_n{ending}" for ending in endings(model) for letter in "hc"]
    assert [one.name for one in runtime.get_inputs()] == list(feed)
    assert [one.name for one in runtime.get_outputs()] == names
    ours = results(model, x, state, lengths, state is not None)
    equal(model, x, state, lengths, names, runtime.run(None, feed), ours, counts)
    counts["runs"] += 1
    if path is not None:
        found = run(path, feed)
        assert list(found) == names
        equal(model, x, state, lengths, names, found.values(), ours, Counter())
        counts["by our interpreter"] += 1


def equal(model, x, state, lengths, names, got, ours, counts):
    """Compare what a runtime gives with what our model gives."""
    exact = None
    for name, one, other in zip(names, got, ours, strict=True):
        assert one.dtype == other.dtype, name
        assert one.shape == other.shape, name
        difference = np.abs(one - other).max(initial=0)
        counts["numbers"] += one.size
        counts[f"worst {one.dtype}"] = max(counts[f"worst {one.dtype}"], float(difference))
        allowed = 1e-5 if one.dtype == np.float32 else 1e-10
        allowed *= max(1.0, float(np.abs(other).max()))
        if difference > allowed and one.dtype == np.float32:
            if exact is None:
                wide = None if state is None else [tuple(map(np.float64, s)) for s in state]
                if x.dtype == np.float32:
                    x = x.astype(np.float64)
                exact = results(in_float64(model), x, wide, lengths, True)
                exact = dict(zip(names, exact, strict=False))
            allowed = 8 * float(np.abs(other - exact[name]).max())
            counts["enlarged rounding"] += 1
        assert difference <= allowed, (name, difference, allowed, model)


def there_and_back(model, path):
    """Load the file: the same kind of model, config, bits and outputs."""
    contents = read(path)
    assert contents.left_over == []
    back = contents.model
    assert type(back) is type(model)
    assert back.config == model.config
    assert list(back.parameters) == list(model.parameters)
    same_bits(back.parameters, model.parameters)
    rng, chain = np.random.default_rng(0), as_chain(model)
    x = rng.normal(size=(2, 3, chain.input_size)).astype(chain.dtype)
    if chain.embedding is not None:
        x = rng.integers(0, chain.input_size, (2, 3))
    for one, two in zip(flat(back(x)), flat(model(x)), strict=True):
        assert one.tobytes() == two.tobytes()


def flat(tree):
    return [a for part in tree for a in flat(part)] if isinstance(tree, tuple) else [tree]


def without_entry(path):
    """Take what we say of the model out of a file: the graph alone is left."""
    file = onnx.load(path)
    assert [one.key for one in file.metadata_props] == ["lstmkit"]
    del file.metadata_props[:]
    onnx.save(file, path)


def prove(model, path, rng, counts, *, states=False, lengths=False, opset=17, x=None):
    """Hold a model against its file on batches and times of several sizes."""
    chain = as_chain(model)
    runtime = session(model, path, states=states, lengths=lengths, opset=opset)
    there_and_back(model, path)
    counts["models"] += 1
    for batch, time in ((3, 7), (1, 1), (2, 1), (1, 5)):
        if chain.embedding is not None:
            x = rng.integers(0, chain.input_size, (batch, time))
        else:
            x = rng.normal(size=(batch, time, chain.input_size)).astype(chain.dtype)
            x[rng.random((batch, time)) < 0.3] = 0  # steps that a Masking layer finds
        state = draw_state(model, batch, rng) if states else None
        real = None
        if lengths:
            real = rng.integers(0, time + 1, batch)
            real[rng.integers(batch)] = 0
        ours_too = path if time == 7 else None
        compare(model, runtime, x, state, real, counts, ours_too)


def show(title, counts):
    words = (
        f"{name} {value:.1e}" if isinstance(value, float) else f"{name} {value}"
        for name, value in counts.items()
    )
    print(f"\n{title}: {', '.join(words)}")


# ------------------------------------------------------------------------------------ the LSTM


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option_and_every_pair_of_options(dtype, tmp_path):
    rng, counts = np.random.default_rng(0), Counter()
    chosen = [(), *((one,) for one in OPTIONS), *itertools.combinations(OPTIONS, 2)]
    assert len(chosen) == 1 + 14 + 91
    for k, names in enumerate(chosen):
        options = {name: OPTIONS[name] for name in names}
        model = shaken(lk.LSTM(3, 4, dtype=dtype, seed=k, **options), rng)
        states, lengths = bool(k & 1), bool(k & 2)
        prove(model, tmp_path / "m.onnx", rng, counts, states=states, lengths=lengths)
        kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
        whole = dtype == "float32" and not set(names) & set(LACKING)
        assert ("LSTM" in kinds, "Scan" in kinds) == (whole, not whole), names
    show(f"pairs of options, {dtype}", counts)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_combinations_of_all_options(dtype, tmp_path):
    rng, counts = np.random.default_rng(1), Counter()
    for seed in range(200):
        options = {name: value for name, value in OPTIONS.items() if rng.random() < 0.4}
        if "activations" in options:
            others = (FUNCTIONS[k] for k in rng.integers(0, len(FUNCTIONS), 2))
            options["activations"] = (BOUNDED[rng.integers(4)], *others)
        if "num_layers" in options:
            options["num_layers"] = int(rng.integers(1, 4))
        hidden = int(rng.integers(3, 20))
        model = shaken(
            lk.LSTM(int(rng.integers(1, 9)), hidden, dtype=dtype, seed=seed, **options), rng
        )
        states, lengths = (bool(b) for b in rng.integers(0, 2, 2))
        opset = int(rng.integers(14, 23))
        prove(model, tmp_path / "m.onnx", rng, counts, states=states, lengths=lengths, opset=opset)
    show(f"random options, {dtype}", counts)


def functions_with_numbers():
    return [
        *FUNCTIONS,
        "softplus",
        "elu",
        ("hard_sigmoid", 1 / 6, 0.5),
        ("leaky_relu", 0.1),
        ("thresholded_relu", 0.3),
        ("scaled_tanh", 0.8, 1.3),
        ("elu", 0.7),
        ("affine", 0.5, 0.1),
    ]


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_in_every_place(dtype, layer_norm, tmp_path):
    rng, counts = np.random.default_rng(2), Counter()
    for place, function in itertools.product(range(3), functions_with_numbers()):
        three = ["sigmoid", "tanh", "tanh"]
        three[place] = function
        options = {"layer_norm": layer_norm, "bidirectional": place == 1}
        lstm = lk.LSTM(3, 5, activations=tuple(three), dtype=dtype, seed=place, **options)
        model = shaken(lstm, rng)
        prove(model, tmp_path / "m.onnx", rng, counts, lengths=place == 2)
    for seed in range(30):  # alpha and beta stand in the order of the functions that take them
        known = functions_with_numbers()
        three = tuple(known[k] for k in rng.integers(0, len(known), 3))
        model = lk.LSTM(3, 5, 2, activations=three, layer_norm=layer_norm, dtype=dtype, seed=seed)
        for array in model.parameters.values():
            array *= 0.3
        prove(model, tmp_path / "m.onnx", rng, counts)
    show(f"activations, {dtype}, {'Scan' if layer_norm else 'plain'}", counts)


def test_weights_of_bfloat16_are_written_as_the_numbers_they_are(tmp_path):
    rng, counts = np.random.default_rng(3), Counter()
    model = shaken(lk.LSTM(3, 8, 2, bidirectional=True, seed=0), rng).quantize()
    prove(model, tmp_path / "m.onnx", rng, counts, states=True, lengths=True)
    file = onnx.load(tmp_path / "m.onnx")
    (W,) = (onnx.numpy_helper.to_array(a) for a in file.graph.initializer if a.name == "lstm/W")
    assert np.array_equal(W[0, :8], model.parameters["weight_ih_l0"][:8])
    assert np.array_equal(W[1, 8:16], model.parameters["weight_ih_l0_reverse"][-8:])


# ---------------------------------------------------------------------------------- the chains


def draw_lstm(rng, inputs, dtype, bidirectional=None):
    options = {name: value for name, value in OPTIONS.items() if rng.random() < 0.15}
    options["bidirectional"] = bool(rng.integers(2)) if bidirectional is None else bidirectional
    options["num_layers"] = int(rng.integers(1, 3))
    return lk.LSTM(inputs, int(rng.integers(3, 7)), dtype=dtype, seed=rng, **options)


def draw_chain(rng, dtype):
    """Up to seven layers that fit, each kind and flag likely."""
    layers = {}
    size, tokens = int(rng.integers(2, 5)), rng.random() < 0.3
    if rng.random() < 0.5:
        value = float(rng.integers(0, 3)) if tokens else 0.0
        layers["masking"] = Masking(value)
    if tokens:
        layers["embedding"] = Embedding(9, size, dtype=dtype, seed=rng)
    flat = False
    for k in range(int(rng.integers(1, 4))):
        last = bool(k and rng.random() < 0.3)
        turned, repeat, backwards = (bool(b) for b in rng.integers(0, 2, 3))
        flags = {"turned": turned, "repeat": repeat, "last": last}
        if rng.random() < 0.3:
            merge = ("concat", "sum", "mul", "ave")[rng.integers(4)]
            one = draw_lstm(rng, size, dtype, False)
            two = draw_lstm(rng, size, dtype, False)
            if merge != "concat" and one.output_size != two.output_size:
                merge = "concat"
            pair = (
                Recurrent(one, repeat=repeat, last=last),
                Recurrent(two, backwards=backwards, **flags),
            )
            layers[f"both_{k}"] = Bidirectional(*pair, merge)
            size = layers[f"both_{k}"].output_size
        else:
            lstm = draw_lstm(rng, size, dtype)
            flags["backwards"] = backwards and not lstm.bidirectional
            layers[f"lstm_{k}"] = Recurrent(lstm, **flags)
            size = lstm.output_size
        flat = last
        if flat:
            break
        if rng.random() < 0.2:
            layers[f"masking_{k}"] = Masking(0.0)  # finds the zeros past the ends
    if not flat and rng.random() < 0.3:
        layers["last"] = LastStep()
        if rng.random() < 0.2:
            layers["of_one_step"] = Masking(0.0)
    if rng.random() < 0.7:
        layers["head"] = Linear(size, 5, bias=rng.random() < 0.5, dtype=dtype, seed=rng)
        function = ("softmax", "log_softmax", *FUNCTIONS)[rng.integers(8)]
        layers["activation"] = Activation(function)
    return shaken(Sequential(layers), rng)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_chains(dtype, tmp_path):
    rng, counts, kinds = np.random.default_rng(4), Counter(), Counter()
    for _ in range(250):
        model = draw_chain(rng, dtype)
        kinds.update(type(layer).__name__ for layer in model.layers.values())
        states, lengths = (bool(b) for b in rng.integers(0, 2, 2))
        prove(model, tmp_path / "m.onnx", rng, counts, states=states, lengths=lengths)
    show(f"chains, {dtype}", counts)
    show("layers", kinds)
    assert len(kinds) == 7


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_activation_behind_a_product_keeps_its_digits(dtype, tmp_path):
    # ONNX Runtime melts MatMul and a factor into one operator, with the factor in float32.
    rng, counts = np.random.default_rng(5), Counter()
    for function in [*functions_with_numbers(), "softmax", "log_softmax"]:
        layers = {"head": Linear(4, 3, bias=False, dtype=dtype, seed=0)}
        model = Sequential(layers | {"activation": Activation(function)})
        prove(model, tmp_path / "m.onnx", rng, counts)
    show(f"activations of products, {dtype}", counts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 0.1, -2.0])
def test_masked_steps_become_0_for_layers_that_know_no_masks(value, dtype, tmp_path):
    rng = np.random.default_rng(11)
    layers = {"masking": Masking(value), "linear": Linear(3, 2, dtype=dtype, seed=0)}
    layers |= {"lstm": lk.LSTM(2, 4, dtype=dtype, seed=0), "last": LastStep()}
    x = rng.normal(size=(4, 6, 3)).astype(dtype)
    x[rng.random((4, 6)) < 0.5] = value
    for count in (2, 3, 4):
        model = Sequential(dict([*layers.items()][:count]))
        compare(model, session(model, tmp_path / "m.onnx"), x, None, None, Counter())


def test_a_mask_that_is_no_token_marks_none(tmp_path):
    layers = {"masking": Masking(0.5), "embedding": Embedding(4, 3, seed=0), "lstm": lk.LSTM(3, 4)}
    model = Sequential(layers)
    x = np.random.default_rng(12).integers(0, 4, (3, 5))
    compare(model, session(model, tmp_path / "m.onnx"), x, None, None, Counter())


# ------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_runtime_can_go_on_step_by_step(layer_norm, tmp_path):
    rng = np.random.default_rng(6)
    lstm = shaken(lk.LSTM(3, 6, 2, layer_norm=layer_norm, seed=0), rng)
    chain = {"one": lstm, "two": lk.LSTM(6, 4, seed=1), "head": Linear(4, 2, seed=2)}
    model = Sequential(chain)
    runtime = session(model, tmp_path / "m.onnx", states=True)
    x = rng.normal(size=(5, 9, 3)).astype(np.float32)
    y, ends = model(x)
    state = {
        f"{letter}_0_{name}": np.zeros_like(array)
        for name, pair in zip(("one", "two"), ends, strict=True)
        for letter, array in zip("hc", pair, strict=True)
    }
    for t in range(9):
        out, *after = runtime.run(None, {"x": x[:, t : t + 1], **state})
        state = dict(zip(state, after, strict=True))
        assert np.abs(out[:, 0] - y[:, t]).max() < 1e-5
    for got, want in zip(state.values(), (a for pair in ends for a in pair), strict=True):
        assert np.abs(got - want).max() < 1e-5


@pytest.mark.parametrize("opset", range(14, 23))
def test_every_opset_that_is_offered(opset, tmp_path):
    rng, counts = np.random.default_rng(7), Counter()
    for dtype, layer_norm in itertools.product(DTYPES, (False, True)):
        lstm = lk.LSTM(3, 4, layer_norm=layer_norm, bidirectional=True, dtype=dtype, seed=0)
        layers = {"masking": Masking(0), "lstm": Recurrent(lstm, repeat=True), "last": LastStep()}
        layers["head"] = Linear(8, 3, dtype=dtype, seed=0)
        for function in ("softmax", *FUNCTIONS):
            model = Sequential(layers | {"activation": Activation(function)})
            prove(model, tmp_path / "m.onnx", rng, counts, states=True, lengths=True, opset=opset)
    file = onnx.load(tmp_path / "m.onnx")
    assert [(one.domain, one.version) for one in file.opset_import] == [("", opset)]
    assert file.ir_version == build.IR_VERSIONS[opset]
    table = {row[3]: row[1] for row in onnx.helper.VERSION_TABLE if row[2] == opset}
    rows = [row for row in onnx.helper.VERSION_TABLE if row[2] == opset]
    assert rows, table
    assert file.ir_version == min(row[1] for row in rows)  # ONNX's own table


@pytest.mark.parametrize(
    ("options", "axes"),
    [
        ({}, ["batch", "time", 8]),
        ({"layer_norm": True}, ["batch", "time", 8]),
        ({"last": True}, ["batch", 8]),
    ],
)
def test_shape_inference_finds_the_axes_by_itself(options, axes, tmp_path):
    lstm = lk.LSTM(3, 4, 2, bidirectional=True, seed=0, layer_norm=options.pop("layer_norm", False))
    model = Sequential({"lstm": Recurrent(lstm, **options)})
    for lengths in (False, True):
        save(model, tmp_path / "m.onnx", lengths=lengths)
        file = onnx.load(tmp_path / "m.onnx")
        declared = axes_of(file.graph.output[0])
        assert declared == axes
        file.graph.output[0].type.tensor_type.ClearField("shape")
        found = onnx.shape_inference.infer_shapes(file, strict_mode=True, data_prop=True)
        assert axes_of(found.graph.output[0]) == axes


def axes_of(value):
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_the_file_says_who_wrote_what(tmp_path):
    model = lk.LSTM(3, 4, 2, learn_initial_state=True, seed=0)
    save(model, tmp_path / "m.onnx", states=True, lengths=True)
    file = onnx.load(tmp_path / "m.onnx")
    assert file.producer_name == "lstmkit"
    assert "LSTM(3, 4, num_layers=2" in file.doc_string
    described = {one.name: (axes_of(one), one.doc_string) for one in file.graph.input}
    assert described["x"] == (["batch", "time", 3], "input sequences")
    assert described["lengths"][0] == ["batch"]
    assert described["h_0"] == ([2, "batch", 4], "state before the first step")
    assert [one.name for one in file.graph.output] == ["y", "h_n", "c_n"]
    assert {node.domain for node in file.graph.node} == {""}  # standard operators


def test_equal_models_give_equal_bytes(tmp_path):
    model = draw_chain(np.random.default_rng(8), "float32")
    save(model, tmp_path / "a.onnx", lengths=True)
    save(
        Sequential.from_parameters(model.config, model.parameters),
        tmp_path / "b.onnx",
        lengths=True,
    )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    next(iter(model.parameters.values()))[...] += 1
    save(model, tmp_path / "b.onnx", lengths=True)
    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()


def test_nothing_is_in_the_file_that_nothing_needs(tmp_path):
    layers = {"lstm": Recurrent(lk.LSTM(3, 4, seed=0), last=True), "head": Linear(4, 2, seed=0)}
    save(Sequential(layers), tmp_path / "m.onnx", lengths=True)
    file = onnx.load(tmp_path / "m.onnx")
    assert [node.op_type for node in file.graph.node] == [
        "Transpose", "LSTM", "Squeeze", "MatMul", "Add", "Identity",
    ]  # fmt: skip
    used = {name for node in file.graph.node for name in node.input}
    assert {array.name for array in file.graph.initializer} <= used


# ------------------------------------------------------------- and back again, by the graph alone


def test_lstms_come_back_with_every_bit(tmp_path):
    rng, counts = np.random.default_rng(9), Counter()
    for seed in range(200):
        options = {
            name: value
            for name, value in OPTIONS.items()
            if name not in LACKING and "dropout" not in name and rng.random() < 0.4
        }
        if "activations" in options:
            known = functions_with_numbers()
            options["activations"] = tuple(known[k] for k in rng.integers(0, len(known), 3))
        model = shaken(lk.LSTM(3, 5, seed=seed, **options), rng)
        states, lengths = bool(rng.integers(2)), bool(rng.integers(2))
        save(model, tmp_path / "m.onnx", states=states, lengths=lengths)
        without_entry(tmp_path / "m.onnx")
        back = load(tmp_path / "m.onnx")
        assert isinstance(back, lk.LSTM), options
        expected = dict(model.parameters)
        if states:  # learned initial states are then the caller's to give
            expected = {k: a for k, a in expected.items() if k[:4] not in ("h_0_", "c_0_")}
        same_bits(back.parameters, expected)
        assert np.float32(back.cells[0].gate_clip or 0) == np.float32(model.cells[0].gate_clip or 0)
        for name in options.keys() - {"learn_initial_state", "activations", "gate_clip"}:
            assert back.config[name] == model.config[name], name
        for mine, other in zip(model.cells, back.cells, strict=True):
            for one, two in zip(mine.activations, other.activations, strict=True):
                assert steps.name_and_numbers(one)[0] == steps.name_and_numbers(two)[0]
                numbers = (steps.name_and_numbers(f)[1] for f in (one, two))
                assert np.array_equal(*(np.float32(n) for n in numbers))  # as the file holds them
        counts["models"] += 1
        counts["arrays"] += len(expected)
    show("LSTMs there and back", counts)


def same_bits(mine, other):
    assert set(mine) == set(other)
    for name, array in mine.items():
        assert array.tobytes() == other[name].tobytes(), name


CHAINS = {
    "tokens": lambda: {
        "embedding": Embedding(7, 3, seed=0),
        "lstm": lk.LSTM(3, 4, 2, seed=0),
        "linear": Linear(4, 7, seed=0),
        "activation": Activation("log_softmax"),
    },
    "last": lambda: {
        "lstm": Recurrent(lk.LSTM(3, 4, bidirectional=True, seed=0), last=True),
        "linear": Linear(8, 2, bias=False, seed=0),
        "activation": Activation("relu"),
    },
    "backwards": lambda: {
        "lstm": Recurrent(lk.LSTM(3, 4, seed=0), backwards=True),
        "linear": Linear(4, 2, seed=0),
    },
    "two cells": lambda: {
        "lstm": Bidirectional(
            Recurrent(lk.LSTM(3, 4, seed=0)),
            Recurrent(lk.LSTM(3, 4, activations=("sigmoid", "relu", "tanh")), backwards=True),
            "sum",
        ),
        "linear": Linear(4, 2, seed=0),
    },
}


@pytest.mark.parametrize("kind", CHAINS)
def test_chains_come_back_with_every_bit(kind, tmp_path):
    rng = np.random.default_rng(10)
    model = shaken(Sequential(CHAINS[kind]()), rng)
    for states, lengths in itertools.product((False, True), repeat=2):
        if kind == "last" and states and lengths:
            continue  # the choice of the state where a length is 0 is not followed by its nodes
        save(model, tmp_path / "m.onnx", states=states, lengths=lengths)
        there_and_back(model, tmp_path / "m.onnx")
        without_entry(tmp_path / "m.onnx")
        back = load(tmp_path / "m.onnx")
        assert list(back.layers) == list(model.layers)
        same_bits(back.parameters, model.parameters)
        x = rng.integers(0, 7, (2, 5)) if model.embedding else rng.normal(size=(2, 5, 3))
        assert np.array_equal(back(x, lengths=[5, 2])[0], model(x, lengths=[5, 2])[0])


# ---------------------------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 13}, r"onnx\.save: opset is 13; expected one of 14, 15, .*22"),
        ({"opset": 23}, "opset is 23"),
        ({"opset": "17"}, "opset is '17'; expected a whole number"),
        ({"states": 2}, "states is 2"),
        ({"lengths": "yes"}, "lengths is 'yes'"),
    ],
)
def test_wrong_options_are_refused_in_a_line(options, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        save(lk.LSTM(2, 3), tmp_path / "m.onnx", **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="model is Linear; expected an LSTM or a Sequential"):
        save(Linear(2, 3), tmp_path / "m.onnx")
    layers = {"a": Recurrent(lk.LSTM(2, 3), last=True), "b": lk.LSTM(3, 3)}
    with pytest.raises(InputError, match="layer 'b' stands after one that gives one step"):
        save(Sequential(layers), tmp_path / "m.onnx")
    both = Bidirectional(Recurrent(lk.LSTM(2, 3)), Recurrent(lk.LSTM(2, 3), backwards=True))
    layers = {"a": both, "a_forward": lk.LSTM(6, 3)}
    with pytest.raises(InputError, match="two things would be called 'h_0_a_forward'"):
        save(Sequential(layers), tmp_path / "m.onnx", states=True)
    assert not list(tmp_path.iterdir())


def test_too_many_weights_for_one_message_are_refused(tmp_path, monkeypatch):
    model = lk.LSTM(8, 16, seed=0)
    monkeypatch.setattr(build, "LIMIT", 4 * 64 * (8 + 16 + 2))  # W, R and both halves of B: all
    save(model, tmp_path / "m.onnx")
    monkeypatch.setattr(build, "LIMIT", build.LIMIT - 1)
    with pytest.raises(InputError, match="GiB of weights; expected less") as caught:
        save(model, tmp_path / "n.onnx")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_without_the_onnx_package_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'lstmkit\[onnx\]'"):
        save(lk.LSTM(2, 3), tmp_path / "m.onnx")


def test_an_older_onnx_package_says_which_opsets_it_knows(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 21)
    with pytest.raises(InputError, match="opset is 22; the installed onnx package knows 21"):
        save(lk.LSTM(2, 3), tmp_path / "m.onnx", opset=22)


def test_a_failure_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    for module, name in ((steps, "_activations"), (os, "fsync")):  # early and late
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(OSError, match="No space left"):
                save(lk.LSTM(2, 3), path)
        assert path.read_bytes() == b"old"
        assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]
