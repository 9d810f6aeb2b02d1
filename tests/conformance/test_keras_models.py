"""Models that Keras makes, saves and opens, beside what we make of the files.

Weights are drawn large, so that gates and masks matter; float32 is held to 1e-5 and float64 to
1e-10. Inputs are padded in front, behind, in the middle and everywhere.
"""

import itertools
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lstmkit as lk
from lstmkit.formats import keras as ours
from lstmkit.layers import Activation, Bidirectional, Embedding, Linear, Masking, Recurrent
from lstmkit.shapes import InputError

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # PyTorch's
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),  # it does
]

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
MASKS = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0] * 6],
    bool,
)
"""No padding, behind, in front, holes, nothing else."""


@pytest.fixture(scope="module")
def keras():
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    assert keras.backend.backend() == "torch"
    yield keras
    compute_in(keras, "float32")


def compute_in(keras, dtype):
    """Set the dtype of Keras's layers, and of what it turns the inputs of `predict` into.

    On PyTorch Keras multiplies float64 matrices in float32, "to be aligned with JAX's default
    behavior"; where float64 is compared, that table of it is set aside.
    """
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = dtype
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


@pytest.fixture
def L(keras):
    compute_in(keras, "float32")
    keras.utils.clear_session()
    return keras.layers


def drawn(model, seed=0):
    """Give a model of Keras's weights that are larger than its own."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.6, size=weight.shape))
    return model


def sequential(keras, layers, tokens=None, dtype="float32", features=3):
    start = (
        keras.Input((None,), dtype="int32")
        if tokens
        else keras.Input((None, features), dtype=dtype)
    )
    return drawn(keras.Sequential([start, *layers]))


def inputs(tokens=None, features=3, value=0.0, dtype="float32"):
    rng = np.random.default_rng(1)
    if tokens:
        return np.where(MASKS, rng.integers(1, tokens, MASKS.shape), 0)
    x = rng.normal(size=(*MASKS.shape, features))
    return np.where(MASKS[..., None], x, value).astype(dtype)


def compare(model, x, folder, suffixes=(".keras", ".h5"), dtype="float32"):
    """Save a model of Keras's in every format; ours gives what it predicts."""
    expected = model.predict(x, verbose=0)
    for suffix in suffixes:
        path = folder / f"model{suffix}"
        model.save(path)
        contents = ours.read(path)
        assert contents.left_over == []
        y, _ = contents.model(x)
        assert y.shape == expected.shape
        assert np.abs(y - expected).max() <= TOLERANCE[dtype], suffix
        assert contents.model.dtype == dtype
    return contents.model


# ------------------------------------------------------------------------------------- one layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
def test_an_lstm(keras, L, tmp_path, dtype, masked, sequences, backwards, zeros):
    if zeros and not sequences:
        zeros = False  # refused; see below
    compute_in(keras, dtype)
    layer = L.LSTM(
        4, return_sequences=sequences, go_backwards=backwards, zero_output_for_mask=zeros
    )
    model = sequential(keras, [L.Masking(0.0), layer] if masked else [layer], dtype=dtype)
    compare(model, inputs(dtype=dtype), tmp_path, dtype=dtype)


