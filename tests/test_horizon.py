"""HorizonModel: the gradients of its network, what it sees, what it chooses, what it covers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lstmkit import losses
from lstmkit.shapes import InputError
from lstmkit.tasks import intervals, ridge, transforms
from lstmkit.tasks.horizon import HorizonModel, Series
from lstmkit.tasks.horizon_choice import choose, folds_of, origins_of
from lstmkit.tasks.horizon_network import Network
from lstmkit.tasks.horizon_windows import Sight, Window, lay_out

LEVELS = (0.1, 0.5, 0.9)


def series_of(target, past=None, known=None):
    target = np.asarray(target, float)
    target = target[:, None] if target.ndim == 1 else target
    empty = np.empty((len(target), 0))
    return Series(target, empty if past is None else past, empty if known is None else known)


def wave(rows=80, seed=0, noise=0.3):
    """A trend, a season of four and noise."""
    t = np.arange(float(rows))
    shape = np.array([3.0, -1.0, 0.5, -2.5])[np.arange(rows) % 4]
    return 20 + 0.2 * t + shape + noise * np.random.default_rng(seed).normal(size=rows)


def rich(rows=70, ahead=6, seed=1):
    """Two targets, two past covariates, one known."""
    rng = np.random.default_rng(seed)
    targets = np.stack([wave(rows, seed), 5 - wave(rows, seed + 1)], axis=1)
    return Series(targets, rng.normal(size=(rows, 2)), rng.normal(size=(rows + ahead, 1)))


def model_of(**more):
    sizes = {"context": 8, "horizon": 4, "hidden_size": 4, "members": 2, "epochs": 3, "seed": 0}
    return HorizonModel(**{**sizes, "learning_rate": 1e-2, **more})


@pytest.fixture(scope="module")
def fitted():
    one = rich()
    model = model_of(quantiles=LEVELS, season=4, dropout=0.2).fit([one])
    rng = np.random.default_rng(0)
    for network in model.networks_:  # whatever was learned: the LSTM shall have a say
        head = network.head.parameters["weight"]
        head[...] = rng.normal(size=head.shape)
    return model, one


def unlinear(rows):
    """What an LSTM learns in a few epochs and a line cannot."""
    known = np.random.default_rng(0).normal(size=(rows + 4, 2))
    return series_of(2 * np.sign(known[:rows, 0]) * known[:rows, 1], known=known)


# --------------------------------------------------------------------------------- gradients


def by_hand(network, p, window, mask):
    """The forecast by the equations alone, for real or complex weights."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    x, (horizon, targets, levels) = window.steps, network.axes
    rows, outputs = len(x), []
    layers, H = network.lstm.num_layers, network.lstm.hidden_size
    h = [np.zeros((rows, H), complex) for _ in range(layers)]
    c = [np.zeros((rows, H), complex) for _ in range(layers)]
    for t in range(x.shape[1]):
        y = x[:, t]
        for k in range(layers):
            z = y @ p[f"lstm.weight_ih_l{k}"].T + h[k] @ p[f"lstm.weight_hh_l{k}"].T
            i, f, g, o = np.split(z + p[f"lstm.bias_l{k}"], 4, axis=1)
            c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
            y = h[k] = sigmoid(o) * np.tanh(c[k])
        outputs.append(y)
    forecast = np.zeros((rows, horizon, targets, levels), complex)
    for j in range(horizon):
        y = outputs[len(outputs) - horizon + j]
        if mask is not None:
            y = y * mask[:, j]
        correction = (y @ p["head.weight"].T).reshape(rows, targets, levels)
        weight = p["skip.weight"].reshape(horizon, targets, -1)[j]
        linear = (window.flat @ weight.T)[:, :, None]
        forecast[:, j] = correction + linear + p["bias"][j]
    return forecast


