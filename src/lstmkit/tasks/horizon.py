"""Forecasting on arrays: a few networks, what they start from, and how wide their intervals are.

Every window's forecast is a naive one, corrected by a linear model, corrected by an LSTM. The
linear model is solved first (`lstmkit.tasks.horizon_choice`) and stands in the network as a skip
(`lstmkit.tasks.horizon_network`); the LSTM's head starts at zero, so that training starts from the
linear answer and stops where windows held out say that it gains no more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmkit import losses, optimizers, training
from lstmkit.data import Batch, Batches
from lstmkit.shapes import (
    Array,
    InputError,
    floating_dtype,
    one_of,
    positive_integer,
    real_array,
    real_number,
)
from lstmkit.tasks import intervals, transforms
from lstmkit.tasks.horizon_choice import Choice, Fold, choose, origins_of, solve, transformed
from lstmkit.tasks.horizon_network import Network
from lstmkit.tasks.horizon_windows import Series, Sight, chunks, lay_out

__all__ = ["HorizonModel", "Series"]

_OWNER = "HorizonModel"
_ARGUMENTS = (
    "context horizon quantiles hidden_size num_layers dropout season transform members epochs "
    "batch_size learning_rate weight_decay validation_fraction patience dtype seed"
).split()
_SIGHT = ("start", "level", "local", "sizes")
_SCALES = ("shift", "scale", "units", "least")
_OPTIONS = ("clip_norm", "clip_value", "plateau", "report_every")
_MOST = 1e100  # squares of larger numbers come near the end of float64
_VALIDATE_EVERY = 10  # steps, where an epoch has fewer


class _Windows(Batches):
    """Batches of windows: in a new order every epoch, or without a seed in the given one."""

    carries = False

    def __init__(
        self, choice: Choice, origins: Array, size: int, dtype: str, seed: int | None = None
    ) -> None:
        self._choice, self._origins, self._dtype, self._seed = choice, origins, dtype, seed
        self._size = min(size, len(origins))
        self.steps_per_epoch = -(-len(origins) // self._size)
        self._plan: tuple[int, Array] = (-1, origins)

    def batch(self, position: int) -> Batch:
        """Return the batch at a position; the same one for the same position."""
        epoch, step = divmod(position, self.steps_per_epoch)
        if self._seed is not None and self._plan[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch))
            self._plan = (epoch, rng.permutation(self._origins))
        chosen = self._plan[1][step * self._size : (step + 1) * self._size]
        view = self._choice.sight.windows(self._choice.rows, chosen, self._dtype)
        inputs: Any = view.window  # what a batch holds is between its source and the network
        return Batch(inputs, view.answer.astype(self._dtype), view.answer.size)


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
        Rows in a season, 1 for none. Where that does better on the training part, and the context
        holds a season, it is the last season's values that are corrected, not the last row's.
    transform : {"auto", "none", "sqrt", "log"}
        Of the targets; ``"auto"`` chooses on the training part, see `transforms.choose_power`.
    members : int
        Networks, which differ by their seed and by the block of windows that each does not learn
        from; the forecast is their mean.
    epochs : int
        The most there are; ``patience`` ends sooner.
    batch_size, learning_rate, weight_decay
        Of AdamW (Loshchilov and Hutter 2019).
    validation_fraction : float
        The share of each series' windows that a member holds out to know when to stop: the first
        member the last ones, the next those before, and so on. Windows that reach into these are
        not learned from either. All blocks in turn choose the linear part, and those held out
        set the width of the quantiles.
    patience : int
        Validations without a gain after which a member stops; it keeps the best weights that were
        validated. Those that it began with are not among them: measured on airline passengers,
        with them the MASE was 0.62 instead of 0.59 (one seed).
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
    penalty_ : float
        Of the ridge regression that the skip starts from, beside features of variance 1.
    sight_ : Sight
        What the network sees of a window; ``sight_.start`` is the season that the naive forecast
        repeats, 1 for the last row.
    widths_ : (n, Q)
        What calibration multiplies the distance of a quantile from the middle with.
    results_ : list of TrainingResult
        Of the members. A loaded model has none.

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
        members: int = 5,
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
        tensorboard: Any = None,
        **options: Any,
    ) -> HorizonModel:
        """Learn from all windows of all series.

        Parameters
        ----------
        series : sequence of Series
            All with the same targets and covariates, without nan, each of at least
            ``context + horizon`` rows.
        progress
            Where to show the run.
        metrics
            As in `training.train`, of the first member's trial.
        tensorboard
            As in `training.train`; of several members each has a folder of its own in it.
        **options
            The other arguments of `training.train` that make sense here: ``clip_norm``,
            ``clip_value``, ``plateau``, ``report_every``.

        Returns
        -------
        HorizonModel
            Itself. After Ctrl-C too, with the members so far: then the ``reason`` of the last of
            ``results_`` is ``"interrupted"``.

        Raises
        ------
        InputError
            If an argument, one of the model's own parameters or a series cannot be used.
        """
        self._check()
        for option in options:
            one_of(_OWNER, "an argument of fit", option, _OPTIONS)
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
        choice, folds = choose(
            series,
            self.context,
            self.horizon,
            self.season,
            self.transform,
            self.quantiles is None,
            max(2, round(1 / self.validation_fraction)),
        )
        self.power_, self.penalty_, self.sight_ = choice.power, choice.penalty, choice.sight
        self.widths_ = np.ones((self.sight_.sizes[0], self._levels))
        seeds = np.random.default_rng(self.seed).integers(2**32, size=self.members)
        self.networks_, self.results_ = list[Network](), list[training.TrainingResult]()
        answers = list[tuple[Array, Array]]()
        if not folds:  # too few windows to hold any out: the linear part alone, and once
            folds = [Fold(np.zeros(0, int), _all_origins(series, choice), np.zeros(0, int))]
            seeds = seeds[:1]
        for k, seed in enumerate(seeds):
            fold = folds[k % len(folds)]
            network = self._network(int(seed))
            self._start(network, choice, fold)
            self.networks_.append(network)
            if len(fold.held):
                shown = {"progress": progress, "metrics": metrics if k == 0 else None}
                if tensorboard is not None:
                    own = f"network-{k + 1}" if len(seeds) > 1 else ""
                    shown["tensorboard"] = os.path.join(tensorboard, own)
                if progress is not None and len(seeds) > 1:
                    progress.message(f"network {k + 1} of {len(seeds)}")
                self._train(network, choice, fold, int(seed), **shown, **options)
                answers.append(self._held_out(network, choice, fold))
                if self.results_[-1].reason == "interrupted":
                    break
        if answers and self.quantiles is not None:
            held, right = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
            self.widths_ = intervals.calibrate(held, right, self.quantiles)
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
            if array.size and np.abs(array).max() > _MOST:
                raise InputError(
                    f"{_OWNER}: {name}.{what} has {np.abs(array).max():g}; expected numbers of at "
                    f"most {_MOST:g} (give them in a larger unit)"
                )
        power = getattr(self, "power_", self.transform)
        if power != "auto" and not transforms.allowed([target], power):
            row, column = divmod(int(target.argmin()), target.shape[1])
            least = "above 0" if power == "log" else "of at least 0"
            raise InputError(
                f"{_OWNER}: {name}.target[{row}, {column}] is {target.min():g}; expected a number "
                f'{least} with transform="{power}" (or transform="none")'
            )
        return Series(target, past, known)

    def _network_arguments(self) -> dict[str, Any]:
        return {
            "inputs": self.sight_.inputs,
            "flat": self.sight_.flat,
            "horizon": self.horizon,
            "targets": self.sight_.sizes[0],
            "levels": self._levels,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "dtype": self.dtype,
        }

    def _network(self, seed: int) -> Network:
        """Make a member with new weights."""
        return Network(**self._network_arguments(), rng=np.random.default_rng(seed))

    def _start(self, network: Network, choice: Choice, fold: Fold) -> None:
        """Let a member's linear part be the solution for what it learns from."""
        weight, bias, left = solve(choice, fold.learned)
        network.parameters["skip.weight"][...] = weight.T
        level = bias.reshape(*network.bias.shape[:2], 1)
        if self.quantiles is not None:
            spread = np.quantile(left, self.quantiles, axis=0)
            level = level + np.moveaxis(spread.reshape(-1, *level.shape[:2]), 0, 2)
        network.bias[...] = level

    def _train(
        self, network: Network, choice: Choice, fold: Fold, seed: int, **options: Any
    ) -> None:
        batches = _Windows(choice, fold.learned, self.batch_size, self.dtype, seed)
        held = _Windows(choice, fold.held, 1024, self.dtype)
        steps = self.epochs * batches.steps_per_epoch
        options = {"clip_norm": 1.0, **options}
        result = training.train(
            network,
            batches,
            self._loss,
            optimizer=optimizers.adamw(weight_decay=self.weight_decay),
            learning_rate=optimizers.constant(self.learning_rate),
            steps=steps,
            seed=seed,
            validation=held,
            validate_every=min(max(batches.steps_per_epoch, _VALIDATE_EVERY), steps),
            patience=self.patience,
            nats=False,
            **options,
        )
        self.results_.append(result)

    def _loss(self, prediction: Array, targets: Array) -> tuple[float, Array]:
        if self.quantiles is not None:
            return losses.pinball(prediction, targets, quantiles=self.quantiles)
        value, gradient = losses.mean_squared_error(prediction[..., 0], targets)
        return value, gradient[..., None]

    def _held_out(self, network: Network, choice: Choice, fold: Fold) -> tuple[Array, Array]:
        """Return a member's answers to the windows that it did not learn from, and the right ones.

        They are (N, horizon, n, Q) and (N, horizon, n).
        """
        answers, right = [], []
        for chosen in chunks(fold.held):
            view = choice.sight.windows(choice.rows, chosen, self.dtype)
            answers.append(network(view.window)[0].astype(np.float64))
            right.append(view.answer)
        return np.concatenate(answers), np.concatenate(right)

    # ------------------------------ what a file holds

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and what `fit` chose, in JSON values."""
        given = {name: getattr(self, name) for name in _ARGUMENTS}
        plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in given.items()}
        if self.quantiles is not None:
            plain["quantiles"] = [float(q) for q in self.quantiles]
        plain["dtype"] = np.dtype(self.dtype).name
        sight = self._fitted().sight_
        learned = {name: getattr(sight, name) for name in _SIGHT}
        learned["sizes"] = list(sight.sizes)
        return plain | {"power": self.power_, "penalty": self.penalty_} | learned

    @property
    def parameters(self) -> dict[str, Array]:
        """The members' weights and the scales, by name, shared."""
        sight = self._fitted().sight_
        named = {name: getattr(sight, name) for name in _SCALES} | {"widths": self.widths_}
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
        expected = {*_ARGUMENTS, "power", "penalty", *_SIGHT}
        if set(config) != expected:
            strange = sorted(set(config) ^ expected)
            raise InputError(f"{_OWNER}: config lacks, or should not have, {', '.join(strange)}")
        model = cls(**{name: config[name] for name in _ARGUMENTS})
        model._check()
        model.power_ = one_of(_OWNER, "power", config["power"], transforms.POWERS)
        model.penalty_ = real_number(_OWNER, "penalty", config["penalty"], 0)
        start = positive_integer(_OWNER, "start", config["start"])
        if start > model.context:
            raise InputError(
                f"{_OWNER}: start is {start}; expected at most context = {model.context}"
            )
        for name in ("level", "local"):
            one_of(_OWNER, name, config[name], (True, False))
        sizes = config["sizes"]
        if not isinstance(sizes, list | tuple) or len(sizes) != 3:
            raise InputError(f"{_OWNER}: sizes is {sizes!r:.60}; expected three whole numbers")
        n, p, k = (positive_integer(_OWNER, "sizes", size, least=0) for size in sizes)
        positive_integer(_OWNER, "sizes", n)
        width, none = n + p + k, np.empty(0)
        model.sight_ = Sight(
            *(model.context, model.horizon, start, config["level"], config["local"], (n, p, k)),
            *(none, none, none, none),
        )
        held = {name.split(".")[1] for name in parameters if name.startswith("members.")}
        count = min(max(len(held), 1), model.members)
        shapes = {"shift": (width,), "scale": (width,), "units": (2, n), "least": (n,)}
        wanted = {name: f"float64 {shape}" for name, shape in shapes.items()}
        wanted["widths"] = f"float64 {(n, model._levels)}"
        # What a file claims is compared with what it has before anything of that size is made.
        network = Network.shapes_of(**model._network_arguments())
        for member in range(count):
            for name, shape in network.items():
                wanted[f"members.{member}.{name}"] = (
                    f"{floating_dtype(_OWNER, model.dtype)} {shape}"
                )
        found = {name: f"{a.dtype} {a.shape}" for name, a in parameters.items()}
        for name in sorted({*wanted, *found}):
            has, wants = found.get(name, "nothing"), wanted.get(name, "nothing")
            if has != wants:
                raise InputError(f"{_OWNER}: {name} is {has}; expected {wants}")
        scales: dict[str, Any] = {name: np.array(parameters[name]) for name in shapes}
        model.sight_ = replace(model.sight_, **scales)
        model.widths_ = np.array(parameters["widths"])
        model.networks_, model.results_ = [model._network(0) for _ in range(count)], []
        for name, array in model.parameters.items():
            array[...] = parameters[name]
        return model

    def _fitted(self) -> HorizonModel:
        if not hasattr(self, "networks_"):
            raise InputError(f"{_OWNER}: the model knows nothing yet; call fit first")
        return self

    # ------------------------------ using what is learned

    def _raised(self, series: Series) -> Series:
        """Raise values that a transform chosen in `fit` cannot take, such as a first 0 to its log.

        They become what lies four deviations below the mean of what was learned from.
        """
        target = np.asarray(series.target, np.float64)
        n = self.sight_.sizes[0]
        if target.ndim != 2 or target.shape[1] != n or transforms.allowed([target], self.power_):
            return series
        low = self.sight_.shift[:n] - 4 * self.sight_.scale[:n]
        return series._replace(target=np.maximum(target, transforms.inverse(low, self.power_)))

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
        if self.transform == "auto":
            series = self._raised(series)
        series = self._checked("series", series)
        width = tuple(a.shape[1] for a in series)
        if width != self.sight_.sizes:
            raise InputError(
                f"{_OWNER}: series has (targets, past, known) = {width}; expected "
                f"{self.sight_.sizes} as in fit"
            )
        places = np.asarray(origins, np.int64).reshape(-1)
        last = len(series.target)
        if width[2]:
            last = min(last, len(series.known) - self.horizon)
        if len(places) and (places.min() < self.context or places.max() > last):
            wrong = places[(places < self.context) | (places > last)][0]
            raise InputError(
                f"{_OWNER}: an origin is {wrong}; expected {self.context} (context) to {last} "
                "(the end of the target, and horizon rows before that of known)"
            )
        rows, _ = lay_out(transformed([series], self.power_), self.horizon)
        result = [np.empty((0, self.horizon, width[0], self._levels))]
        for chosen in chunks(places):
            view = self.sight_.windows(rows, chosen, self.dtype)
            answers = sum(network(view.window)[0].astype(np.float64) for network in self.networks_)
            answers = np.asarray(answers) / len(self.networks_)
            if self.quantiles is not None:
                answers = intervals.widen(answers, self.widths_, self.quantiles)
            total = view.naive[..., None] + answers * view.scale[..., None]
            result.append(transforms.inverse(total, self.power_))
        return np.concatenate(result)


def _all_origins(series: Sequence[Series], choice: Choice) -> Array:
    """Return all origins of the series."""
    horizon = choice.sight.horizon
    starts = lay_out(series, horizon)[1]
    return origins_of([len(s.target) for s in series], starts, choice.sight.context, horizon)