@pytest.mark.parametrize(
    ("activation", "gates"),
    [
        ("tanh", "sigmoid"), ("relu", "sigmoid"), ("tanh", "hard_sigmoid"), ("linear", "sigmoid"),
        ("softsign", "hard_sigmoid"), ("softplus", "sigmoid"), ("elu", "tanh"),
        ("leaky_relu", "sigmoid"), (None, "softsign"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_the_activations_of_an_lstm(keras, L, tmp_path, activation, gates, bias):
    layer = L.LSTM(4, activation=activation, recurrent_activation=gates, use_bias=bias)
    compare(sequential(keras, [layer]), inputs(), tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_both_directions(keras, L, tmp_path, dtype, merge, sequences, masked):
    compute_in(keras, dtype)
    layer = L.Bidirectional(L.LSTM(4, return_sequences=sequences), merge_mode=merge)
    model = sequential(keras, [L.Masking(0.0), layer] if masked else [layer], dtype=dtype)
    compare(model, inputs(dtype=dtype), tmp_path, dtype=dtype)


@pytest.mark.parametrize("masked", [False, True])
def test_directions_that_differ(keras, L, tmp_path, masked):
    layer = L.Bidirectional(
        L.LSTM(4, return_sequences=True, activation="relu"),
        backward_layer=L.LSTM(5, return_sequences=True, go_backwards=True, use_bias=False),
    )
    compare(sequential(keras, [L.Masking(0.0), layer] if masked else [layer]), inputs(), tmp_path)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.5])
def test_a_masking_layer_also_sets_to_zero(keras, L, tmp_path, value):
    layers = [L.Masking(value), L.Dense(3), L.LSTM(4, return_sequences=True), L.Dense(2)]
    compare(sequential(keras, layers), inputs(value=value), tmp_path)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_an_embedding(keras, L, tmp_path, mask_zero):
    layers = [
        L.Embedding(9, 5, mask_zero=mask_zero),
        L.Bidirectional(L.LSTM(4, return_sequences=True)),
        L.LSTM(3),
        L.Dense(2, activation="softmax"),
    ]
    compare(sequential(keras, layers, tokens=9), inputs(tokens=9), tmp_path)


ACTIVATIONS = {
    "relu": lambda L: L.ReLU(),
    "leaky": lambda L: L.ReLU(negative_slope=0.3),
    "LeakyReLU": lambda L: L.LeakyReLU(negative_slope=0.15),
    "ELU": lambda L: L.ELU(alpha=0.7),
    "Softmax": lambda L: L.Softmax(),
    "hard": lambda L: L.Activation("hard_sigmoid"),
    "log_softmax": lambda L: L.Activation("log_softmax"),
    "softplus": lambda L: L.Activation("softplus"),
    "in a Dense": lambda L: L.Dense(3, activation="leaky_relu", use_bias=False),
    "a layer in a Dense": lambda L: L.Dense(3, activation=L.LeakyReLU(negative_slope=0.4)),
    "at each step": lambda L: L.TimeDistributed(L.Dense(3, activation="tanh")),
    "nothing": lambda L: L.TimeDistributed(L.Dropout(0.2)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_heads(keras, L, tmp_path, name):
    model = sequential(keras, [L.LSTM(4, return_sequences=True), ACTIVATIONS[name](L)])
    compare(model, inputs(), tmp_path)


def test_layers_that_do_nothing_in_inference(keras, L, tmp_path):
    layers = [
        L.SpatialDropout1D(0.2),
        L.LSTM(4, return_sequences=True, dropout=0.3, recurrent_dropout=0.2),
        L.Dropout(0.5),
        L.GaussianNoise(0.3),
        L.GaussianDropout(0.1),
        L.AlphaDropout(0.1),
        L.ActivityRegularization(0.1),
        L.Bidirectional(L.LSTM(3, dropout=0.1)),
        L.Dense(2),
    ]
    compare(sequential(keras, layers), inputs(), tmp_path)


# ----------------------------------------------------------------------------------- whole models


@pytest.mark.parametrize("masked", [False, True])
def test_models_in_models(keras, L, tmp_path, masked):
    inner = keras.Sequential([L.LSTM(4, return_sequences=True), L.LSTM(5, return_sequences=True)])
    deep = keras.Sequential([keras.Input((None, 5)), keras.Sequential([L.LSTM(3), L.Dense(2)])])
    layers = [inner, L.RNN(L.LSTMCell(5), return_sequences=True), L.Dense(5), deep]
    model = sequential(keras, [L.Masking(0.0), *layers] if masked else layers)
    compare(model, inputs(), tmp_path)


def test_what_is_frozen_stands_behind_in_older_files(keras, L, tmp_path):
    frozen = L.LSTM(3, return_sequences=True, trainable=False)
    inner = keras.Sequential([frozen, L.LSTM(3, return_sequences=True), L.LSTM(3)])
    compare(sequential(keras, [inner, L.Dense(3)]), inputs(), tmp_path)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_functional_model(keras, L, tmp_path, mask_zero):
    start = keras.Input((None,), dtype="int32")
    x = L.Embedding(9, 5, mask_zero=mask_zero)(start)
    x = L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    x = L.Dropout(0.3)(x)
    x, _, _ = L.LSTM(3, return_state=True, return_sequences=True)(x)
    x = keras.Sequential([keras.Input((None, 3)), L.LSTM(4)])(x)
    model = drawn(keras.Model(start, L.Dense(2, activation="sigmoid")(x)))
    compare(model, inputs(tokens=9), tmp_path)


def test_a_functional_model_with_a_masking_layer(keras, L, tmp_path):
    start = keras.Input((None, 3))
    x = L.LSTM(4, return_sequences=True)(L.Masking(0.0)(start))
    x = L.LSTM(4, return_sequences=True, go_backwards=True)(L.TimeDistributed(L.Dense(2))(x))
    compare(drawn(keras.Model(start, L.LSTM(3)(x))), inputs(), tmp_path)


LAYERS = st.one_of(
    st.tuples(
        st.just("LSTM"),
        st.fixed_dictionaries(
            {
                "units": st.integers(1, 5),
                "go_backwards": st.booleans(),
                "use_bias": st.booleans(),
                "zero_output_for_mask": st.booleans(),
                "activation": st.sampled_from(["tanh", "relu", "softsign", "linear"]),
                "recurrent_activation": st.sampled_from(["sigmoid", "hard_sigmoid"]),
            }
        ),
    ),
    st.tuples(
        st.just("Bidirectional"),
        st.fixed_dictionaries(
            {
                "units": st.integers(1, 5),
                "use_bias": st.booleans(),
                "merge_mode": st.sampled_from(["concat", "sum", "mul", "ave"]),
            }
        ),
    ),
    st.tuples(st.just("Dense"), st.fixed_dictionaries({"units": st.integers(1, 5)})),
    st.tuples(st.just("Dropout"), st.just({"rate": 0.4})),
    st.tuples(st.just("Activation"), st.just({"activation": "tanh"})),
)


def made(L, kind, options, sequences=True):
    if kind == "LSTM":
        if not sequences:
            options = {**options, "zero_output_for_mask": False}
        return L.LSTM(**options, return_sequences=sequences)
    if kind == "Bidirectional":
        merge = options["merge_mode"]
        inner = {key: value for key, value in options.items() if key != "merge_mode"}
        return L.Bidirectional(L.LSTM(**inner, return_sequences=sequences), merge_mode=merge)
    return getattr(L, kind)(**options)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    first=LAYERS,
    rest=st.lists(LAYERS, max_size=3),
    start=st.sampled_from(["numbers", "masked", "tokens", "masked tokens"]),
    sequences=st.booleans(),
    units=st.integers(1, 4),
)
def test_chains_of_any_layers(keras, tmp_path_factory, first, rest, start, sequences, units):
    compute_in(keras, "float32")
    L = keras.layers
    tokens = 9 if "tokens" in start else None
    layers = [made(L, *layer) for layer in (first, *rest)]
    layers.append(L.LSTM(units, return_sequences=sequences))
    if tokens:
        layers.insert(0, L.Embedding(tokens, 3, mask_zero="masked" in start))
    elif "masked" in start:
        layers.insert(0, L.Masking(0.0))
    compare(sequential(keras, layers, tokens), inputs(tokens), tmp_path_factory.mktemp("chain"))


# ------------------------------------------------------------------------------- the files' names


def test_weights_stand_where_classes_are_counted_not_where_names_say(keras, L, tmp_path):
    layers = [L.LSTM(3, name="zeta", return_sequences=True), L.LSTM(3, name="alpha"), L.Dense(2)]
    model = sequential(keras, layers)
    model.save(tmp_path / "model.keras")
    names = [name for name, _, _ in ours.read(tmp_path / "model.keras").arrays]
    assert "layers/lstm/cell/vars/0" in names
    assert "layers/lstm_1/cell/vars/0" in names
    loaded = ours.load(tmp_path / "model.keras")
    for layer in model.layers[:2]:
        weight = loaded.parameters[f"{layer.name}.weight_ih_l0"]
        np.testing.assert_array_equal(weight.T, layer.get_weights()[0])


def test_the_forget_bias_is_in_the_file_and_not_added_again(keras, L, tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), L.LSTM(2, unit_forget_bias=True)])
    model.save(tmp_path / "model.keras")
    bias = next(
        a for name, a in ours.load(tmp_path / "model.keras").parameters.items() if "bias" in name
    )
    assert bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_weights_alone(keras, L, tmp_path):
    layers = [
        L.Embedding(9, 5), L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Dropout(0.1),
        L.LSTM(6, return_sequences=True, use_bias=False), L.LSTM(3, return_sequences=True),
        L.TimeDistributed(L.Dense(2)),
    ]  # fmt: skip
    model = sequential(keras, layers, tokens=9)
    model.save_weights(tmp_path / "model.weights.h5")
    contents = ours.read(tmp_path / "model.weights.h5")
    assert "no config" in dict(contents.facts)["assumed"]
    x = inputs(tokens=9)
    y, _ = contents.model(x)
    assert np.abs(y - model.predict(x, verbose=0)).max() <= 1e-5


def test_weights_alone_whose_order_is_open(keras, L, tmp_path):
    layers = [L.LSTM(3, return_sequences=True), L.Dense(3)]
    sequential(keras, layers).save_weights(tmp_path / "model.weights.h5")
    contents = ours.read(tmp_path / "model.weights.h5")
    assert contents.model is None
    assert "more than one order" in contents.left_over[0]
    assert len(contents.arrays) == 5


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16"])
def test_smaller_floats_are_widened(keras, L, tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    # PyTorch draws no orthogonal matrix of so small numbers.
    layers = [L.LSTM(4, return_sequences=True, recurrent_initializer="zeros"), L.Dense(2)]
    model = sequential(keras, layers)
    for suffix in (".keras", ".weights.h5"):
        path = tmp_path / f"model{suffix}"
        model.save_weights(path) if "weights" in suffix else model.save(path)
        contents = ours.read(path)
        y, _ = contents.model(inputs())
        assert y.dtype == np.float32
        assert np.abs(y - model.predict(inputs(), verbose=0)).max() < 5e-2
        weights = [np.asarray(w, "float32") for w in model.get_weights()]
        kernel = contents.model.lstms[0].parameters["weight_ih_l0"].T
        np.testing.assert_array_equal(kernel, weights[0])
    facts = ours.read(tmp_path / "model.keras").facts
    assert any(f"computes in {policy}" in fact for _, fact in facts)


def test_the_paths_of_keras_2_13(keras, L, tmp_path):
    """A reconstruction: those files have another word for ``layers`` (keras/src/saving)."""
    import h5py

    inner = keras.Sequential([L.LSTM(3, return_sequences=True), L.LSTM(3)])
    model = sequential(keras, [L.LSTM(4, return_sequences=True), inner, L.Dense(2)])
    model.save_weights(tmp_path / "new.weights.h5")
    model.save(tmp_path / "new.keras")
    word = "_layer_checkpoint_dependencies"
    with h5py.File(tmp_path / "new.weights.h5") as new, h5py.File(tmp_path / "old", "w") as old:
        names: list[str] = []
        new.visit(names.append)
        for name in names:
            if isinstance(new[name], h5py.Dataset):
                old[name.replace("layers", word)] = new[name][()]
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        old.writestr("metadata.json", '{"keras_version": "2.13.1"}')
        old.writestr("config.json", new.read("config.json"))
        old.write(tmp_path / "old", "model.weights.h5")
    x = inputs()
    for file in ("old.keras", "new.keras"):
        y, _ = ours.load(tmp_path / file)(x)
        assert np.abs(y - model.predict(x, verbose=0)).max() <= 1e-5


def test_an_optimizer_is_passed_over(keras, L, tmp_path):
    model = sequential(keras, [L.LSTM(4), L.Dense(2)])
    model.compile("adam", "mse")
    model.fit(inputs(), np.zeros((5, 2)), epochs=1, verbose=0)
    compare(model, inputs(), tmp_path)


# ------------------------------------------------------------------------------------ refusals


def lambda_layer(keras, L):
    return [L.LSTM(3), L.Lambda(lambda x: x + 1)]


REFUSED = {
    "lambda": (lambda_layer, "'lambda' is a 'Lambda'"),
    "gru": (lambda k, L: [L.GRU(3)], "'gru' is a 'GRU'"),
    "gelu": (lambda k, L: [L.LSTM(3), L.Dense(3, "gelu")], "activation 'gelu'"),
    "function": (lambda k, L: [L.LSTM(3), L.Dense(3, own_function)], "own_function"),
    "class": (lambda k, L: [own_class(k)(3)], "class of its author's own"),
    "merge": (lambda k, L: [L.LSTM(3, zero_output_for_mask=True)], "zero_output_for_mask"),
    "two masks": (
        lambda k, L: [L.Masking(0.0), L.LSTM(3, return_sequences=True), L.Masking(1.0), L.LSTM(3)],
        "both make a mask",
    ),
    "max": (lambda k, L: [L.LSTM(3), L.ReLU(max_value=6)], "activation 'ReLU'"),
    "normal": (lambda k, L: [L.LSTM(3), L.LayerNormalization()], "LayerNormalization"),
}


def own_function(x):
    raise AssertionError("a file's function was run")


def own_class(keras):
    class LSTM(keras.layers.LSTM):
        pass

    return LSTM


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(keras, L, tmp_path, name, monkeypatch):
    build, reason = REFUSED[name]
    monkeypatch.setitem(globals(), "own_function", own_function)
    layers = build(keras, L)
    if name == "function":
        layers[-1].activation = keras.activations.get("relu")  # so that it can be built
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    if name == "function":
        layers[-1].activation = own_function
    model.save(tmp_path / "model.keras")
    contents = ours.read(tmp_path / "model.keras")
    assert contents.model is None
    assert reason in "; ".join(contents.left_over)
    with pytest.raises(InputError, match="holds no model that runs here"):
        ours.load(tmp_path / "model.keras")


def test_a_functional_model_that_branches_is_refused(keras, L, tmp_path):
    start = keras.Input((None, 3))
    x = L.LSTM(3)(start)
    keras.Model(start, L.Add()([x, L.Dense(3)(x)])).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match="takes 2 inputs"):
        ours.load(tmp_path / "model.keras")


def test_states_that_go_elsewhere_are_refused(keras, L, tmp_path):
    start = keras.Input((None, 3))
    x, h, c = L.LSTM(3, return_sequences=True, return_state=True)(start)
    keras.Model(start, L.LSTM(3)(x, initial_state=[h, c])).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"initial_state|takes 3 inputs"):
        ours.load(tmp_path / "model.keras")