def loss_by_hand(forecast, right, levels):
    if levels is None:
        return np.square(forecast[..., 0] - right).mean()
    below = right[..., None] - forecast
    slope = np.where(below.real > 0, np.array(levels), np.array(levels) - 1)
    return (slope * below).mean()


@pytest.mark.parametrize(
    ("levels", "layers", "dropout"), [(None, 1, 0.0), (LEVELS, 2, 0.0), (LEVELS, 1, 0.4)]
)
def test_every_gradient_by_complex_step(levels, layers, dropout):
    rng = np.random.default_rng(3)
    Q = 1 if levels is None else len(levels)
    network = Network(3, 5, 2, 2, Q, 3, layers, dropout, "float64", rng)
    network.head.parameters["weight"][...] = rng.normal(size=(2 * Q, 3))  # it starts at 0
    network.bias[...] = rng.normal(size=network.bias.shape)
    window = Window(rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 5)))
    right = rng.normal(size=(4, 2, 2))
    forecast, state, tape = network.forward(window, rng=rng)
    assert state is None
    mask = tape[2]
    assert (mask is None) == (not dropout)
    if mask is None:
        np.testing.assert_array_equal(network(window)[0], forecast)
    else:
        assert not np.allclose(network(window)[0], forecast)
    if levels is None:
        value, slope = losses.mean_squared_error(forecast[..., 0], right)
        slope = slope[..., None]
    else:
        value, slope = losses.pinball(forecast, right, quantiles=levels)
    grads = network.backward(tape, slope)
    assert set(grads) == set(network.parameters)
    own = loss_by_hand(by_hand(network, network.parameters, window, mask), right, levels)
    assert value == pytest.approx(own.real, rel=1e-12)
    for name, array in network.parameters.items():
        exact = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            moved = {n: a.astype(complex) for n, a in network.parameters.items()}
            moved[name][index] += 1e-30j
            answers = by_hand(network, moved, window, mask)
            exact[index] = loss_by_hand(answers, right, levels).imag / 1e-30
        assert grads[name].shape == array.shape
        assert np.linalg.norm(grads[name] - exact) <= 1e-9 * np.linalg.norm(exact), name


# --------------------------------------------------------------------------------- the windows


