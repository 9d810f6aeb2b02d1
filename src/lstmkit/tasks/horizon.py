"""The network that forecasts: an LSTM and a linear model together correct a naive forecast.

    history, then the naive forecast ─ LSTM ─ (dropout) ─ Linear ─┐
    history, known future ─ linear skip ──────────────────────────┴─ + naive forecast

The LSTM reads the history and goes on through the steps to forecast; at each of them it sees what
is known of that step (the naive forecast, the calendar, other covariates) and answers a correction.
Beside it stands a linear autoregression, as in LSTNet (Lai et al. 2018, arXiv:1703.07015, section
3.6); it starts at the solution of ridge regression and the LSTM's head at zero, so that training
starts from the linear answer. All horizons are forecast at once, none from another's forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit import losses, optimizers, training
from lstmkit.data import Batch, Batches
from lstmkit.layers import LSTM, Dropout, Linear
from lstmkit.shapes import (
    Array,
    InputError,
    floating_dtype,
    one_of,
    positive_integer,
    real_array,
    real_number,
)
from lstmkit.tasks import transforms

_OWNER = "HorizonModel"
_ARGUMENTS = (
    "context horizon quantiles hidden_size num_layers dropout season transform members epochs "
    "batch_size learning_rate weight_decay validation_fraction patience dtype seed"
).split()
_LEARNED = "power season_start local penalty steps targets past known".split()
_SCALES = "shift scale units widths".split()
_PENALTIES = 10.0 ** np.arange(-4, 4.5, 0.5)  # of the ridge regression, in units of the windows
_SKIP_STEPS = 24  # how many of the last rows of past covariates the linear skip sees
_CHUNK = 1024  # windows at once where all of them are gone through


class Series(NamedTuple):
    """One series, as arrays.

    Attributes
    ----------
    target : (T, n) float64
    past : (T, p)
        Covariates known up to the origin only; p may be 0.
    known : (T + ahead, k)
        Covariates known of the future too, such as the calendar; k may be 0.
    """

    target: Array
    past: Array
    known: Array


class Window(NamedTuple):
    """What the network sees of N origins.

    Attributes
    ----------
    steps : (N, context + horizon, I)
        What the LSTM reads.
    flat : (N, F)
        What the linear skip sees.
    """

    steps: Array
    flat: Array


class Network:
    """The LSTM, its head and the skip: a `training.Model` from `Window` to (N, horizon, n, Q).

    Parameters
    ----------
    inputs, flat : int
        I and F of `Window`.
    horizon, targets, levels : int
        The axes of the forecast: h steps, n targets, Q quantiles (1 for a point forecast).
    hidden_size, num_layers, dropout, dtype, rng
        Of the LSTM; dropout is also on its output.

    Notes
    -----
    With y the LSTM's output at step j of the horizon, and f the flat inputs,

    ``forecast[j, i, q] = head(y_j)[i, q] + (W_skip f)[j, i] + bias[j, i, q]``.
    """

    def __init__(
        self,
        inputs: int,
        flat: int,
        horizon: int,
        targets: int,
        levels: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        dtype: Any,
        rng: np.random.Generator,
    ) -> None:
        self.axes = (horizon, targets, levels)
        self.lstm = LSTM(inputs, hidden_size, num_layers, dropout=dropout, dtype=dtype, seed=rng)
        self.head = Linear(hidden_size, targets * levels, bias=False, dtype=dtype, seed=rng)
        self.head.parameters["weight"][...] = 0  # training starts from the linear answer
        self.skip = Linear(flat, horizon * targets, bias=False, dtype=dtype, seed=rng)
        self.bias: Array = np.zeros(self.axes, dtype)
        self._dropout = Dropout(dropout)

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, shared."""
        named = {f"lstm.{name}": array for name, array in self.lstm.parameters.items()}
        named["head.weight"] = self.head.parameters["weight"]
        named["skip.weight"] = self.skip.parameters["weight"]
        return named | {"bias": self.bias}

    def __call__(
        self, inputs: Window, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, Any]:
        """Return the forecast; nothing random."""
        y, _ = self.lstm(inputs.steps)
        return self._sum(self.head(y[:, -self.axes[0] :]), self.skip(inputs.flat)), None

    def forward(
        self,
        inputs: Window,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return the forecast, no state and the tape; with a rng, dropout is on."""
        y, _, lstm = self.lstm.forward(inputs.steps, rng=rng)
        last, dropped = self._dropout.forward(y[:, -self.axes[0] :], rng)
        correction, head = self.head.forward(last)
        linear, skip = self.skip.forward(inputs.flat)
        return self._sum(correction, linear), None, (y.shape, lstm, dropped, head, skip)

    def _sum(self, correction: Array, linear: Array) -> Array:
        horizon, targets, levels = self.axes
        rows = len(linear)
        total = correction.reshape(rows, horizon, targets, levels) + self.bias
        return total + linear.reshape(rows, horizon, targets, 1)

    def backward(self, tape: Any, dprediction: Array) -> dict[str, Array]:
        """Return the gradients, named like `parameters`."""
        shape, lstm, dropped, head, skip = tape
        rows, horizon = len(dprediction), self.axes[0]
        _, dskip = self.skip.backward(skip, dprediction.sum(axis=3).reshape(rows, -1))
        dlast, dhead = self.head.backward(head, dprediction.reshape(rows, horizon, -1))
        dy = np.zeros(shape, dlast.dtype)
        dy[:, -horizon:] = self._dropout.backward(dropped, dlast)
        _, _, dlstm = self.lstm.backward(lstm, dy)
        grads = {f"lstm.{name}": array for name, array in dlstm.items()}
        grads |= {"head.weight": dhead["weight"], "skip.weight": dskip["weight"]}
        return grads | {"bias": dprediction.sum(axis=0)}


class _Windows(Batches):
    """Batches of windows at some origins, in a new order every epoch; or in order, for one pass."""

    carries = False

    def __init__(self, model: HorizonModel, origins: Array, size: int, seed: int | None) -> None:
        self.model, self.origins, self.seed = model, origins, seed
        self.size = min(size, len(origins))
        self.steps_per_epoch = -(-len(origins) // self.size)
        self._plan: tuple[int, Array] = (-1, origins)

    def batch(self, position: int) -> Batch:
        epoch, step = divmod(position, self.steps_per_epoch)
        if self.seed is not None and self._plan[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            self._plan = (epoch, rng.permutation(self.origins))
        chosen = self._plan[1][step * self.size : (step + 1) * self.size]
        window, naive, scale, actual = self.model._windows(chosen)
        wanted = ((actual - naive) / scale).astype(self.model.dtype)
        inputs: Any = window  # what a batch holds is between its source and the network
        return Batch(inputs, wanted, wanted.size)

    def one_pass(self) -> Iterator[Batch]:
        for position in range(self.steps_per_epoch):
            yield self.batch(position)


class HorizonModel:
    """Forecast ``horizon`` steps of some targets from the last ``context`` steps.

    Parameters
    ----------
    context : int
        How many rows before an origin the model sees.
    horizon : int
        How many rows from the origin on it forecasts.
    quantiles : sequence of float, optional
        Levels above 0 and below 1, rising: the pinball loss is learned (Koenker and Bassett 1978).
        Without, a point forecast by squared error.
    hidden_size, num_layers, dropout
        H, L and the dropout of the LSTM, also on its output.
    season : int
        Rows in a season, 1 for none. Where repeating the last season errs less on the training
        part than repeating the last row (and the context holds a season), the forecast starts
        from there.
    transform : {"auto", "none", "sqrt", "log"}
        Of the targets; ``"auto"`` chooses on the training part, see `transforms.choose_power`.
    members : int
        Networks that differ by their seed; the forecast is their mean.
    epochs : int
        The most there are; ``patience`` ends sooner.
    batch_size, learning_rate, weight_decay
        Of AdamW (Loshchilov and Hutter 2019).
    validation_fraction : float
        The share of each series' windows, its last ones, on which the penalty of the linear part,
        the number of steps and the width of the quantiles are chosen. No window that is learned
        from in this trial reaches into them. The networks then learn anew from all windows.
    patience : int
        Validations without a gain after which a trial ends.
    dtype : {"float32", "float64"}
        Of the networks.
    seed : int, optional
        Of weights, batches and dropout.

    Attributes
    ----------
    networks_ : list of Network
        The members, after `fit`.
    power_ : str
        The transform that was chosen.
    season_start_ : int
        The season that the forecast starts from; 1: from the last row.
    penalty_ : float
        Of the ridge regression that the skip starts from, beside features of variance 1.
    steps_ : int
        How many steps each member learned.
    results_ : list of TrainingResult
        Of the trials. A loaded model has none.

    Examples
    --------
    >>> t = np.arange(60.0)
    >>> series = Series((t % 4 + t)[:, None], np.empty((60, 0)), np.empty((60, 0)))
    >>> model = HorizonModel(context=8, horizon=4, season=4, members=1, epochs=2, seed=0)
    >>> forecast = model.fit([series]).predict(series, [60])
    >>> forecast[0, :, 0, 0].round(1)  # 60, 62, 64, 66
    array([60., 62., 64., 66.])
    """

    def __init__(
        self,
        *,
        context: int,
        horizon: int,
        quantiles: Sequence[float] | None = None,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        season: int = 1,
        transform: str = "auto",
        members: int = 3,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        validation_fraction: float = 0.2,
        patience: int = 10,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        self.context = context
        self.horizon = horizon
        self.quantiles = quantiles
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.season = season
        self.transform = transform
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.seed = seed

    # ------------------------------ learning

    def fit(
        self,
        series: Sequence[Series],
        *,
        progress: Any = None,
        metrics: Any = None,
        **options: Any,
    ) -> HorizonModel:
        """Learn from all windows of all series.

        Parameters
        ----------
        series : sequence of Series
            All with the same targets and covariates, without nan, each of at least
            ``context + horizon`` rows.
        progress, metrics
            As in `training.train`, of the first member's trial.
        **options
            The other arguments of `training.train` that make sense here: ``clip_norm``.

        Returns
        -------
        HorizonModel
            Itself.

        Raises
        ------
        InputError
            If an argument, one of the model's own parameters or a series cannot be used.
        """
        self._check()
        series = [self._checked(f"series[{k}]", one) for k, one in enumerate(series)]
        if not series:
            raise InputError(f"{_OWNER}: series is empty; expected at least one Series")
        widths = [tuple(array.shape[1] for array in one) for one in series]
        for k, (one, width) in enumerate(zip(series, widths, strict=True)):
            if width != widths[0]:
                raise InputError(
                    f"{_OWNER}: series[{k}] has (targets, past, known) = {width}; expected "
                    f"{widths[0]} as in series[0]"
                )
            if len(one.target) < self.context + self.horizon:
                raise InputError(
                    f"{_OWNER}: series[{k}] has {len(one.target)} rows; expected at least context "
                    f"+ horizon = {self.context + self.horizon} (give more rows or a smaller one)"
                )
        self.targets_, self.past_, self.known_ = widths[0]

        targets = [one.target for one in series]
        self.power_ = self.transform
        if self.transform == "auto":
            length = self.season if self.season > 1 else min(self.context, 24)
            self.power_ = transforms.choose_power(targets, max(length, 2))
        places = [np.arange(self.context, len(t) - self.horizon + 1) for t in targets]
        self.season_start_ = 1
        if 1 < self.season <= self.context:
            changed = [transforms.forward(t, self.power_) for t in targets]
            self.season_start_ = transforms.choose_season(
                changed, places, self.horizon, self.season
            )
        self.local_ = len(series) > 1 and self.power_ != "log"
        starts = self._lay_out(series)
        self._measure(np.concatenate([start + k for start, k in zip(starts, places, strict=True)]))

        everything, learned, held = self._split(starts, places)
        rng = np.random.default_rng(self.seed)
        seeds = rng.integers(2**32, size=(2, self.members))
        self.penalty_, self.steps_, self.results_ = 1.0, 0, []
        self.widths_ = np.ones((self.targets_, self._levels), np.float64)
        if len(held):
            self.penalty_, start = self._linear(learned, held)
            validation = _Windows(self, held, _CHUNK, None)
            self.networks_: list[Network] = []
            for seed in seeds[0]:
                network = self._network(int(seed), start)
                first = not self.networks_
                self.results_.append(
                    self._train(
                        network,
                        learned,
                        int(seed),
                        validation=validation,
                        patience=self.patience,
                        progress=progress if first else None,
                        metrics=metrics if first else None,
                        **options,
                    )
                )
                self.networks_.append(network)
            self.steps_ = int(np.median([result.best_step or 0 for result in self.results_]))
            self._calibrate(held)
        _, start = self._linear(everything, None)
        self.networks_ = [self._network(int(seed), start) for seed in seeds[1]]
        for seed, network in zip(seeds[1], self.networks_, strict=True):
            if self.steps_:
                self._train(network, everything, int(seed), steps=self.steps_, **options)
        del self._rows  # the series themselves are not kept
        return self

    def _check(self) -> None:
        for name in "context horizon hidden_size num_layers season members".split():
            positive_integer(_OWNER, name, getattr(self, name))
        for name in "epochs batch_size patience".split():
            positive_integer(_OWNER, name, getattr(self, name))
        real_number(_OWNER, "learning_rate", self.learning_rate, 0, open_ends="low")
        real_number(_OWNER, "weight_decay", self.weight_decay, 0)
        share = self.validation_fraction
        real_number(_OWNER, "validation_fraction", share, 0, 1, open_ends="low high")
        one_of(_OWNER, "transform", self.transform, ("auto", *transforms.POWERS))
        floating_dtype(_OWNER, self.dtype)
        if self.seed is not None:
            positive_integer(_OWNER, "seed", self.seed, least=0)
        if self.quantiles is not None:
            levels = [
                real_number(_OWNER, "quantiles", q, 0, 1, open_ends="low high")
                for q in self.quantiles
            ]
            if not levels or levels != sorted(set(levels)):
                raise InputError(
                    f"{_OWNER}: quantiles is {self.quantiles!r}; expected rising levels"
                )

    @property
    def _levels(self) -> int:
        return 1 if self.quantiles is None else len(self.quantiles)

    def _checked(self, name: str, one: Series) -> Series:
        """Return the series in float64, once its arrays fit each other and hold finite numbers."""
        target = real_array(_OWNER, f"{name}.target", one.target, ("time", "targets"), np.float64)
        past = real_array(_OWNER, f"{name}.past", one.past, (len(target), "past"), np.float64)
        known = real_array(_OWNER, f"{name}.known", one.known, ("time", "known"), np.float64)
        if known.shape[1] and len(known) < len(target):
            raise InputError(
                f"{_OWNER}: {name}.known has {len(known)} rows; expected at least the "
                f"{len(target)} of the target"
            )
        for what, array in (("target", target), ("past", past), ("known", known)):
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                row, column = (int(k) for k in wrong[0])
                raise InputError(
                    f"{_OWNER}: {name}.{what}[{row}, {column}] is {array[row, column]}; expected "
                    "a finite number (fill what is missing)"
                )
        power = getattr(self, "power_", self.transform)
        if power != "auto" and not transforms.allowed([target], power):
            least = "above 0" if power == "log" else "of at least 0"
            raise InputError(
                f"{_OWNER}: {name}.target has {target.min():g}; expected numbers {least} "
                f'with transform="{power}" (or transform="none")'
            )
        return Series(target, past, known)

    def _lay_out(self, series: Sequence[Series]) -> list[int]:
        """Put the series below each other, each with room for a forecast; return where they begin.

        In that room the targets are nan, so that nothing can be learned or copied from it.
        """
        starts, parts, start = [], list[tuple[Array, Array, Array]](), 0
        for one in series:
            rows = max(len(one.target), len(one.known)) + self.horizon
            parts.append(
                (
                    _lengthened(transforms.forward(one.target, self.power_), rows, np.nan),
                    _lengthened(one.past, rows, 0.0),
                    _lengthened(one.known, rows, 0.0),
                )
            )
            starts.append(start)
            start += rows
        target, past, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self._rows = Series(target, past, known)
        return starts

    def _measure(self, origins: Array) -> None:
        """Learn what each input is shifted and divided by, from the rows of these windows."""
        seen = np.zeros(len(self._rows.target), bool)
        for step in range(-self.context, self.horizon):
            seen[origins + step] = True
        target, past, known = (array[seen] for array in self._rows)
        self.shift_ = np.concatenate([a.mean(axis=0) for a in (target, past, known)])
        self.scale_ = _positive(np.concatenate([a.std(axis=0) for a in (target, past, known)]))
        self.units_ = np.ones((2, self.targets_))
        inner, outer = np.zeros(self.targets_), np.zeros(self.targets_)
        for chosen in _chunks(origins):
            window, naive, scale, actual = self._windows(chosen, np.float64)
            inner += np.square(window.steps[:, : self.context, : self.targets_]).mean((0, 1))
            outer += np.square((actual - naive) / scale).mean((0, 1))
        count = -(-len(origins) // _CHUNK)
        self.units_ = _positive(np.sqrt(np.stack([inner, outer]) / count))

    def _windows(self, origins: Array, dtype: Any = None) -> tuple[Window, Array, Array, Array]:
        """Return what the network sees at some rows of `_rows`, and what its answers mean.

        Returns
        -------
        window : Window
        naive : (N, horizon, n)
            The forecast to start from.
        scale : (N, 1, n)
            The unit of the corrections.
        actual : (N, horizon, n)
            What came; nan where nobody knows.
        """
        n, p = self.targets_, self.past_
        rows = origins[:, None] + np.arange(-self.context, self.horizon)
        before, future = rows[:, : self.context], rows[:, self.context :]
        history = self._rows.target[before]
        naive = self._rows.target[transforms.naive_rows(origins, self.horizon, self.season_start_)]
        last = history[:, -1:]
        shift, scale = (np.split(a, [n, n + p]) for a in (self.shift_, self.scale_))
        local: Array = np.ones((len(origins), 1, n))
        if self.local_:  # each window by its own spread (Kim et al. 2022, RevIN)
            floor = 0.1 * scale[0]
            local = np.sqrt(history.var(axis=1, keepdims=True) + floor**2)
        path = np.concatenate([history, naive], axis=1)
        moves = (path - last) / (local * self.units_[0])
        past = (self._rows.past[before] - shift[1]) / scale[1]
        known = (self._rows.known[rows] - shift[2]) / scale[2]
        ahead = np.zeros((len(origins), self.horizon, p))
        flag = np.zeros((*rows.shape, 1))
        flag[:, self.context :] = 1
        level = (path - shift[0]) / scale[0]
        steps = np.concatenate(
            [moves, level, np.concatenate([past, ahead], axis=1), known, flag], axis=2
        )
        flat = [
            moves[:, : self.context - 1],  # the last of them is 0
            level[:, self.context - 1],
            past[:, -_SKIP_STEPS:],
            known[:, self.context :],
        ]
        dtype = self.dtype if dtype is None else dtype
        window = Window(
            steps.astype(dtype),
            np.concatenate([a.reshape(len(origins), -1) for a in flat], axis=1).astype(dtype),
        )
        return window, naive, local * self.units_[1], self._rows.target[future]

    def _split(self, starts: list[int], places: list[Array]) -> tuple[Array, Array, Array]:
        """Return all origins, those to learn from in the trial and those held out for it.

        What is to be forecast at an origin that is learned from ends before the first one held out.
        """
        learned, held = list[Array](), list[Array]()
        for start, origins in zip(starts, places, strict=True):
            count = max(1, round(self.validation_fraction * len(origins)))
            first = origins[-count]
            learned.append(start + origins[origins + self.horizon <= first])
            held.append(start + origins[-count:] if len(learned[-1]) else origins[:0])
        everything = [start + origins for start, origins in zip(starts, places, strict=True)]
        return np.concatenate(everything), np.concatenate(learned), np.concatenate(held)

    def _linear(self, origins: Array, held: Array | None) -> tuple[float, dict[str, Array]]:
        """Solve the skip by ridge regression (Hoerl and Kennard 1970), and the bias beside it.

        The penalty is the one that errs least at the held origins; without them it is ``penalty_``.
        """
        count, total = 0, None
        for chosen in _chunks(origins):
            x, y = self._pair(chosen)
            z = np.concatenate([np.ones((len(x), 1)), x, y], axis=1)
            total = z.T @ z if total is None else total + z.T @ z
            count += len(x)
        assert total is not None
        f = x.shape[1]
        mean = total[0] / count
        covariance = total / count - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(covariance.diagonal()[1 : f + 1], 1e-12))
        correlation = covariance[1 : f + 1, 1 : f + 1] / np.outer(deviation, deviation)
        values, vectors = np.linalg.eigh(correlation)
        values = np.maximum(values, 0)
        wanted = vectors.T @ (covariance[1 : f + 1, f + 1 :] / deviation[:, None])

        def solved(penalty: float) -> tuple[Array, Array]:
            weight = vectors @ (wanted / (values + penalty)[:, None]) / deviation[:, None]
            return weight, mean[f + 1 :] - mean[1 : f + 1] @ weight

        penalty = self.penalty_
        if held is not None:
            errors = np.zeros(len(_PENALTIES))
            for chosen in _chunks(held):
                x, y = self._pair(chosen)
                for k, candidate in enumerate(_PENALTIES):
                    weight, bias = solved(candidate)
                    errors[k] += np.square(y - x @ weight - bias).sum()
            penalty = float(_PENALTIES[np.argmin(errors)])
        weight, bias = solved(penalty)
        shape = (self.horizon, self.targets_, 1)
        level = np.broadcast_to(bias.reshape(shape), (*shape[:2], self._levels)).copy()
        if self.quantiles is not None:
            left = [y - x @ weight - bias for x, y in map(self._pair, _chunks(origins))]
            spread = np.quantile(np.concatenate(left), self.quantiles, axis=0)
            level += np.moveaxis(spread.reshape(-1, *shape[:2]), 0, 2)
        return penalty, {"skip.weight": weight.T, "bias": level}

    def _pair(self, origins: Array) -> tuple[Array, Array]:
        """Return what the skip sees and the corrections that are right, a row an origin."""
        window, naive, scale, actual = self._windows(origins, np.float64)
        return window.flat, ((actual - naive) / scale).reshape(len(origins), -1)

    def _network(self, seed: int, start: Mapping[str, Array] | None = None) -> Network:
        """Make a member; ``start`` says where its linear part stands."""
        n, p, k = self.targets_, self.past_, self.known_
        flat = self.context * n + min(_SKIP_STEPS, self.context) * p + self.horizon * k
        network = Network(
            2 * n + p + k + 1,
            flat,
            self.horizon,
            n,
            self._levels,
            self.hidden_size,
            self.num_layers,
            self.dropout,
            self.dtype,
            np.random.default_rng(seed),
        )
        for name, array in (start or {}).items():
            network.parameters[name][...] = array
        return network

    def _train(
        self, network: Network, origins: Array, seed: int, *, steps: int | None = None, **more: Any
    ) -> training.TrainingResult:
        batches = _Windows(self, origins, self.batch_size, seed)
        if steps is None:
            steps = self.epochs * batches.steps_per_epoch
            more["validate_every"] = min(max(batches.steps_per_epoch, 10), steps)
        more.setdefault("clip_norm", 1.0)
        return training.train(
            network,
            batches,
            self._loss,
            optimizer=optimizers.adamw(weight_decay=self.weight_decay),
            learning_rate=optimizers.constant(self.learning_rate),
            steps=steps,
            seed=seed,
            nats=False,
            **more,
        )

    def _loss(self, prediction: Array, targets: Array) -> tuple[float, Array]:
        if self.quantiles is not None:
            return losses.pinball(prediction, targets, quantiles=self.quantiles)
        value, gradient = losses.mean_squared_error(prediction[..., 0], targets)
        return value, gradient[..., None]

    def _calibrate(self, held: Array) -> None:
        """Widen or narrow each quantile until it covers its share of the windows held out.

        Split conformal calibration of quantiles (Romano, Patterson and Candès 2019), here by a
        factor on their distance from the middle, so that calm and wild windows keep their order.
        """
        if self.quantiles is None:
            return
        parts = []
        for chosen in _chunks(held):
            window, naive, scale, actual = self._windows(chosen)
            parts.append((self._answers(window), (actual - naive) / scale))
        answers, actual = (np.concatenate(a) for a in zip(*parts, strict=True))
        middle = _middle(answers, self.quantiles)
        for k, level in enumerate(self.quantiles):
            distance = answers[..., k] - middle
            far = np.abs(distance) > 1e-6
            for j in range(self.targets_):
                ratio = ((actual - middle) / np.where(far, distance, 1))[:, :, j][far[:, :, j]]
                if len(ratio) and abs(level - 0.5) > 1e-9:
                    self.widths_[j, k] = np.quantile(ratio, max(level, 1 - level))
        self.widths_ = np.clip(self.widths_, 0.5, 3.0)

    # ------------------------------ what a file holds

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and what `fit` chose, in JSON values."""
        given = {name: getattr(self, name) for name in _ARGUMENTS}
        plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in given.items()}
        if self.quantiles is not None:
            plain["quantiles"] = [float(q) for q in self.quantiles]
        plain["dtype"] = np.dtype(self.dtype).name
        return plain | {name: getattr(self._fitted(), f"{name}_") for name in _LEARNED}

    @property
    def parameters(self) -> dict[str, Array]:
        """The members' weights and the scales, by name, shared."""
        named = {name: getattr(self._fitted(), f"{name}_") for name in _SCALES}
        for k, network in enumerate(self.networks_):
            named |= {f"members.{k}.{name}": array for name, array in network.parameters.items()}
        return named

    @classmethod
    def from_parameters(
        cls, config: Mapping[str, Any], parameters: Mapping[str, Array]
    ) -> HorizonModel:
        """Make a model from its `config` and arrays, which are copied.

        Raises
        ------
        InputError
            If an argument is missing or unknown, or an array's name, shape or dtype disagrees.
        """
        strange = sorted(set(config) ^ {*_ARGUMENTS, *_LEARNED})
        if strange:
            raise InputError(f"{_OWNER}: config lacks, or should not have, {', '.join(strange)}")
        model = cls(**{name: config[name] for name in _ARGUMENTS})
        model._check()
        one_of(_OWNER, "power", config["power"], tuple(transforms.POWERS))
        one_of(_OWNER, "local", config["local"], (True, False))
        for name, least in (
            ("targets", 1),
            ("past", 0),
            ("known", 0),
            ("season_start", 1),
            ("steps", 0),
        ):
            positive_integer(_OWNER, name, config[name], least=least)
        if config["season_start"] > model.context:
            raise InputError(
                f"{_OWNER}: season_start is {config['season_start']}; expected at most context "
                f"= {model.context}"
            )
        for name in _LEARNED:
            setattr(model, f"{name}_", config[name])
        for name, array in model._empty_scales().items():
            setattr(model, f"{name}_", array)
        model.networks_, model.results_ = [model._network(0) for _ in range(model.members)], []
        expected = {name: f"{a.dtype} {a.shape}" for name, a in model.parameters.items()}
        found = {name: f"{a.dtype} {a.shape}" for name, a in parameters.items()}
        for name in sorted({*expected, *found}):
            has, wants = found.get(name, "nothing"), expected.get(name, "nothing")
            if has != wants:
                raise InputError(f"{_OWNER}: {name} is {has}; expected {wants}")
        for name, array in model.parameters.items():
            array[...] = parameters[name]
        return model

    def _empty_scales(self) -> dict[str, Array]:
        n, width = self.targets_, self.targets_ + self.past_ + self.known_
        shapes = {"shift": (width,), "scale": (width,), "units": (2, n)}
        shapes["widths"] = (n, self._levels)
        return {name: np.ones(shape) for name, shape in shapes.items()}

    def _fitted(self) -> HorizonModel:
        if not hasattr(self, "networks_"):
            raise InputError(f"{_OWNER}: the model knows nothing yet; call fit first")
        return self

    # ------------------------------ using what is learned

    def predict(self, series: Series, origins: Any) -> Array:
        """Forecast from some origins, each knowing only what came before it.

        Parameters
        ----------
        series : Series
            With the targets and covariates of those that were learned from.
        origins : (O,) integers
            At origin k rows ``k - context`` to ``k - 1`` of target and past are seen, and
            ``known`` up to row ``k + horizon - 1``.

        Returns
        -------
        (O, horizon, n, Q) float64
            Q = 1 without quantiles, else their forecasts, which never cross.

        Raises
        ------
        InputError
            If there is no fit yet, the series is another kind, or an origin has too few rows.
        """
        self._fitted()
        series = self._checked("series", series)
        width, own = tuple(a.shape[1] for a in series), (self.targets_, self.past_, self.known_)
        if width != own:
            raise InputError(
                f"{_OWNER}: series has (targets, past, known) = {width}; expected {own} as in fit"
            )
        places = np.asarray(origins, np.int64).reshape(-1)
        last = len(series.target)
        if self.known_:
            last = min(last, len(series.known) - self.horizon)
        if len(places) and (places.min() < self.context or places.max() > last):
            wrong = places[(places < self.context) | (places > last)][0]
            raise InputError(
                f"{_OWNER}: an origin is {wrong}; expected {self.context} (context) to {last} "
                "(the end of the target, and horizon rows before that of known)"
            )
        self._lay_out([series])
        result = np.empty((len(places), self.horizon, self.targets_, self._levels))
        for first in range(0, len(places), _CHUNK):
            chosen = places[first : first + _CHUNK]
            window, naive, scale, _ = self._windows(chosen)
            answers = self._answers(window)
            if self.quantiles is not None:
                middle = _middle(answers, self.quantiles)[..., None]
                answers = middle + (answers - middle) * self.widths_
                # Sorted quantiles are never worse (Chernozhukov, Fernández-Val & Galichon 2010).
                answers = np.sort(answers, axis=3)
            total = naive[..., None] + answers * scale[..., None]
            result[first : first + _CHUNK] = transforms.inverse(total, self.power_)
        del self._rows
        return result

    def _answers(self, window: Window) -> Array:
        """Return the members' mean answer, (N, horizon, n, Q) float64."""
        total: Array = np.zeros(1)
        for network in self.networks_:
            total = total + network(window)[0].astype(np.float64)
        return total / len(self.networks_)


def _lengthened(array: Array, rows: int, value: float) -> Array:
    longer = np.full((rows, array.shape[1]), value)
    longer[: len(array)] = array
    return longer


def _positive(scale: Array) -> Array:
    """Return the scale, 1 where it is 0: what never changes is left as it is."""
    return np.where(scale > 1e-12, scale, 1.0)


def _chunks(origins: Array) -> Iterator[Array]:
    for first in range(0, len(origins), _CHUNK):
        yield origins[first : first + _CHUNK]


def _middle(answers: Array, quantiles: Sequence[float]) -> Array:
    """Return the median among the quantiles, or what lies nearest to it: (..., Q) → (...)."""
    distance = np.abs(np.asarray(quantiles) - 0.5)
    middle: Array = answers[..., distance <= distance.min() + 1e-9].mean(axis=-1)
    return middle
