"""Chains of layers: what each link does, masks, streams and files."""

import json
import time
import tracemalloc

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.shapes import InputError

pytestmark = pytest.mark.usefixtures("twin")


def lstm(inputs, hidden, seed=0, **options):
    return lk.LSTM(inputs, hidden, dtype="float64", seed=seed, **options)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def tokens_model():
    return lk.Sequential(
        {
            "embedding": lk.Embedding(7, 3, dtype="float64", seed=1),
            "first": lstm(3, 5, seed=2),
            "second": lk.Recurrent(lstm(5, 4, seed=3, peepholes=True), last=True),
            "head": lk.Linear(4, 2, dtype="float64", seed=4),
            "softmax": lk.Activation("softmax"),
        }
    )


def test_a_chain_is_its_layers_one_after_the_other():
    model = tokens_model()
    x = np.random.default_rng(0).integers(0, 7, (3, 6))
    y, state = model(x, lengths=[6, 2, 0])
    first, second = model.lstms
    middle, _ = first(model.layers["embedding"](x), lengths=[6, 2, 0])
    _, (h, _) = second(middle, lengths=[6, 2, 0])
    z = model.layers["head"](h[-1])
    np.testing.assert_allclose(y, np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-12)
    assert [pair[0].shape for pair in state] == [(1, 3, 5), (1, 3, 4)]
    assert next(iter(model.parameters)) == "embedding.weight"
    assert (model.input_size, model.output_size) == (7, 2)


def test_states_go_in_as_they_come_out():
    model = lk.Sequential({"a": lstm(3, 5), "b": lstm(5, 2)})
    x = numbers(2, 8, 3)
    whole, end = model(x)
    first, state = model(x[:, :3])
    second, again = model(x[:, 3:], state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-12)
    np.testing.assert_allclose(again[1][1], end[1][1], rtol=1e-12)


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_mask_passes_over_steps_wherever_they_are(backwards, turned, repeat):
    layer = lstm(3, 4)
    model = lk.Sequential(
        {"a": lk.Recurrent(layer, backwards=backwards, turned=turned, repeat=repeat)}
    )
    x, mask = numbers(6, 7, 3), np.random.default_rng(1).random((6, 7)) < 0.6
    mask[0], mask[1] = False, True
    y, ((h, c),) = model(x, mask=mask)
    for n in range(6):  # one sequence at a time, step by step, in the order of reading
        stream, latest, expected = layer.stream(), np.zeros(4), np.zeros((7, 4))
        places = list(range(7))[::-1] if backwards else list(range(7))
        for count, t in enumerate(places):
            if mask[n, t]:
                latest = stream.step(x[n, t : t + 1])[0]
            shown = latest if mask[n, t] or repeat else 0
            expected[count if turned else t] = shown
        np.testing.assert_allclose(y[n], expected, atol=1e-12)
        np.testing.assert_allclose(h[0, n], stream.state[0][0, 0], atol=1e-12)
        np.testing.assert_allclose(c[0, n], stream.state[1][0, 0], atol=1e-12)


def test_last_is_the_end_of_reading_of_each_direction_and_the_last_step_a_place():
    both = lstm(3, 4, bidirectional=True)
    x, lengths = numbers(3, 5, 3), [5, 3, 1]
    y, _ = both(x, lengths=lengths)
    ends, _ = lk.Sequential({"a": lk.Recurrent(both, last=True)})(x, lengths=lengths)
    place, _ = lk.Sequential({"a": both, "b": lk.LastStep()})(x, lengths=lengths)
    for n, length in enumerate(lengths):
        np.testing.assert_array_equal(ends[n], np.r_[y[n, length - 1, :4], y[n, 0, 4:]])
        np.testing.assert_array_equal(place[n], y[n, length - 1])
    np.testing.assert_array_equal(lk.LastStep()(y), y[:, -1])