def test_what_the_network_sees_of_a_window():
    one = Series(
        np.array([[1.0], [3.0], [2.0], [5.0], [4.0], [7.0]]),
        np.array([[10.0], [20.0], [30.0], [40.0], [50.0], [60.0]]),
        np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]),
    )
    rows, starts = lay_out([one], 2)
    assert starts == [0]
    assert len(rows.target) == 9
    assert np.isnan(rows.target[6:]).all()
    plain = Sight(
        *(3, 2, 2, True, False, (1, 1, 1)),
        *(np.zeros(3), np.full(3, 10.0), np.array([[2.0], [4.0]]), np.ones(1)),
    )
    view = plain.windows(rows, np.array([4]), np.float64)
    moves, level, past, known, ahead = view.window.steps[0].T
    assert moves.tolist() == [-1.0, -1.5, 0.0, -1.5, 0.0]  # 3 2 5, then 2 5 again; minus 5, by 2
    np.testing.assert_allclose(level, [0.3, 0.2, 0.5, 0.2, 0.5])
    assert past.tolist() == [2.0, 3.0, 4.0, 0.0, 0.0]
    np.testing.assert_allclose(known, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert ahead.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(view.window.flat[0], [-1, -1.5, 0.5, 2, 3, 4, 0.4, 0.5])
    assert len(view.window.flat[0]) == plain.flat
    assert view.window.steps.shape[2] == plain.inputs
    assert view.naive[0, :, 0].tolist() == [2, 5]
    assert view.actual[0, :, 0].tolist() == [4, 7]
    assert view.answer[0, :, 0].tolist() == [0.5, 0.5]


def test_scales_come_from_the_windows_alone():
    one = series_of(wave(40))
    rows, starts = lay_out([one], 4)
    origins = origins_of([40], starts, 8, 4)
    assert origins.tolist() == list(range(8, 37))
    sight = Sight.of(8, 4, 4, False, False, rows, origins)
    np.testing.assert_allclose(sight.shift, one.target.mean(axis=0))
    answers = sight.windows(rows, origins, np.float64).answer
    assert np.square(answers).mean() == pytest.approx(1)


def test_folds_share_no_row_that_is_forecast():
    rows, starts = lay_out([series_of(wave(50)), series_of(wave(37))], 4)
    origins = origins_of([50, 37], starts, 8, 4)
    folds = folds_of(origins, 4, 5)
    assert len(folds) == 5
    assert sorted(np.concatenate([fold.held for fold in folds])) == origins.tolist()
    for fold in folds:
        assert sorted(np.concatenate([fold.learned, fold.near])) == origins.tolist()
        held, learned = ({k + j for k in part for j in range(4)} for part in fold[:2])
        assert not held & learned
        assert not np.isnan(rows.target[sorted(held | learned)]).any()
    assert folds[0].held[-1] == origins[-1]  # the last block is the first to be held out
    assert folds_of(np.array([8]), 4, 5) == []


# --------------------------------------------------------------------------------- the start


def test_ridge_is_the_solution_of_its_equations():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)) * [1, 10, 0.1, 0] + [0, 5, -3, 7]
    y = rng.normal(size=(50, 2)) + x[:, :2]
    sums = ridge.add_up([(x[:20], y[:20]), (x[20:], y[20:])])
    weight, bias = ridge.Ridge(sums).solve(0.3)
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    direct = np.linalg.solve(z.T @ z / 50 + 0.3 * np.eye(4), z.T @ (y - y.mean(axis=0)) / 50)
    np.testing.assert_allclose(x @ weight + bias, z @ direct + y.mean(axis=0), rtol=1e-9)
    assert not weight[3].any()  # of a feature that never changes
    part = ridge.Ridge(sums.without(ridge.add_up([(x[:20], y[:20])]))).solve(0.3)
    np.testing.assert_allclose(part[0], ridge.Ridge(ridge.add_up([(x[20:], y[20:])])).solve(0.3)[0])


@pytest.mark.parametrize("power", transforms.POWERS)
def test_powers_are_undone(power):
    values = np.array([0.5, 1.0, 80.0])
    np.testing.assert_allclose(transforms.inverse(transforms.forward(values, power), power), values)
    assert transforms.allowed([values], power)
    assert transforms.allowed([np.array([0.0, 1.0])], power) == (power != "log")
    assert transforms.allowed([np.array([-1.0, 1.0])], power) == (power == "none")


def test_what_is_chosen_for_a_series_that_grows_by_factors():
    t = np.arange(72)
    factor = np.array([1.0, 1.4, 0.8, 1.1])[t % 4]
    noise = np.exp(0.02 * np.random.default_rng(0).normal(size=72))
    growing = series_of(100 * 1.04**t * factor * noise)
    chosen, folds = choose([growing], 8, 4, 4, "auto", False, 5)
    assert chosen.power == "log"
    assert len(folds) == 5


def test_what_is_chosen_for_a_few_years_of_months():
    rng = np.random.default_rng(0)
    months = series_of(10 * rng.normal(size=12)[np.arange(72) % 12] + rng.normal(size=72))
    assert choose([months], 12, 12, 12, "auto", False, 5)[0].sight.start == 12
    assert choose([months], 11, 12, 12, "auto", False, 5)[0].sight.start == 1  # not in the context


def test_what_is_chosen_for_a_walk_at_random():
    walk = series_of(np.cumsum(np.random.default_rng(0).normal(size=200)))
    chosen, _ = choose([walk], 8, 4, 4, "auto", True, 5)
    assert (chosen.power, chosen.sight.start) == ("none", 1)
    assert chosen.penalty >= 0.1  # hardly anything can be known of it


