"""The native twin: as exact as the readable one, the same bits however it is run, and safe."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import LSTM, Linear, engine
from lstmkit.cell import ACTIVATIONS
from lstmkit.engine import numpy_twin
from lstmkit.engine.activations import activation
from lstmkit.layers import Sequential
from lstmkit.shapes import InputError

if engine.native is None:  # the package was installed without it, and says so
    pytest.skip("the native engine is not installed", allow_module_level=True)

from lstmkit import _native
from lstmkit.engine.native_twin import describe_function

FUNCTIONS = [
    *ACTIVATIONS, ("hard_sigmoid", -0.5, 0.25), ("affine", -0.5, 2.0), ("leaky_relu", -0.25),
    ("thresholded_relu", -0.75), ("elu", -1.5), ("scaled_tanh", 0.5, -2.0),
]  # fmt: skip

VARIANTS = {
    "plain": {},
    "stacked both ways": {"num_layers": 2, "bidirectional": True},
    "peepholes and clips": {"peepholes": True, "cell_clip": 0.7, "gate_clip": 1.5},
    "coupled peepholes": {"coupled_gates": True, "peepholes": True},
    "projection": {"proj_size": 5, "num_layers": 2},
    "layer norm": {"layer_norm": True},
    "layer norm, coupled, projected": {
        "layer_norm": True, "coupled_gates": True, "proj_size": 3, "zoneout": 0.2,
    },
    "masks": {"zoneout": (0.3, 0.2), "recurrent_dropout": 0.3, "dropout": 0.2, "num_layers": 2},
    "learned start": {"learn_initial_state": True},
    "relu and hard sigmoid": {"activations": ("hard_sigmoid", "relu", "softsign")},
    "leaky, affine, elu": {"activations": (("affine", 0.3, 0.4), ("leaky_relu", 0.2), "elu")},
    "softplus, scaled, threshold": {
        "activations": ("softplus", ("scaled_tanh", 0.6, -0.7), ("thresholded_relu", 0.1)),
        "cell_clip": 3,
    },
}  # fmt: skip


@pytest.fixture
def threads():
    before = _native.get_num_threads()
    yield lk.set_num_threads
    _native.set_num_threads(before)


def problem(options, dtype, sizes=(7, 37), batch=9, steps=23, seed=0):
    """A layer whose sizes fill no register evenly, and a ragged batch with resets."""
    rng = np.random.default_rng(seed)
    lstm = LSTM(*sizes, dtype=dtype, seed=rng, **options)
    for array in lstm.parameters.values():
        array += (0.2 * rng.standard_normal(array.shape)).astype(dtype)
    x = rng.standard_normal((batch, steps, sizes[0])).astype(dtype)
    dy = rng.standard_normal((batch, steps, lstm.output_size)).astype(dtype)
    lengths = rng.integers(0, steps + 1, batch)
    reset = rng.random((batch, steps)) < 0.1
    return lstm, x, lengths, reset, dy


def run(lstm, x, lengths, reset, dy):
    """Everything that comes out of forward, backward and inference."""
    y, state, tape = lstm.forward(x, None, lengths, reset, np.random.default_rng(5))
    dx, dstate, grads = lstm.backward(tape, dy)
    alone, end = lstm(x, None, lengths, reset)
    found = {"y": y, "h": state[0], "c": state[1], "dx": dx, "dh": dstate[0], "dc": dstate[1]}
    return found | grads | {"alone": alone, "end h": end[0], "end c": end[1]}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    ("dtype", "limit"),
    # float64: rounding over some hundred terms and 23 steps. float32: the same, and 2e-7 of σ.
    [("float64", 1e-10), ("float32", 3e-4)],
)
def test_the_twins_agree(name, dtype, limit, monkeypatch):
    case = problem(VARIANTS[name], dtype)
    fast = run(*case)
    monkeypatch.setattr(engine, "native", None)
    readable = run(*case)
    errors = {
        key: np.linalg.norm(fast[key] - array) / max(np.linalg.norm(array), 1e-30)
        for key, array in readable.items()
    }
    assert max(errors.values()) <= limit, errors


@pytest.mark.parametrize("name", VARIANTS)
def test_bits_do_not_depend_on_the_number_of_threads(name, threads):
    cases = [
        problem(VARIANTS[name], "float32"),
        problem(VARIANTS[name], "float32", sizes=(64, 128), batch=1, steps=40),
        problem(VARIANTS[name], "float32", sizes=(40, 96), batch=24, steps=9),
    ]
    for case in cases:
        threads(1)
        alone = run(*case)
        for count in (2, 3, 4):
            threads(count)
            for key, array in run(*case).items():
                np.testing.assert_array_equal(array, alone[key], err_msg=f"{key}, {count} threads")


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "stacked both ways"])
@pytest.mark.parametrize(
    ("batch", "dtype"), [(1, "float32"), (2, "float32"), (5, "float32"), (3, "float64")]
)
def test_steps_chunks_and_sequences_are_the_same_bits(name, batch, dtype):
    lstm, x, *_ = problem(VARIANTS[name], dtype, batch=batch)
    y, (h, c) = lstm(x)
    np.testing.assert_array_equal(lstm.forward(x)[0], y)
    state, parts = None, []
    for part in np.split(x, [3, 4, 17], axis=1):
        out, state = lstm(part, state)
        parts.append(out)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), y)
    stream = lstm.stream(batch)
    steps = np.stack([stream.step(x[:, t]) for t in range(x.shape[1])], axis=1)
    np.testing.assert_array_equal(steps, y)
    np.testing.assert_array_equal(stream.state[0], h)
    np.testing.assert_array_equal(stream.state[1], c)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sizes", "options", "outputs"),
    [
        ((1, 1), {}, 1),
        ((3, 5), {"num_layers": 2}, 3),
        ((7, 37), {"num_layers": 2, "proj_size": 5}, 70),
        ((33, 64), {"proj_size": 40}, 2),
        ((64, 128), {"num_layers": 2}, 65),
        ((20, 260), {}, 33),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_chain_fed_step_by_step_has_the_bits_of_the_whole(
    sizes, options, outputs, dtype, count, threads
):
    threads(count)
    lstm, x, *_ = problem(options, dtype, sizes, batch=19, steps=5)
    chain = Sequential(
        {"lstm": lstm, "head": Linear(lstm.output_size, outputs, dtype=dtype, seed=1)}
    )
    every, _ = chain(x)
    for batch in (1, 2, 3, 4, 5, 19):
        y, (state,) = chain(x[:batch])
        np.testing.assert_array_equal(y, every[:batch])
        stream = chain.stream(batch)
        steps = np.stack([stream.step(x[:batch, t]) for t in range(5)], axis=1)
        np.testing.assert_array_equal(steps, y)
        for now, then in zip(stream.state[0], state, strict=True):
            np.testing.assert_array_equal(now, then)


def test_rows_do_not_depend_on_their_neighbours():
    """A sequence has the same bits alone and in any batch."""
    lstm, x, *_ = problem({}, "float32", batch=11)
    y, _ = lstm(x)
    for rows in ([3], [2, 7], [0, 1, 2, 3, 4]):
        np.testing.assert_array_equal(lstm(x[rows])[0], y[rows])


def apply(function, z):
    a = np.empty_like(z)
    getattr(_native, f"apply_{z.dtype.name}")(describe_function(function), z, a, z.size)
    return a


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-6), ("float64", 2e-15)])
def test_sigmoid_and_tanh_over_the_whole_range(dtype, limit):
    span = 87 if dtype == "float32" else 700
    small = np.logspace(-30, 0, 20_001)
    z = np.concatenate([np.linspace(-span, span, 200_001), small, -small]).astype(dtype)
    exact = z.astype(np.longdouble)
    for kind, value in (("sigmoid", 1 / (1 + np.exp(-exact))), ("tanh", np.tanh(exact))):
        found = apply(kind, z).astype(np.longdouble)
        error = np.abs(found - value) / np.where(value == 0, 1, np.abs(value))
        assert error.max() <= limit, (kind, z[error.argmax()], error.max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_tanh_far_out(dtype):
    z = np.array([1000, -1000, np.inf, -np.inf, 0, np.nan, 89, -104], dtype)
    np.testing.assert_array_equal(apply("sigmoid", z)[:6], [1, 0, 1, 0, 0.5, np.nan])
    np.testing.assert_array_equal(apply("tanh", z)[:6], [1, -1, 1, -1, 0, np.nan])


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 4e-7), ("float64", 1e-15)])
def test_the_other_activations_over_the_whole_range(dtype, limit):
    span = 87 if dtype == "float32" else 700
    small = np.logspace(-30, 0, 5_001)
    z = np.concatenate([np.linspace(-span, span, 50_001), small, -small]).astype(dtype)
    exact = z.astype(np.longdouble)
    for function, value in (
        ("softplus", np.maximum(exact, 0) + np.log1p(np.exp(-np.abs(exact)))),
        ("elu", np.where(exact > 0, exact, np.expm1(np.minimum(exact, 0)))),
        (("scaled_tanh", 1.75, 0.625), 1.75 * np.tanh(0.625 * exact)),
    ):
        found = apply(function, z).astype(np.longdouble)
        error = np.abs(found - value) / np.where(value == 0, 1, np.abs(value))
        assert error.max() <= limit, (function, z[error.argmax()], error.max())
    for function in FUNCTIONS:
        readable = activation(function).value(z)
        np.testing.assert_allclose(apply(function, z), readable, rtol=2 * limit, atol=limit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_other_activations_far_out(dtype):
    z = np.array([1000, -1000, np.inf, -np.inf, 0, np.nan, 89, -104, 88.05, -88.05], dtype)
    softplus = apply("softplus", z)
    np.testing.assert_array_equal(
        softplus[:6], np.array([1000, 0, np.inf, 0, np.log(2), np.nan], dtype)
    )
    np.testing.assert_array_equal(softplus[[6, 8]], z[[6, 8]])
    assert (softplus[[7, 9]] < 1e-30).all()
    elu = apply("elu", z)
    np.testing.assert_array_equal(elu[:8], [1000, -1, np.inf, -1, 0, np.nan, 89, -1])
    for function in FUNCTIONS:
        assert np.isnan(apply(function, z[5:6])), function


@pytest.mark.parametrize(("dtype", "near"), [("float32", 88), ("float64", 709)])
def test_sigmoid_where_it_runs_out_of_numbers(dtype, near):
    """Between the last normal number and the end of the clamp it falls to 0, and is never nan."""
    found = apply("sigmoid", np.linspace(-near - 5, -near + 5, 100_001).astype(dtype))
    assert (np.diff(found) >= -2 * np.finfo(dtype).smallest_normal).all()
    assert found[0] == 0
    assert 0 < found[-1] < 1e-30
    np.testing.assert_array_equal(
        apply("sigmoid", np.linspace(near - 5, near + 5, 1001).astype(dtype)), 1
    )


def test_a_nan_in_the_input_is_not_swallowed():
    lstm, x, *_ = problem({}, "float32", batch=2)
    x[0, 3, 2] = np.nan
    y, _ = lstm(x)
    assert np.isnan(y[0, 3:]).all()
    assert np.isfinite(y[1]).all()
    assert np.isfinite(y[0, :3]).all()


def test_two_threads_may_run_one_model(threads):
    threads(2)
    case = problem({"num_layers": 2}, "float32", sizes=(64, 128), batch=16)
    alone, failures = run(*case), []

    def work():
        for _ in range(20):
            found = run(*case)
            failures.extend(k for k in alone if not np.array_equal(found[k], alone[k]))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_computes(threads):
    threads(2)
    case = problem({}, "float32", sizes=(64, 128), batch=16)
    alone = run(*case)
    code = (
        "import os, sys, numpy as np, lstmkit as lk\n"
        "lk.set_num_threads(2)\n"
        "lstm = lk.LSTM(64, 128, seed=0); x = np.ones((16, 30, 64), np.float32)\n"
        "y, _ = lstm(x)\n"
        "child = os.fork()\n"
        "again, _ = lstm(x)\n"
        "same = bool((again == y).all())\n"
        "if not child: os._exit(0 if same else 3)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "sys.exit(0 if same and status == 0 else 4)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
    np.testing.assert_array_equal(run(*case)["y"], alone["y"])


def ask(code="import lstmkit as lk; print(lk.backend())", **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LSTMKIT_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_environment_chooses():
    assert ask(LSTMKIT_BACKEND="numpy").stdout == "numpy\n"
    assert ask(LSTMKIT_NUM_THREADS="3").stdout.endswith("3 threads)\n")
    assert ask(OMP_NUM_THREADS="1").stdout.endswith("1 thread)\n")
    for isa in _native.isas():
        assert ask(LSTMKIT_ISA=isa).stdout.startswith(f"native ({isa}, ")
    refused = ask(LSTMKIT_ISA="avx1024")
    assert refused.returncode != 0
    assert "LSTMKIT_ISA is 'avx1024'; this machine and build have" in refused.stderr
    refused = ask(LSTMKIT_BACKEND="gpu")
    assert "LSTMKIT_BACKEND is 'gpu'; expected one of" in refused.stderr


@pytest.mark.parametrize("isa", _native.isas())
def test_each_instruction_set_agrees(isa):
    code = (
        "import numpy as np, lstmkit as lk\n"
        "from lstmkit import engine\n"
        "lstm = lk.LSTM(7, 37, 2, bidirectional=True, peepholes=True, layer_norm=True,"
        " dtype='float64', seed=0)\n"
        "x = np.random.default_rng(0).standard_normal((9, 23, 7))\n"
        "def run():\n"
        "    y, _, tape = lstm.forward(x, lengths=range(5, 23, 2))\n"
        "    dx, _, grads = lstm.backward(tape, np.ones_like(y))\n"
        "    return [y, dx, *grads.values()]\n"
        "fast = run()\n"
        "engine.native = None\n"
        "pairs = zip(fast, run(), strict=True)\n"
        "print(max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs) < 1e-10)\n"
    )
    assert ask(code, LSTMKIT_ISA=isa).stdout == "True\n"


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, 1025])
def test_set_num_threads_refuses(count):
    with pytest.raises(InputError, match="set_num_threads: count is "):
        lk.set_num_threads(count)


def test_the_binding_refuses_what_does_not_fit():
    """No mistake above the binding can make a kernel read or write where it must not."""
    from lstmkit.engine import native_twin

    lstm = LSTM(3, 4, seed=0)
    cell, weights = lstm.cells[0], lstm.stack.weights(lstm.parameters, 0)
    x, state = np.zeros((4, 3), np.float32), (np.zeros((2, 4), np.float32),) * 2
    native_twin.forward(cell, weights, x, state, [2, 2])
    for sizes in ([2, 3], [3, 1], [2, 0, 2], [-1]):
        with pytest.raises(ValueError, match=r"sizes|bytes"):
            native_twin.forward(cell, weights, x, state, sizes)
    with pytest.raises(ValueError, match="x has 48 bytes; expected 72"):
        native_twin.forward(cell, weights, x, state, [2, 2, 2])
    short = weights | {"weight_hh": weights["weight_hh"][:-1]}
    with pytest.raises(ValueError, match="weight_hh has 240 bytes; expected 256"):
        native_twin.forward(cell, short, x, state, [2, 2])
    with pytest.raises(ValueError, match="lacks a weight"):
        native_twin.forward(cell, {"weight_ih": weights["weight_ih"]}, x, state, [2, 2])
    stream = lstm.stream()
    for wrong in (np.zeros((1, 2), np.float32), np.zeros((1, 3))):
        with pytest.raises(ValueError, match=r"x has .* bytes; expected 12"):
            stream._step(wrong, np.empty((1, lstm.output_size), np.float32))


def test_a_stream_keeps_the_weights_it_was_made_with():
    lstm, x, *_ = problem({}, "float32", batch=1)
    stream, y = lstm.stream(), lstm(x)[0]
    for array in lstm.parameters.values():
        array += 1
    np.testing.assert_array_equal(stream.step(x[:, 0]), y[:, 0])
    assert (lstm.stream().step(x[:, 0]) != y[:, 0]).any()


@pytest.mark.parametrize("name", VARIANTS)
def test_bfloat16_weights_are_rounded_weights(name, monkeypatch):
    """Packed in half the room, the numbers are the same bits as those of rounded weights."""
    lstm, x, lengths, reset, _ = problem(VARIANTS[name], "float32")
    half = lstm.quantize("bfloat16")
    rounded = LSTM.from_parameters(lstm.config, half.parameters)
    y, (h, _) = half(x, None, lengths, reset)
    expected, (h_expected, _) = rounded(x, None, lengths, reset)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(h, h_expected)
    if not lstm.bidirectional:
        stream = half.stream(len(x))
        steps = np.stack([stream.step(x[:, t]) for t in range(x.shape[1])], axis=1)
        np.testing.assert_array_equal(steps, rounded(x)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["plain", "projection"])
def test_weights_that_changed_are_packed_anew(name, bidirectional):
    """The packed weights are kept from call to call; a change in place of one entry is seen."""
    lstm, x, *_ = problem(VARIANTS[name] | {"bidirectional": bidirectional}, "float32")
    for parameter in lstm.parameters.values():
        before = lstm(x)[0]
        np.testing.assert_array_equal(lstm(x)[0], before)
        parameter.flat[-1] += 1
        fresh = LSTM.from_parameters(lstm.config, lstm.parameters)
        np.testing.assert_array_equal(lstm(x)[0], fresh(x)[0])
        assert (lstm(x)[0] != before).any()


def test_kept_weights_go_with_the_layer():
    from lstmkit.engine import native_twin

    before = set(native_twin._kept)
    lstm, x, *_ = problem({}, "float32")
    lstm(x)
    assert len(set(native_twin._kept) - before) == 1
    del lstm
    gc.collect()
    assert set(native_twin._kept) <= before


def test_memory_that_is_used_again_is_nobody_elses():
    """A block comes back only when the last view of it is gone."""
    from lstmkit.engine import native_twin

    first = native_twin.empty((300, 400), "float32")
    first[:] = 1
    view, address = first[7:9], first.ctypes.data
    del first
    others = [native_twin.empty((300, 400), "float32") for _ in range(20)]
    for other in others:
        other[:] = 2
    assert (view == 1).all()
    assert all(other.ctypes.data != address for other in others)
    del view, others, other
    again = {native_twin.empty((300, 400), "float32").ctypes.data for _ in range(3)}
    assert len(again) == 1  # given back at once, found at once
    assert native_twin.empty((300, 400), "float32").flags.writeable


def test_results_are_the_callers_own():
    """What one call returned stays when others run."""
    lstm, x, *_ = problem({"bidirectional": True}, "float32", batch=40, steps=60)
    y, (h, c) = lstm(x)
    kept = y.copy(), h.copy(), c.copy()
    for k in range(5):
        _, _, tape = lstm.forward(x + k)
        lstm.backward(tape, y)
        lstm(x - k)
    for now, then in zip((y, h, c), kept, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_directions_side_by_side_have_the_bits_of_each_alone(count, threads):
    threads(count)
    lstm, x, lengths, _, _ = problem({"bidirectional": True}, "float32", (7, 40), batch=3)
    y = lstm(x, None, lengths)[0]
    for d, suffix in enumerate(("", "_reverse")):
        parameters = {
            name.removesuffix("_reverse"): array
            for name, array in lstm.parameters.items()
            if name.endswith("_reverse") == bool(d)
        }
        alone = LSTM.from_parameters(lstm.config | {"bidirectional": False}, parameters)
        for row, length in enumerate(lengths):
            turned = x[row : row + 1, :length][:, :: -1 if suffix else 1]
            expected = alone(turned)[0][0][:: -1 if suffix else 1]
            np.testing.assert_array_equal(y[row, :length, 40 * d : 40 * (d + 1)], expected)


LINEAR_SIZES = [
    (0, 3, 4), (1, 5, 7), (4, 33, 70), (5, 33, 70), (5, 1, 1), (33, 17, 2), (64, 2, 3),
    (300, 40, 65),
]  # fmt: skip


def linear_problem(sizes, dtype):
    rng = np.random.default_rng(0)
    rows, inputs, outputs = sizes
    arrays = [rng.standard_normal(shape) for shape in [(outputs, inputs), (outputs,)]]
    weights = dict(zip(("weight", "bias"), (a.astype(dtype) for a in arrays), strict=True))
    x, dy = (rng.standard_normal((rows, n)).astype(dtype) for n in (inputs, outputs))
    return weights, x, dy


def run_linear(twin, weights, x, dy):
    dx, grads = twin.linear_backward(weights, x, dy)
    return [twin.linear(weights, x), dx, *grads.values()]


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 3e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("sizes", LINEAR_SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_twins_agree_on_a_linear_layer(sizes, bias, dtype, limit):
    weights, x, dy = linear_problem(sizes, dtype)
    if not bias:
        del weights["bias"]
    mine = run_linear(engine.native, weights, x, dy)
    readable = run_linear(numpy_twin, weights, x, dy)
    for a, b in zip(mine, readable, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * max(1.0, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("sizes", [(4, 700, 900), (500, 70, 90)], ids=str)
def test_bits_of_a_linear_layer_do_not_depend_on_the_number_of_threads(sizes, threads):
    weights, x, dy = linear_problem(sizes, "float32")
    threads(1)
    alone = run_linear(engine.native, weights, x, dy)
    for count in (2, 3, 5):
        threads(count)
        for a, b in zip(run_linear(engine.native, weights, x, dy), alone, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [(1, 1), (3, 2), (5, 4), (40, 65), (64, 64), (129, 33), (300, 31), (515, 257)],
)
def test_a_row_of_a_linear_layer_has_its_bits_alone_and_among_many(inputs, outputs, dtype):
    weights, x, _ = linear_problem((33, inputs, outputs), dtype)
    for given in (weights, {"weight": weights["weight"]}):
        every = engine.native.linear(given, x)
        for count in (1, 2, 3, 4, 5, 9):
            np.testing.assert_array_equal(engine.native.linear(given, x[:count]), every[:count])
            np.testing.assert_array_equal(engine.native.linear(given, x[-count:]), every[-count:])


def test_a_linear_layer_takes_arrays_as_they_lie():
    weights, x, dy = linear_problem((30, 20, 10), "float64")
    flipped = {name: np.asfortranarray(array) for name, array in weights.items()}
    askew = run_linear(engine.native, flipped, np.asfortranarray(x), dy[::-1][::-1])
    for a, b in zip(askew, run_linear(engine.native, weights, x, dy), strict=True):
        assert np.array_equal(a, b)


def test_a_step_writes_where_it_is_told():
    lstm, x, *_ = problem({"num_layers": 2}, "float32", batch=4)
    stream, other = lstm.stream(4), lstm.stream(4)
    out = np.empty((4, lstm.output_size), np.float32)
    for t in range(3):
        assert stream.step(x[:, t], out) is out
        np.testing.assert_array_equal(out, other.step(x[:, t]))


def test_a_step_allocates_nothing():
    """After the first steps no memory is asked for, by Python or by the kernels."""
    stream = LSTM(64, 256, seed=0).stream()
    x, out = np.ones((1, 64), np.float32), np.empty((1, 256), np.float32)
    for _ in range(100):
        stream.step(x, out)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            stream.step(x, out)
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current - before < 1000  # one list of arguments and the counter of the loop
    assert peak - before < 2000