@pytest.mark.parametrize("how", ["mean", "max"])
def test_pooling_is_over_the_steps_that_count(how):
    model = lk.Sequential({"a": lstm(3, 4), "b": lk.Pooling(how)})
    x, mask = numbers(6, 7, 3), np.random.default_rng(1).random((6, 7)) < 0.6
    mask[0], mask[1] = False, True
    pooled, _ = model(x, mask=mask)
    y, _ = lk.Sequential({"a": lstm(3, 4)})(x, mask=mask)
    assert not pooled[0].any()
    for n in range(1, 6):
        np.testing.assert_allclose(pooled[n], getattr(y[n, mask[n]], how)(axis=0), atol=1e-12)
    whole = getattr(lstm(3, 4)(x)[0], how)(axis=1)
    np.testing.assert_allclose(model(x)[0], whole, atol=1e-12)
    again = lk.Sequential.from_parameters(model.config, model.parameters)
    np.testing.assert_array_equal(again(x, mask=mask)[0], pooled)
    assert repr(again) == f"Sequential(a: LSTM(3, 4), b: Pooling({how!r}))"


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_two_links_side_by_side_are_a_bidirectional_layer(merge):
    both = lstm(3, 4, bidirectional=True)
    halves = []
    for suffix in ("", "_reverse"):
        half = lstm(3, 4)
        for name in list(half.parameters):
            half.parameters[name][:] = both.parameters[name + suffix]
        halves.append(half)
    forward, backward = lk.Recurrent(halves[0]), lk.Recurrent(halves[1], backwards=True)
    model = lk.Sequential({"a": lk.Bidirectional(forward, backward, merge)})
    x, lengths = numbers(3, 5, 3), [5, 0, 2]
    y, _ = both(x, lengths=lengths)
    one, two = y[..., :4], y[..., 4:]
    expected = {"concat": y, "sum": one + two, "mul": one * two, "ave": (one + two) / 2}[merge]
    got, states = model(x, lengths=lengths)
    np.testing.assert_allclose(got, expected, atol=1e-14)
    assert len(states) == 2
    assert set(model.parameters) > {"a.forward.weight_ih_l0", "a.backward.bias_l0"}


def test_masking_finds_the_steps_that_count():
    layer = lk.Sequential({"mask": lk.Masking(-1.0), "a": lk.Recurrent(lstm(2, 3), repeat=True)})
    x = numbers(2, 6, 2)
    x[0, 2:4] = x[1, 5] = -1
    x[1, 1, 0] = -1  # one feature alone does not mask
    y, _ = layer(x)
    mask = np.ones((2, 6), bool)
    mask[0, 2:4] = mask[1, 5] = False
    expected, _ = lk.Sequential({"a": layer.layers["a"]})(x, mask=mask)
    np.testing.assert_array_equal(y, expected)
    ids = np.array([[3, 0, 2]])
    model = lk.Sequential({"mask": lk.Masking(0), **tokens_model().layers})
    np.testing.assert_array_equal(model(ids)[0], tokens_model()(ids[:, [0, 2]])[0])


def test_a_stream_gives_what_the_whole_gives_and_its_parts_can_be_moved():
    model = tokens_model()
    x = np.random.default_rng(0).integers(0, 7, (3, 6))
    stream = model.stream(3)
    for t in range(6):
        y = stream.step(x[:, t])
        np.testing.assert_allclose(y, model(x[:, : t + 1])[0], rtol=1e-12)
        if t == 2:
            saved, states = stream.snapshot(), stream.state
    stream.restore(saved)
    other = model.stream(3)
    other.state = states
    np.testing.assert_array_equal(stream.step(x[:, 3]), other.step(x[:, 3]))
    other.reset(rows=[1])
    for (h, _), (kept, _) in zip(other.state, stream.state, strict=True):
        assert not h[:, 1].any()
        np.testing.assert_array_equal(h[:, [0, 2]], kept[:, [0, 2]])
    with pytest.raises(InputError, match="something else than"):
        lk.LSTM(3, 5, seed=0).stream(3).restore(saved)
    with pytest.raises(InputError, match="damaged"):
        stream.restore(saved[:-1])
    states = stream.state
    with pytest.raises(InputError, match="shape"):
        stream.state = (states[0], states[0])
    np.testing.assert_array_equal(stream.state[1][0], states[1][0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2, 5, 33])