def test_before_it_learns_a_member_is_the_linear_answer():
    one = series_of(wave())
    model = model_of(season=4, dtype="float64", members=1, learning_rate=1e-300).fit([one])
    rows, starts = lay_out([one], 4)
    fold = folds_of(origins_of([80], starts, 8, 4), 4, 5)[0]
    assert model.power_ == "none"
    learned = model.sight_.windows(rows, fold.learned, np.float64)
    pairs = [(learned.window.flat, learned.answer.reshape(len(fold.learned), -1))]
    weight, bias = ridge.Ridge(ridge.add_up(pairs)).solve(model.penalty_)
    view = model.sight_.windows(rows, np.array([80]), np.float64)
    expected = view.naive[..., 0] + (view.window.flat @ weight + bias) * view.scale[..., 0]
    np.testing.assert_allclose(model.predict(one, [80])[0, :, 0, 0], expected[0], rtol=1e-9)


def test_the_lstm_learns_what_no_line_can():
    one = unlinear(400)
    target, known = one.target[:, 0], one.known
    model = model_of(context=4, horizon=2, hidden_size=16, members=1, epochs=40, batch_size=32)
    model.fit([series_of(target[:300], known=known[:302])])
    origins = np.arange(300, 399)
    actual = target[origins[:, None] + np.arange(2)]
    learned = np.abs(model.predict(one, origins)[:, :, 0, 0] - actual).mean()
    model.networks_[0].head.parameters["weight"][...] = 0
    linear = np.abs(model.predict(one, origins)[:, :, 0, 0] - actual).mean()
    assert learned < 0.6 * linear


# --------------------------------------------------------------------------------- forecasts


def test_nothing_leaks_from_after_an_origin(fitted):
    model, one = fitted
    before = model.predict(one, [50])
    target, past, known = (array.copy() for array in one)
    target[50:] += 1000
    past[50:] -= 1000
    known[54:] += 1000
    np.testing.assert_array_equal(model.predict(Series(target, past, known), [50]), before)
    np.testing.assert_array_equal(
        model.predict(Series(target[:50], past[:50], known[:54]), [50]), before
    )
    for array, row in ((target, 42), (past, 42), (known, 53)):  # the ends of what it does see
        array[row] += 1
        assert (model.predict(Series(target, past, known), [50]) != before).any()
        array[row] -= 1
    target[41], past[41], known[41] = 99, 99, 99  # and one row before that
    np.testing.assert_array_equal(model.predict(Series(target, past, known), [50]), before)


def test_many_origins_are_forecast_like_one(fitted):
    model, one = fitted
    assert model.predict(one, []).shape == (0, 4, 2, 3)
    many = model.predict(one, [30, 70])
    assert many.shape == (2, 4, 2, 3)
    np.testing.assert_allclose(many[1:], model.predict(one, [70]), rtol=1e-5)


def test_quantiles_never_cross(fitted):
    model, one = fitted
    assert (np.diff(model.predict(one, np.arange(8, 71)), axis=3) >= 0).all()


def test_intervals_cover_their_share():
    series = series_of(wave(500, noise=1.0))
    model = model_of(quantiles=LEVELS, season=4, members=5, learning_rate=1e-3)
    model.fit([series_of(series.target[:250])])
    origins = np.arange(250, 497)
    low, _, high = np.moveaxis(model.predict(series, origins)[:, :, 0], -1, 0)
    actual = series.target[origins[:, None] + np.arange(4), 0]
    assert 0.74 < ((low <= actual) & (actual <= high)).mean() < 0.86