# ------------------------------------------------------------------------------------- writing


def lstm(inputs, hidden, layers=1, seed=0, **options):
    made = lk.LSTM(inputs, hidden, layers, seed=seed, **options)
    rng = np.random.default_rng(seed)
    for array in made.parameters.values():
        array[:] = rng.normal(scale=0.6, size=array.shape)
    return made


HARD = (("hard_sigmoid", 1 / 6, 0.5), "tanh", "tanh")
WRITTEN = {
    "bare": lambda d: lstm(3, 4, dtype=d),
    "stacked": lambda d: lstm(3, 4, 3, bias=False, dtype=d),
    "both ways": lambda d: lstm(3, 4, 2, bidirectional=True, dtype=d),
    "activations": lambda d: lstm(3, 4, activations=HARD, dtype=d),
    "head": lambda d: lk.Sequential(
        {"a": lstm(3, 4, dtype=d), "b": Linear(4, 2, dtype=d, seed=1), "c": Activation("softmax")}
    ),
    "last": lambda d: lk.Sequential(
        {
            "mask": Masking(0.0),
            "both": Recurrent(lstm(3, 4, 2, bidirectional=True, dtype=d), last=True),
            "out": Linear(8, 2, dtype=d, bias=False, seed=1),
        }
    ),
    "back": lambda d: lk.Sequential(
        {
            "mask": Masking(0.0),
            "one": Recurrent(lstm(3, 4, dtype=d), backwards=True, turned=True, repeat=True),
            "two": Recurrent(lstm(4, 3, dtype=d)),
        }
    ),
    "merged": lambda d: lk.Sequential(
        {
            "mask": Masking(0.0),
            "both": Bidirectional(
                Recurrent(lstm(3, 4, dtype=d)),
                Recurrent(lstm(3, 4, dtype=d), backwards=True),
                "mul",
            ),
            "leaky": Activation(("leaky_relu", 0.25)),
        }
    ),
    "steps": lambda d: lk.Sequential(
        {"one": lstm(3, 4, 2, dtype=d), "last": lk.layers.LastStep(), "out": Linear(4, 2, dtype=d)}
    ),
    "tokens": lambda d: lk.Sequential(
        {
            "padding": Masking(0.0),
            "embedding": Embedding(9, 3, dtype=d, seed=1),
            "one": Recurrent(lstm(3, 4, dtype=d), repeat=True),
            "two": Recurrent(lstm(4, 4, dtype=d), last=True),
        }
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WRITTEN)
def test_keras_opens_what_we_write_and_predicts_the_same(keras, tmp_path, name, dtype):
    model = WRITTEN[name](dtype)
    ours.save(model, tmp_path / "ours.keras")
    ours.save(model, tmp_path / "again.keras")
    assert (tmp_path / "ours.keras").read_bytes() == (tmp_path / "again.keras").read_bytes()

    compute_in(keras, dtype)
    theirs = keras.models.load_model(tmp_path / "ours.keras")
    x = inputs(9 if name == "tokens" else None, dtype=dtype)
    whole = model if isinstance(model, lk.Sequential) else lk.Sequential({"lstm": model})
    expected, _ = whole(x)
    tolerance = {"float32": 1e-6, "float64": 1e-12}[dtype]
    assert np.abs(theirs.predict(x, verbose=0) - expected).max() <= tolerance

    theirs.save(tmp_path / "theirs.keras")
    back, direct = (ours.load(tmp_path / f"{whose}.keras") for whose in ("theirs", "ours"))
    weights, before = (list(m.parameters.items()) for m in (back, direct))
    assert [name for name, _ in weights] == [name for name, _ in before]
    for (_, a), (_, b), c in zip(weights, before, whole.parameters.values(), strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
    np.testing.assert_array_equal(back(x)[0], direct(x)[0])


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3)),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    activation=st.sampled_from(["tanh", "relu", "softsign"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_round_trips(keras, tmp_path_factory, sizes, bidirectional, bias, activation, dtype):
    features, hidden, layers = sizes
    model = lstm(
        features, hidden, layers, bidirectional=bidirectional, bias=bias, dtype=dtype,
        activations=("sigmoid", activation, activation),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("round")
    ours.save(model, folder / "a.keras")
    keras.models.load_model(folder / "a.keras").save(folder / "b.keras")
    back = ours.load(folder / "b.keras")
    for one, two in zip(model.parameters.values(), back.parameters.values(), strict=True):
        assert one.tobytes() == two.tobytes()
    ours.save(back, folder / "c.keras")
    for member in ("config.json", "metadata.json"):
        with zipfile.ZipFile(folder / "a.keras") as a, zipfile.ZipFile(folder / "c.keras") as c:
            one, two = json.loads(a.read(member)), json.loads(c.read(member))
            assert one.keys() == two.keys()


LACKS = {
    "proj_size": {"proj_size": 2}, "peepholes": {"peepholes": True},
    "layer_norm": {"layer_norm": True},
    "coupled_gates": {"coupled_gates": True}, "cell_clip": {"cell_clip": 1.0},
    "gate_clip": {"gate_clip": 1.0}, "zoneout": {"zoneout": 0.1},
    "learn_initial_state": {"learn_initial_state": True},
    "hard_sigmoid": {"activations": ("hard_sigmoid", "tanh", "tanh")},
    "for the candidate": {"activations": ("sigmoid", "tanh", "relu")},
}  # fmt: skip


@pytest.mark.parametrize("name", LACKS)
def test_what_keras_lacks_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(InputError, match=name):
        ours.save(lk.LSTM(3, 4, **LACKS[name]), tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({"a": Recurrent(lk.LSTM(3, 4), backwards=True)}, "turned back"),
        ({"m": Masking(1.0), "e": Embedding(4, 3), "a": lk.LSTM(3, 4)}, "token 1"),
        (
            {"a": lk.LSTM(3, 4), "b": Linear(4, 2), "c": lk.layers.LastStep()},
            "a last step behind",
        ),
        ({"a": lk.LSTM(3, 4), "b": Activation("hard_sigmoid")}, "hard_sigmoid"),
    ],
)
def test_a_chain_that_keras_cannot_hold_is_refused(tmp_path, layers, reason):
    with pytest.raises(InputError, match=reason):
        ours.save(lk.Sequential(layers), tmp_path / "model.keras")


def test_all_orders_of_classes_count_as_keras_counts(keras, L, tmp_path):
    for order in itertools.permutations(["LSTM", "Bidirectional", "RNN"]):
        build = {
            "LSTM": lambda: L.LSTM(2, return_sequences=True),
            "Bidirectional": lambda: L.Bidirectional(L.LSTM(2, return_sequences=True)),
            "RNN": lambda: L.RNN(L.LSTMCell(2), return_sequences=True),
        }
        layers = [build[kind]() for kind in (*order, *order)]
        compare(sequential(keras, layers), inputs(), tmp_path)
