"""A forecaster of a user's series: table in, table out.

    table ─ panel ─ calendar ─ HorizonModel ─ table of forecasts
                        └───── backtest beside persistence, seasonal-naive and ridge

What the network is and how it learns stands in `lstmkit.tasks.horizon`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lstmkit import store, training
from lstmkit.layers import Trace
from lstmkit.shapes import Array, InputError, positive_integer, shown
from lstmkit.tasks import backtest as backtests
from lstmkit.tasks import metrics, panel, remembered, timeline
from lstmkit.tasks.backtest import About, Backtest
from lstmkit.tasks.horizon import HorizonModel, Series
from lstmkit.tasks.horizon_choice import transformed
from lstmkit.tasks.horizon_windows import lay_out
from lstmkit.tasks.panel import Panel
from lstmkit.tasks.parameters import Parameters, not_fitted

_OWNER = "Forecaster"
_LEAST_CONTEXT = 8  # rows
_SCORED = 200  # origins at most that `score` measures at
_MODEL_ARGUMENTS = (
    "hidden_size num_layers dropout transform members epochs batch_size learning_rate "
    "weight_decay validation_fraction patience dtype"
).split()


class Forecaster(Parameters):
    """An LSTM that forecasts one or many series, several steps ahead, with intervals if asked.

    Parameters
    ----------
    context : int, optional
        The rows before an origin that the network sees. By default two seasons or the horizon,
        whichever is longer, at least 8, and at most a third of the rows of the shortest series.
    horizon : int
        The rows to forecast.
    quantiles : tuple of float, optional
        Rising levels, 0.5 among them: ``(0.1, 0.5, 0.9)`` gives the median and an interval of
        80 %, trained by the pinball loss and widened or narrowed until it covers its share of
        held-out windows. By default the forecast is a point, trained by squared error.
    hidden_size, num_layers, dropout
        H, L and dropout of the LSTM.
    season : int, optional
        The steps after which the series repeats itself; 1 for none. By default that of the times
        (12 of monthly, 24 of hourly, 7 of daily ones, ...) if every series is longer than two
        seasons and a horizon; 1 without times.
    transform : {"auto", "none", "sqrt", "log"}
        Of the targets; ``"auto"`` chooses from the training part.
    members : int
        Networks that differ by their seed; the forecast is their mean.
    calendar : bool
        Whether the network sees the time of day, day of week and time of year of each step, where
        the data have times.
    missing : {"error", "fill"}
        What to do about missing values and gaps: an error that names column and row, or the last
        value before it again.
    epochs, batch_size, learning_rate, weight_decay, validation_fraction, patience
        Of the training, see `lstmkit.tasks.horizon.HorizonModel`.
    dtype : {"float32", "float64"}
        Of weights and arithmetic.
    random_state : int, numpy generator or RandomState, optional
        Of weights and order. The same int gives the same forecasts, bit for bit.

    Attributes
    ----------
    model_ : HorizonModel
        The network, after `fit` or loading.
    context_, season_ : int
        The context and the season that were chosen.
    columns_ : panel.Columns
        Which column is what.
    timeline_ : timeline.Timeline or None
        The step of the times.
    result_ : TrainingResult or None
        The first network's trial on held-out windows, or the one that Ctrl-C stopped; None where
        the series were too short for one, or in a loaded model.

    Notes
    -----
    Several series are learned by one network, each window in units of its own spread. All steps of
    the horizon are forecast at once, none from another's forecast.

    The model keeps, and saves, the last ``context`` rows of every series, to go on from them.

    Examples
    --------
    >>> t = np.arange(48)
    >>> data = {"month": np.datetime64("2020-01") + t, "sold": 100 + t + 20.0 * (t % 12 == 11)}
    >>> model = Forecaster(horizon=3, members=1, epochs=5, random_state=0).fit(data)
    >>> model.context_, model.season_
    (16, 12)
    >>> forecast = model.predict()
    >>> forecast["month"]
    array(['2024-01', '2024-02', '2024-03'], dtype='datetime64[M]')
    >>> forecast["sold"].round(0)
    array([148., 149., 150.])
    """

    def __init__(
        self,
        context: int | None = None,
        horizon: int = 1,
        *,
        quantiles: Sequence[float] | None = None,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        season: int | None = None,
        transform: str = "auto",
        members: int = 5,
        calendar: bool = True,
        missing: str = "error",
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        validation_fraction: float = 0.2,
        patience: int = 10,
        dtype: Any = "float32",
        random_state: Any = None,
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
        self.calendar = calendar
        self.missing = missing
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.random_state = random_state

    # ------------------------------ learning

    def fit(
        self,
        data: Any,
        y: None = None,
        *,
        time: Any = None,
        series: Any = None,
        target: Any = None,
        past: Any = (),
        future: Any = (),
        progress: Any = None,
        metrics: store.PathLike | None = None,
        **options: Any,
    ) -> Forecaster:
        """Learn from one or many series, from new weights.

        Parameters
        ----------
        data
            An array (T,) or (T, columns), a list, a dict of columns, a frame of pandas, polars or
            pyarrow, or the path of a CSV or Parquet file; or a list of arrays or frames, a series
            each. Rows are in the order of time.
        y : None
            Ignored: the targets are columns of data. scikit-learn's tools pass it.
        time : name, or False, optional
            The column of times; by default a pandas index of times, or the only column that holds
            times, or none. False counts rows.
        series : name, optional
            The column that says of which series a row is.
        target : name or list of names, optional
            What to forecast; by default the only column that is left.
        past, future : name or list of names
            Covariates known up to the present; and those known of the time to come too.
        progress : lstmkit.progress.Progress, optional
            Where to show the run.
        metrics : path, optional
            The log of the first network's trial, JSON lines.
        **options
            Other arguments of `training.train` that `HorizonModel.fit` takes: ``clip_norm``,
            ``tensorboard``.

        Returns
        -------
        Forecaster
            Itself.

        Raises
        ------
        InputError
            One line that names the argument or the column and row, and the remedy: missing values,
            text among numbers, double or unsorted times, gaps, a series shorter than
            ``context + horizon``.
        """
        read, chosen = self._understand(data, time, series, target, past, future)
        context, season = chosen
        panel.enough(_OWNER, read, context + self.horizon, "context + horizon")
        with _speaking():
            model = self._model(context, season, self._seed())
            model.fit(self._arrays(read), progress=progress, metrics=metrics, **options)
        self.model_, self.context_, self.season_ = model, context, season
        self.columns_, self.timeline_ = read.columns, read.timeline
        stopped = [one for one in model.results_ if one.reason == "interrupted"]
        self.result_: training.TrainingResult | None = next(iter(stopped or model.results_), None)
        self._end = remembered.tail(read, context)
        return self

    def _understand(
        self, data: Any, time: Any, series: Any, target: Any, past: Any, future: Any
    ) -> tuple[Panel, tuple[int, int]]:
        """Read data, and choose context and season."""
        self._check()
        read = panel.panel(
            _OWNER,
            data,
            time=time,
            series=series,
            target=target,
            past=past,
            future=future,
            missing=self.missing,
        )
        rows = min(len(one.target) for one in read.series)
        season = self.season
        if season is None:
            season = 1 if read.timeline is None else read.timeline.season
            season = season if rows >= 2 * season + self.horizon else 1
        context = self.context
        if context is None:
            wanted = max(2 * season, self.horizon, _LEAST_CONTEXT)
            context = max(1, min(wanted, rows // 3))
        return read, (context, season)

    def _check(self) -> None:
        """Look at the parameters that the network does not look at itself."""
        positive_integer(_OWNER, "horizon", self.horizon)
        for name in ("context", "season"):
            if getattr(self, name) is not None:
                positive_integer(_OWNER, name, getattr(self, name))
        if not isinstance(self.calendar, bool | np.bool_):
            raise InputError(
                f"{_OWNER}: calendar is {shown(repr(self.calendar), 60)}; expected True or False"
            )
        levels = self._levels()
        if levels is not None and not any(abs(level - 0.5) < 1e-9 for level in levels):
            raise InputError(
                f"{_OWNER}: quantiles is {shown(levels)}; expected 0.5 among them, which is the "
                "point forecast (add it)"
            )

    def _levels(self) -> tuple[float, ...] | None:
        if self.quantiles is None:
            return None
        try:
            return tuple(float(level) for level in self.quantiles)
        except (TypeError, ValueError):
            raise InputError(
                f"{_OWNER}: quantiles is {shown(repr(self.quantiles), 60)}; expected levels such "
                "as (0.1, 0.5, 0.9), or None"
            ) from None

    def _model(self, context: int, season: int, seed: int | None) -> HorizonModel:
        given = {name: getattr(self, name) for name in _MODEL_ARGUMENTS}
        return HorizonModel(
            context=context,
            horizon=self.horizon,
            quantiles=self._levels(),
            season=season,
            seed=seed,
            **given,
        )

    def _arrays(self, read: Panel) -> list[Series]:
        """Return the series for the network: the calendar is among what is known ahead."""
        times: Sequence[Array | None] = [None] * len(read.series)
        if self.calendar and read.times is not None:
            times = read.times
        coming = panel.upcoming(read, self.horizon)
        found = []
        for one, own, after in zip(read.series, times, coming, strict=True):
            known = one.known
            if own is not None and after is not None and read.timeline is not None:
                every = np.concatenate([own[: len(one.target)], after])
                if known.shape[1]:
                    every = own[: len(known)]
                calendar = timeline.calendar(every, read.timeline)[1]
                known = np.concatenate([known if known.shape[1] else calendar[:, :0], calendar], 1)
            found.append(Series(one.target, one.past, known))
        return found

    # ------------------------------ forecasting

    def predict(self, data: Any = None, future: Any = None) -> Any:
        """Forecast the ``horizon`` steps after the end of each series.

        Parameters
        ----------
        data
            New rows of the same columns, at least ``context_`` of each series; the series may be
            others than those of `fit`. By default the forecast goes on from the end of the data of
            `fit`.
        future
            A table of the columns known ahead (and of time and series, if the data have them) for
            the steps to forecast. Without it these rows stand at the end of data, with an empty
            target.

        Returns
        -------
        data
            In the kind that came, with its index and names: times, series and targets; with
            quantiles a column ``target_q0.1`` for each level. Of an array (horizon, n), or with
            quantiles (horizon, n, Q); without the axis n where the data had one axis. A loaded
            or unpickled model that goes on from its own end answers a dict of columns, or an array.

        Raises
        ------
        InputError
            As in `fit`; or if what must be known ahead is not given.
        """
        read = self._read(data, future)
        arrays = self._arrays(read)
        with _speaking():
            values = [self.model_.predict(one, [len(one.target)])[0] for one in arrays]
        return panel.frame(read, values, self._levels())

    def _read(self, data: Any, future: Any = None, ahead: bool = True) -> Panel:
        """Read data as in `fit`, check that there is enough of it, add what is known ahead."""
        self._fitted()
        read = self._end
        if data is not None:
            read = self._again(data, self.columns_.target)
            panel.enough(_OWNER, read, self.context_, "context")
        if future is not None:
            read = remembered.extended(_OWNER, read, self._future(future))
        if ahead and self.columns_.future:
            remembered.check_ahead(_OWNER, read, self.horizon)
        return read

    def _again(self, data: Any, target: Sequence[Any], **columns: Any) -> Panel:
        """Read another table by the columns that `fit` chose."""
        known = self.columns_
        several = isinstance(data, list | tuple) and known.series is None
        return panel.panel(
            _OWNER,
            data,
            time=False if known.time is None else known.time,
            series=None if several else known.series,
            target=list(target),
            past=columns.get("past", known.past),
            future=columns.get("future", known.future),
            missing=self.missing,
            timeline=self.timeline_,
        )

    def _future(self, future: Any) -> Panel:
        """Read the table of what is known ahead: its columns are read as targets are."""
        if not self.columns_.future:
            raise InputError(
                f"{_OWNER}: future is given, but fit was told of no columns known ahead; expected "
                "None (or name them in fit: future=)"
            )
        return self._again(future, self.columns_.future, past=(), future=())

    def score(self, data: Any, y: None = None) -> float:
        """Return minus the MASE over data: the higher the better, as scikit-learn's tools expect.

        The model as it is forecasts from every row of data that has a context before it and a
        horizon after it (at most 200 of each series, evenly spread). Errors are divided by the mean
        absolute difference between rows one season apart, in data itself: above -1 the forecasts
        err less than that. No interval is looked at; `evaluate` tells more.

        Raises
        ------
        InputError
            As in `predict`; or if no series has such a difference.
        """
        read = self._read(data, ahead=False)
        least = max(self.context_ + self.horizon, self.season_ + 1)
        panel.enough(_OWNER, read, least, "context + horizon, and more than a season")
        scaled = list[Array]()
        for one in self._arrays(read):
            last = len(one.target) - self.horizon
            count = min(last - self.context_ + 1, _SCORED)
            rows = np.unique(np.linspace(self.context_, last, count).astype(int))
            with _speaking():
                point = self.model_.predict(one, rows)[..., backtests.middle(self._levels())]
            scale = metrics.mase_scale(one.target, self.season_)
            error = np.abs(one.target[rows[:, None] + np.arange(self.horizon)] - point)
            scaled.append((error[..., scale > 0] / scale[scale > 0]).ravel())
        errors = np.concatenate(scaled)
        if not len(errors):
            raise InputError(
                f"{_OWNER}: no target of data ever changes from season to season, so there is no "
                "MASE; expected some that do (give other rows)"
            )
        return -float(errors.mean())

    def backtest(
        self,
        data: Any,
        *,
        origins: int | None = None,
        stride: int | None = None,
        refit: bool | int = False,
        time: Any = None,
        series: Any = None,
        target: Any = None,
        past: Any = (),
        future: Any = (),
        progress: Any = None,
        **options: Any,
    ) -> Backtest:
        """Measure how good forecasts would have been at the end of data, beside simple methods.

        A new network with this model's arguments, persistence, seasonal-naive and ridge regression
        on lags learn from what stands before the first origin, and forecast from all origins; the
        fitted model, if there is one, is left as it is. Needs scikit-learn:
        ``pip install "lstmkit[tasks]"``.

        Parameters
        ----------
        data, time, series, target, past, future, progress, **options
            As in `fit`.
        origins : int, optional
            How many; the last one is ``horizon`` rows before the end. By default they cover the
            last quarter of the shortest series, at most 200 of them.
        stride : int, optional
            Rows from one origin to the next; 1 by default.
        refit : bool or int
            After how many origins all methods learn anew from what stands before the next one;
            False: they learn once, True: at every origin.

        Returns
        -------
        Backtest
            ``print`` shows its table and its verdict, one sentence.

        Raises
        ------
        InputError
            As in `fit`; or if too few rows stand before the first origin.
        """
        read, (context, season) = self._understand(data, time, series, target, past, future)
        seed = self._seed()

        def learn(training_part: list[Series]) -> HorizonModel:
            model = self._model(context, season, seed)
            model.fit(training_part, progress=progress, **options)
            if any(one.reason == "interrupted" for one in model.results_):
                raise KeyboardInterrupt  # half a backtest says nothing
            return model

        plan = {"origins": origins, "stride": stride, "refit": refit}
        return self._measure(learn, read, context, season, **plan)

    def evaluate(
        self, data: Any, *, origins: int | None = None, stride: int | None = None
    ) -> Backtest:
        """Measure the fitted model as it is on new data, beside simple methods.

        As in `backtest`, but the network learns nothing: it forecasts from origins in ``data``. The
        simple methods learn from what stands there before the first origin. On the rows that `fit`
        has seen the network looks better than it is.

        Parameters
        ----------
        data
            Rows of the same columns as those of `fit`.
        origins, stride
            As in `backtest`.

        Raises
        ------
        InputError
            As in `predict`; or if too few rows stand before the first origin.
        """
        read = self._read(data, ahead=False)
        given: dict[str, Any] = {"origins": origins, "stride": stride}
        return self._measure(lambda _: self.model_, read, self.context_, self.season_, **given)

    def _measure(
        self, learn: backtests.Learn, read: Panel, context: int, season: int, **plan: Any
    ) -> Backtest:
        frame_of: Any = dict
        if not isinstance(read.table, list) and read.table.kind not in ("array", "list"):
            frame_of = read.table.frame
        about = About(
            owner=_OWNER,
            names=read.names,
            targets=[str(name) for name in read.columns.target],
            times=read.times,
            ends=remembered.ends(read),
            context=context,
            horizon=self.horizon,
            season=season,
            quantiles=self._levels(),
            frame_of=frame_of,
        )
        with _speaking():
            return backtests.backtest(learn, self._arrays(read), about, **plan)

    # ------------------------------ looking inside

    def trace(self, data: Any = None, future: Any = None) -> Trace:
        """Return the gates and states of the first network's LSTM as it makes a forecast.

        Arguments as in `predict`. Each array is (L, S, context + horizon, H) for S series: the
        context, then the steps that are forecast.
        """
        arrays = self._arrays(self._read(data, future))
        model, steps = self.model_, list[Array]()
        for one in arrays:
            rows, _ = lay_out(transformed([one], model.power_), model.horizon)
            view = model.sight_.windows(rows, np.array([len(one.target)]), model.dtype)
            steps.append(view.window.steps)
        return model.networks_[0].lstm.trace(np.concatenate(steps))

    # ------------------------------ scikit-learn's conventions

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        """Say what it can, in scikit-learn's words (1.6 and later)."""
        from importlib import import_module

        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=False),
            input_tags=utils.InputTags(allow_nan=self.missing == "fill"),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: as a file, no more of the data than the ends."""
        state = dict(vars(self))
        if "_end" in state:
            state["_end"] = remembered.plain(state["_end"])
        return state

    def _fitted(self) -> Forecaster:
        if not self.__sklearn_is_fitted__():
            raise not_fitted()(f"{_OWNER}: the model knows nothing yet; call fit or lk.load first")
        return self

    # ------------------------------ what a file holds

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and what `fit` learned of the data, in JSON values."""
        self._fitted()
        given = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params().items()
        }
        levels = self._levels()
        given["quantiles"] = None if levels is None else list(levels)
        given["dtype"] = np.dtype(self.dtype).name
        if not isinstance(given["random_state"], int):
            given["random_state"] = None
        return {
            "arguments": given,
            "model": self.model_.config,
            "end": remembered.config(self._end),
        }

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights, ``model.…``, and the ends of the series, ``end.…``."""
        self._fitted()
        named = {f"model.{name}": array for name, array in self.model_.parameters.items()}
        return named | {f"end.{name}": a for name, a in remembered.arrays(self._end).items()}

    @classmethod
    def from_parameters(
        cls, config: Mapping[str, Any], parameters: Mapping[str, Array]
    ) -> Forecaster:
        """Make a model from its `config` and arrays, which are copied.

        Raises
        ------
        InputError
            If an argument is missing or unknown, or what is there does not fit together.
        """
        _same_names("config", config, ("arguments", "model", "end"))
        arguments = dict(config["arguments"])
        _same_names("arguments", arguments, cls._names())
        if arguments["quantiles"] is not None:
            arguments["quantiles"] = tuple(arguments["quantiles"])
        one = cls(**arguments)
        one._check()
        one._seed()
        parts: dict[str, dict[str, Array]] = {"model": {}, "end": {}}
        for name, array in parameters.items():
            part, _, rest = name.partition(".")
            if part not in parts:
                raise InputError(f"{_OWNER}: there is an array {shown(repr(name), 60)} too many")
            parts[part][rest] = array
        one.model_ = HorizonModel.from_parameters(config["model"], parts["model"])
        one._end = remembered.restored(_OWNER, config["end"], parts["end"])
        one.context_, one.season_ = one.model_.context, one.model_.season
        one.columns_, one.timeline_ = one._end.columns, one._end.timeline
        one.result_ = None
        expected = one._model(one.context_, one.season_, one.model_.seed)
        for name in [*_MODEL_ARGUMENTS, "horizon", "quantiles"]:
            wanted, has = (getattr(model, name) for model in (expected, one.model_))
            if name == "quantiles" and has is not None:
                has = tuple(has)
            if wanted != has:
                raise InputError(f"{_OWNER}: {name} of the network is not that of the arguments")
        if {one.context, one.season} - {None, one.context_, one.season_}:
            raise InputError(f"{_OWNER}: context or season is not that of the network")
        panel.enough(_OWNER, one._end, one.context_, "context")
        for series in one._arrays(one._end):
            widths = tuple(array.shape[1] for array in series)
            own = one.model_.sight_.sizes
            if widths != own:
                raise InputError(
                    f"{_OWNER}: the ends have (targets, past, known) = {widths}; expected {own}"
                )
        return one

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; ``lk.load(path)`` reads it.

        The file holds the last ``context_`` rows of every series too.
        """
        store.save(path, _OWNER, self.config, self.parameters)


@contextmanager
def _speaking() -> Iterator[None]:
    """Let the network's errors name what the user knows."""
    try:
        yield
    except InputError as error:
        own, _, rest = str(error).partition(": ")
        if own != "HorizonModel":
            raise
        raise InputError(f"{_OWNER}: {rest}") from None


def _same_names(what: str, found: Mapping[str, Any], expected: Sequence[str]) -> None:
    strange = sorted(map(str, set(found) ^ set(expected)))
    if strange:
        raise InputError(f"{_OWNER}: {what} lacks, or should not have, {shown(', '.join(strange))}")