def test_calibration_covers_what_was_held_out():
    rng = np.random.default_rng(0)
    right = rng.normal(size=(200, 3, 2)) * [1, 5]
    answers = np.broadcast_to([-0.7, 0.1, 0.4], (200, 3, 2, 3)) + np.zeros((200, 3, 2, 3))
    answers[:, :, 1] *= 10
    widths = intervals.calibrate(answers, right, LEVELS)
    low, center, high = np.moveaxis(intervals.widen(answers, widths, LEVELS), -1, 0)
    inside = ((low <= right) & (right <= high)).mean(axis=(0, 1))
    np.testing.assert_allclose(inside, [0.8, 0.8], atol=0.01)
    np.testing.assert_array_equal(center, answers[..., 1])
    alone = intervals.calibrate(answers[..., 1:], right, LEVELS[1:])
    high = intervals.widen(answers[..., 1:], alone, LEVELS[1:])[..., 1]
    np.testing.assert_allclose((right <= high).mean(axis=(0, 1)), [0.9, 0.9], atol=0.01)


def test_calibration_has_its_limits():
    answers = np.tile([-1.0, 0.0, 1.0], (50, 1, 1, 1))
    far = np.full((50, 1, 1), 100.0)
    assert intervals.calibrate(answers, far, LEVELS).tolist() == [[4.0, 1.0, 4.0]]
    assert intervals.calibrate(answers, 0 * far, LEVELS).tolist() == [[0.5, 1.0, 0.5]]
    crossed = intervals.widen(answers[..., ::-1], np.ones((1, 3)), LEVELS)
    np.testing.assert_array_equal(crossed, answers)


def test_series_of_different_sizes_share_a_model():
    small, large = series_of(wave()), series_of(1e5 * wave(seed=5) - 7e6)
    model = model_of(season=4, members=1).fit([small, large])
    assert model.sight_.local
    for one, size in ((small, 1), (large, 1e5)):
        wrong = model.predict(one, [76])[0, :, 0, 0] - one.target[76:, 0]
        assert np.abs(wrong).mean() < 1.0 * size


def test_a_series_of_one_window_gives_the_linear_answer():
    one = series_of(wave(12))
    model = model_of(quantiles=LEVELS).fit([one])
    assert len(model.networks_) == 1
    assert model.results_ == []
    assert np.isfinite(model.predict(one, [12])).all()


def test_a_series_that_never_changes():
    flat = series_of(np.full(60, 7.0))
    np.testing.assert_allclose(model_of(quantiles=LEVELS).fit([flat]).predict(flat, [60]), 7)


def test_a_context_of_one_row():
    one = series_of(wave(40))
    assert model_of(context=1, horizon=1).fit([one]).predict(one, [40]).shape == (1, 1, 1, 1)


def test_the_same_seed_gives_the_same_bits():
    one = unlinear(200)
    arguments = {"context": 4, "horizon": 2, "epochs": 8, "batch_size": 16, "dropout": 0.2}

    def fit(seed):
        model = model_of(quantiles=LEVELS, seed=seed, **arguments).fit([one])
        return model.predict(one, [200])

    own = fit(0)
    np.testing.assert_array_equal(fit(0), own)
    assert (fit(1) != own).any()


def test_fit_changes_nothing_that_it_was_given():
    one = rich()
    kept = [array.copy() for array in one]
    model_of(members=1, epochs=1).fit([one])
    for array, copy in zip(one, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_log_of_the_training(tmp_path):
    path = tmp_path / "metrics.jsonl"
    model = model_of().fit([series_of(wave())], metrics=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == model.results_[0].history
    assert "validation_loss" in lines[-1]


# --------------------------------------------------------------------------------- what is stored


def test_it_is_made_again_from_what_a_file_holds(fitted):
    model, one = fitted
    config = json.loads(json.dumps(model.config))
    arrays = {name: array.copy() for name, array in model.parameters.items()}
    again = HorizonModel.from_parameters(config, arrays)
    np.testing.assert_array_equal(again.predict(one, [8, 70]), model.predict(one, [8, 70]))
    assert again.config == model.config
    assert not any(np.shares_memory(a, arrays[n]) for n, a in again.parameters.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"power": "cube"}, "power is 'cube'"),
        ({"start": 9}, "start is 9; expected at most context = 8"),
        ({"sizes": [1, 2, 1]}, "expected float"),
        ({"horizon": 5}, "expected float"),
        ({"horizon": 10**12}, "expected float"),  # and nothing of that size is made
        ({"hidden_size": 10**9}, "expected at most"),
        ({"sizes": [10**12, 2, 1]}, "expected at most"),
        ({"sizes": 3}, "sizes is 3; expected three whole numbers"),
        ({"level": 2}, "level is 2"),
        ({"penalty": -1.0}, "penalty is -1.0"),
        ({"extra": 1}, "config lacks, or should not have, extra"),
    ],
)
def test_a_file_that_disagrees_is_refused(fitted, change, words):
    model, _ = fitted
    with pytest.raises(InputError, match=words):
        HorizonModel.from_parameters({**model.config, **change}, model.parameters)