def test_a_stream_has_the_bits_of_the_whole(twin, batch, dtype):
    """In the native engine; NumPy's products differ in their last bits with the number of rows."""
    options = {"dtype": dtype, "seed": 1}
    model = lk.Sequential(
        {
            "tokens": lk.Embedding(40, 7, **options),
            "one": lk.LSTM(7, 19, 2, peepholes=True, **options),
            "tanh": lk.Activation("tanh"),
            "two": lk.LSTM(19, 10, layer_norm=True, proj_size=6, **options),
            "head": lk.Linear(6, 5, **options),
            "softmax": lk.Activation("softmax"),
        }
    )
    x = np.random.default_rng(0).integers(0, 40, (batch, 12))
    whole, end = model(x)
    stream = model.stream(batch)
    steps = np.stack([stream.step(x[:, t]) for t in range(12)], axis=1)
    same = np.testing.assert_array_equal
    if twin == "numpy":
        same = np.testing.assert_allclose if dtype == "float64" else _about
    same(steps, whole)
    for (h, c), (h_end, c_end) in zip(stream.state, end, strict=True):
        same(h, h_end)
        same(c, c_end)


def _about(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5)  # float32, through five layers


def test_a_step_takes_what_the_whole_takes_and_refuses_the_rest():
    stream = tokens_model().stream(2)
    y = stream.step([1, 2])
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.array([1, 2], np.int32)), y)
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.array([1, 9, 2, 9])[::2]), y)
    for wrong, message in [
        (np.array([0, 7]), r"x\[1\] is 7; expected 0 to 6"),
        (np.array([-1, 0]), r"x\[0\] is -1; expected 0 to 6"),
        (np.array([1, 2, 3]), r"x has shape \(3,\); expected \(batch=2,\)"),
        (np.array([0.5, 1]), "expected integers"),
    ]:
        before = stream.snapshot()
        with pytest.raises(InputError, match=message):
            stream.step(wrong)
        assert stream.snapshot() == before
    stream = lk.Sequential({"m": lk.Masking(-1.0), "a": lstm(3, 4)}).stream(2)
    y = stream.step([[1, 2, 3], [4, 5, 6]])
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.array([[1.0, 2, 3], [4, 5, 6]])), y)
    with pytest.raises(InputError, match=r"x has shape \(2, 2\)"):
        stream.step([[1, 2], [3, 4]])
    with pytest.raises(InputError, match=r"stream.step: x_t has shape \(2, 2\)"):
        lk.Sequential({"a": lstm(3, 4)}).stream(2).step([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "change",
    [
        lambda s: b"",
        lambda s: b"\xff" * 100,
        lambda s: s[:-1],
        lambda s: s + b"\0",
        lambda s: (2**62).to_bytes(8, "little") + s[8:],
        lambda s: s.replace(b"[1,2,5]", b"[1,5,2]"),
        lambda s: s.replace(b"F64", b"I64", 1),
        lambda s: s.replace(b"0.h", b"9.h"),
        lambda s: lk.Sequential({"a": lk.LSTM(3, 4, seed=0)}).stream().snapshot(),
        lambda s: bytearray(b"x"),
        lambda s: "text",
        lambda s: None,
    ],
)
def test_a_snapshot_that_is_none_changes_nothing(change):
    stream = tokens_model().stream(2)
    stream.step([1, 2])
    snapshot = stream.snapshot()
    stream.step([3, 4])
    before = stream.snapshot()
    with pytest.raises(InputError, match=r"stream\.restore: ") as info:
        stream.restore(change(snapshot))
    assert "\n" not in str(info.value)
    assert stream.snapshot() == before
    stream.restore(snapshot)
    assert stream.snapshot() == snapshot


def test_a_saved_chain_comes_back(tmp_path):
    model = lk.Sequential(
        {
            "mask": lk.Masking(2.5),
            "two": lk.Bidirectional(
                lk.Recurrent(lstm(3, 4), repeat=True),
                lk.Recurrent(lstm(3, 4, seed=1), backwards=True, turned=True, repeat=True),
                "ave",
            ),
            "last": lk.LastStep(),
            "head": lk.Linear(4, 2, bias=False, dtype="float64", seed=4),
            "relu": lk.Activation("relu"),
        }
    )
    model.save(tmp_path / "a.safetensors")
    again = lk.load(tmp_path / "a.safetensors")
    x = numbers(2, 5, 3)
    np.testing.assert_array_equal(again(x)[0], model(x)[0])
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert repr(again) == repr(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lk.Sequential({}), "no dict of 1 to"),
        (lambda: lk.Sequential({"a.b": lstm(3, 4)}), "without a dot"),
        (lambda: lk.Sequential({"a": 7}), "expected a layer"),
        (lambda: lk.Sequential({"a": lstm(3, 4), "b": lstm(3, 4)}), "takes 3 numbers and gets 4"),
        (lambda: lk.Sequential({"a": lstm(3, 4), "b": lk.Linear(4, 1)}), "dtypes are float32, flo"),
        (lambda: lk.Sequential({"a": lk.LastStep()}), "dtypes are none"),
        (lambda: lk.Sequential({"a": lstm(3, 3), "b": lk.Embedding(3, 3)}), "to be the first"),
        (lambda: lk.Recurrent(lstm(3, 3, bidirectional=True), backwards=True), "reads both ways"),
        (lambda: lk.Recurrent(lk.Linear(1, 1)), "expected an LSTM"),
        (
            lambda: lk.Bidirectional(lk.Recurrent(lstm(3, 3)), lk.Recurrent(lstm(2, 3))),
            "differ in input_size",
        ),
        (
            lambda: lk.Bidirectional(lk.Recurrent(lstm(3, 3)), lk.Recurrent(lstm(3, 2)), "sum"),
            "cannot be joined",
        ),
        (lambda: lk.Activation("nonsense"), "expected one of"),
        (lambda: tokens_model()([[7]]), "x"),
        (lambda: tokens_model()([[1]], state=()), "2 pairs"),
        (lambda: tokens_model()([[1]], lengths=[1], mask=[[True]]), "one of them"),
        (
            lambda: lk.Sequential({"a": lk.LastStep(), "b": lstm(3, 4)})(numbers(1, 2, 3)),
            "'b' gets",
        ),
        (
            lambda: lk.Sequential({"a": lk.Recurrent(lstm(3, 4), backwards=True)}).stream(),
            "'a' reads from the end",
        ),
        (lambda: lk.Pooling("sum"), "pooling: how is 'sum'"),
        (
            lambda: lk.Sequential({"a": lstm(3, 4), "b": lk.Pooling("max")}).stream(),
            "'b' pools all steps",
        ),
        (
            lambda: lk.Sequential(
                {"a": lstm(3, 4), "b": lk.Pooling("max"), "c": lk.Pooling("max")}
            )(numbers(1, 2, 3)),
            "'c' gets",
        ),
        (
            lambda: (
                lk.Sequential({"m": lk.Masking(0), "a": lstm(3, 4)})
                .stream(2)
                .step([[1, 2, 3], [0, 0, 0]])
            ),
            "row 1 is masked",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as info:
        make()
    assert "\n" not in str(info.value)


def small():
    return lk.Sequential(
        {
            "tokens": lk.Embedding(7, 3, seed=0),
            "two": lk.Bidirectional(
                lk.Recurrent(lk.LSTM(3, 4, seed=1)),
                lk.Recurrent(lk.LSTM(3, 4, seed=2), backwards=True),
            ),
            "head": lk.Linear(8, 2, seed=3),
            "relu": lk.Activation("relu"),
        }
    )


HUGE = 10**9
DISAGREE = {
    "no layers": (lambda c, a: c.pop("layers"), "config is no dict of dtype and layers"),
    "layers are none": (lambda c, a: c["layers"].clear(), "layers is no list of 1 to 1024"),
    "layers are a dict": (lambda c, a: c.update(layers={}), "layers is no list of 1 to 1024"),
    "layers are many": (lambda c, a: c["layers"].extend([[]] * 2000), "no list of 1 to 1024"),
    "a setting too many": (lambda c, a: c.update(x=1), "config is no dict of dtype and layers"),
    "another dtype": (lambda c, a: c.update(dtype="float64"), "layers' dtypes are float32, float"),
    "no dtype": (lambda c, a: c.update(dtype=["f4"]), "dtype is .'f4'.; expected one of"),
    "a row of two": (lambda c, a: c["layers"].append(["x", "LastStep"]), "expected .name, kind"),
    "a row of numbers": (lambda c, a: c["layers"].append([1, 2, 3]), "expected .name, kind"),
    "a name twice": (lambda c, a: c["layers"].append(["relu", "LastStep", {}]), "comes twice"),
    "a name with a dot": (lambda c, a: c["layers"].append(["a.b", "LastStep", {}]), "a dot"),
    "a kind unknown": (lambda c, a: change(c, "relu", 1, "Dense"), "'relu': its kind is 'Dense'"),
    "another kind": (lambda c, a: change(c, "head", 1, "Embedding"), "'head': embedding: config"),
    "an option too many": (lambda c, a: options(c, "relu").update(x=1), "'relu': .*unexpected"),
    "a side too many": (lambda c, a: options(c, "two").update(x={}), "'two': bidirectional: conf"),
    "a side missing": (lambda c, a: options(c, "two").pop("forward"), "'two': bidirectional: con"),
    "a side no dict": (lambda c, a: options(c, "two").update(forward=[1]), "'two': "),
    "an lstm missing": (lambda c, a: options(c, "two")["forward"].pop("lstm"), "lacks 'lstm'"),
    "an lstm no dict": (lambda c, a: options(c, "two")["forward"].update(lstm=3), "'two': "),
    "an lstm's option": (lambda c, a: lstm_of(c).update(rotary=1), "config cannot be used"),
    "an lstm's size": (lambda c, a: lstm_of(c).update(hidden_size=5), r"shape \(16, 3\); expected"),
    "an lstm's huge size": (lambda c, a: lstm_of(c).update(hidden_size=2**24), "shape"),
    "an lstm's layers": (lambda c, a: lstm_of(c).update(num_layers=1024), "missing"),
    "a dtype of a list": (lambda c, a: lstm_of(c).update(dtype=[["a", "f4"]]), "'two': lstm: dtyp"),
    "a dtype of text": (lambda c, a: lstm_of(c).update(dtype="m8[q]"), "'two': "),
    "rows": (lambda c, a: options(c, "tokens").update(num_embeddings=8), r"shape \(7, 3\); expect"),
    "huge rows": (lambda c, a: options(c, "tokens").update(num_embeddings=HUGE), "weight has sh"),
    "beyond": (lambda c, a: options(c, "tokens").update(num_embeddings=10**400), "weight has sha"),
    "rows of text": (lambda c, a: options(c, "tokens").update(num_embeddings="7"), "is '7'"),
    "huge outputs": (lambda c, a: options(c, "head").update(output_size=HUGE), "weight has sh"),
    "a bias of text": (lambda c, a: options(c, "head").update(bias="no"), "bias is 'no'"),
    "no bias": (lambda c, a: options(c, "head").update(bias=False), "unknown .'bias'"),
    "a dtype that differs": (lambda c, a: options(c, "head").update(dtype="float64"), "dtype"),
    "an array missing": (lambda c, a: a.pop("head.bias"), "'head': linear: parameters does"),
    "an array too many": (lambda c, a: a.update({"head.x": np.ones(1)}), "unknown .'x'"),
    "an array of relu": (lambda c, a: a.update({"relu.x": np.ones(1)}), "'relu': it has the array"),
    "an array of none": (lambda c, a: a.update({"x": np.ones(1)}), "'x' belong to no layer"),
    "an array of a side": (lambda c, a: a.update({"two.x": np.ones(1)}), "'two': bidirectional"),
}  # fmt: skip


def change(config, name, place, value):
    next(row for row in config["layers"] if row[0] == name)[place] = value


def options(config, name):
    return next(row for row in config["layers"] if row[0] == name)[2]


def lstm_of(config):
    return options(config, "two")["forward"]["lstm"]


@pytest.mark.parametrize("case", DISAGREE)
def test_a_config_that_disagrees_with_the_arrays_is_told(case):
    edit, message = DISAGREE[case]
    model = small()
    config, arrays = json.loads(json.dumps(model.config)), dict(model.parameters)
    lk.Sequential.from_parameters(config, arrays)
    edit(config, arrays)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as info:
            lk.Sequential.from_parameters(config, arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 1000
    assert peak < 2_000_000  # bytes: whatever size the config speaks of


def test_many_arrays_and_many_layers_take_no_time():
    rows = [[str(k), "LastStep", {}] for k in range(1024)]
    arrays = {f"{k}.x": np.zeros(1) for k in range(200_000)}
    began = time.monotonic()
    with pytest.raises(InputError, match="'0': it has the array"):
        lk.Sequential.from_parameters({"dtype": "float32", "layers": rows}, arrays)
    assert time.monotonic() - began < 5  # a look at every pair takes a minute


def test_of_several_layers_the_last_one_shows_its_end():
    lstm = lk.LSTM(2, 3, 2, bidirectional=True, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 4, 2), np.float32)
    whole, _ = lstm(x)
    y, _ = lk.Sequential({"lstm": lk.Recurrent(lstm, last=True)})(x)
    np.testing.assert_array_equal(y, np.concatenate([whole[:, -1, :3], whole[:, 0, 3:]], axis=1))