def test_an_array_too_few_is_refused(fitted):
    model, _ = fitted
    arrays = {**model.parameters}
    del arrays["members.1.bias"]
    with pytest.raises(InputError, match=r"members\.1\.bias is nothing; expected float32"):
        HorizonModel.from_parameters(model.config, arrays)


# --------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"context": 0}, "context is 0; expected at least 1"),
        ({"horizon": 1.5}, "horizon is 1.5; expected a whole number"),
        ({"quantiles": (0.9, 0.1)}, "expected rising levels"),
        ({"quantiles": ()}, "expected rising levels"),
        ({"quantiles": (0.1, 1.0)}, "quantiles is 1.0; expected above 0 and below 1"),
        ({"transform": "cube"}, "transform is 'cube'"),
        ({"members": 0}, "members is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ],
)
def test_an_argument_that_cannot_be_used(arguments, words):
    with pytest.raises(InputError, match=words):
        model_of(**arguments).fit([series_of(wave())])


def nan_at(row):
    target = wave(30)
    target[row] = np.nan
    return target


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "series is empty"),
        ([series_of(wave(11))], r"series\[0\] has 11 rows; expected at least context \+ horizon"),
        ([series_of(nan_at(3))], r"series\[0\].target\[3, 0\] is nan; expected a finite number"),
        ([series_of(wave()), rich()], r"series\[1\] has .* = \(2, 2, 1\); expected \(1, 0, 0\)"),
        ([series_of(1e200 * wave())], r"series\[0\].target has .*e\+201; expected .* most 1e\+100"),
        ([rich(ahead=-1)], r"series\[0\].known has 69 rows; expected at least the 70"),
    ],
)
def test_a_series_that_cannot_be_used(given, words):
    with pytest.raises(InputError, match=words):
        model_of().fit(given)


def test_a_transform_that_the_numbers_do_not_allow():
    with pytest.raises(InputError, match=r"\[0, 0\] is -1; expected a number above 0 with .*log"):
        model_of(transform="log").fit([series_of(np.arange(-1.0, 30))])


def test_a_first_zero_after_a_logarithm_was_chosen():
    t = np.arange(72)
    target = 100 * 1.04**t * np.array([1.0, 1.4, 0.8, 1.1])[t % 4]
    model = model_of(members=1).fit([series_of(target)])
    assert model.power_ == "log"
    target[-1] = 0
    assert np.isfinite(model.predict(series_of(target), [72])).all()


@pytest.mark.parametrize(
    ("origins", "words"),
    [([7], r"an origin is 7; expected 8 \(context\) to 70"), ([72], "an origin is 72")],
)
def test_an_origin_without_its_rows(fitted, origins, words):
    model, one = fitted
    with pytest.raises(InputError, match=words):
        model.predict(one, origins)


def test_predict_needs_a_fit_and_the_same_kind_of_series(fitted):
    with pytest.raises(InputError, match="the model knows nothing yet"):
        model_of().predict(series_of(wave()), [20])
    with pytest.raises(InputError, match=r"\(1, 0, 0\); expected \(2, 2, 1\) as in fit"):
        fitted[0].predict(series_of(wave()), [20])
