"""A forecaster that has learned: forecasts, measures, looks inside, is written and read."""

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
from lstmkit.tasks import metrics, panel, remembered, timeline, transforms
from lstmkit.tasks.backtest import About, Backtest
from lstmkit.tasks.horizon import HorizonModel, Series
from lstmkit.tasks.horizon_choice import transformed
from lstmkit.tasks.horizon_windows import lay_out
from lstmkit.tasks.panel import Panel
from lstmkit.tasks.parameters import Parameters, not_fitted

OWNER = "Forecaster"  # who speaks in errors
_SCORED = 200  # origins at most that `score` measures at
_MODEL_ARGUMENTS = (
    "hidden_size num_layers dropout transform members epochs batch_size learning_rate "
    "weight_decay validation_fraction patience dtype"
).split()


class FittedForecaster(Parameters):
    """The networks, the columns that they learned from, and the ends of the series."""

    context: int | None
    horizon: int
    quantiles: Sequence[float] | None
    season: int | None
    transform: str
    calendar: bool
    missing: str
    dtype: Any

    model_: HorizonModel
    context_: int
    season_: int
    columns_: panel.Columns
    timeline_: timeline.Timeline | None
    result_: training.TrainingResult | None

    _end: Panel

    # ------------------------------ the arguments

    def _check(self) -> None:
        """Look at the parameters that the network does not look at itself."""
        positive_integer(OWNER, "horizon", self.horizon)
        for name in ("context", "season"):
            if getattr(self, name) is not None:
                positive_integer(OWNER, name, getattr(self, name))
        if not isinstance(self.calendar, bool | np.bool_):
            raise InputError(
                f"{OWNER}: calendar is {shown(repr(self.calendar), 60)}; expected True or False"
            )
        levels = self._levels()
        if levels is not None and not any(abs(level - 0.5) < 1e-9 for level in levels):
            raise InputError(
                f"{OWNER}: quantiles is {shown(levels)}; expected 0.5 among them, which is the "
                "point forecast (add it)"
            )

    def _levels(self) -> tuple[float, ...] | None:
        if self.quantiles is None:
            return None
        try:
            return tuple(float(level) for level in self.quantiles)
        except (TypeError, ValueError):
            raise InputError(
                f"{OWNER}: quantiles is {shown(repr(self.quantiles), 60)}; expected levels such "
                "as (0.1, 0.5, 0.9), or None"
            ) from None

    def _learned_levels(self) -> tuple[float, ...] | None:
        levels = self.model_.quantiles
        return None if levels is None else tuple(levels)

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

    def _arrays(
        self, read: Panel, horizon: int | None = None, calendar: bool | None = None
    ) -> list[Series]:
        """Return the series for the network: the calendar is among what is known ahead.

        Without horizon and calendar as the network has learned, whatever the arguments are now.
        """
        if horizon is None:
            horizon = self.model_.horizon
        if calendar is None:
            calendar = self.model_.sight_.sizes[2] > len(self.columns_.future)
        times: Sequence[Array | None] = [None] * len(read.series)
        if calendar and read.times is not None:
            times = read.times
        self._check_powers(read)
        coming = panel.upcoming(read, horizon)
        found = []
        for one, own, after in zip(read.series, times, coming, strict=True):
            known = one.known
            if own is not None and after is not None and read.timeline is not None:
                every = np.concatenate([own[: len(one.target)], after])
                if known.shape[1]:
                    every = own[: len(known)]
                clock = timeline.calendar(every, read.timeline)[1]
                known = np.concatenate([known if known.shape[1] else clock[:, :0], clock], 1)
            found.append(Series(one.target, one.past, known))
        return found

    def _check_powers(self, read: Panel) -> None:
        """Raise `InputError` where a transform that was asked for cannot take a target."""
        if self.transform not in ("sqrt", "log"):
            return
        for name, one in zip(read.names, read.series, strict=True):
            if transforms.allowed([one.target], self.transform):
                continue
            row, column = divmod(int(one.target.argmin()), one.target.shape[1])
            who = "" if name is None else f" of series {shown(repr(name), 60)}"
            least = "above 0" if self.transform == "log" else "of at least 0"
            raise InputError(
                f"{OWNER}: column {shown(repr(read.columns.target[column]))}, row {row}{who}: is "
                f"{one.target.min():g}; expected numbers {least} with transform={self.transform!r} "
                "(correct it, or transform='auto')"
            )

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
            the steps to forecast. Or an array (steps, columns) of these columns alone, in the order
            of `fit` and from the step after the last target on, also (steps,) of one column; a list
            of arrays for a list of series. Without it these rows stand at the end of data, with an
            empty target.

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
        with speaking():
            values = [self.model_.predict(one, [len(one.target)])[0] for one in arrays]
        return panel.frame(read, values, self._learned_levels())

    def _read(self, data: Any, future: Any = None, ahead: bool = True) -> Panel:
        """Read data as in `fit`, check that there is enough of it, add what is known ahead."""
        self._fitted()
        read = self._end
        if data is not None:
            read = self._again(data, self.columns_.target)
            panel.enough(OWNER, read, self.context_, "context")
        if future is not None:
            read = remembered.extended(OWNER, read, self._future(future))
        if ahead and self.columns_.future:
            remembered.check_ahead(OWNER, read, self.model_.horizon)
        return read

    def _again(self, data: Any, target: Sequence[Any], **columns: Any) -> Panel:
        """Read another table by the columns that `fit` chose."""
        known = self.columns_
        several = isinstance(data, list | tuple) and known.series is None
        read = panel.panel(
            columns.get("owner", OWNER),
            data,
            time=False if known.time is None else known.time,
            series=None if several else known.series,
            target=list(target),
            past=columns.get("past", known.past),
            future=columns.get("future", known.future),
            missing=self.missing,
            timeline=self.timeline_,
        )
        learned, own = remembered.width(self._end), remembered.width(read)
        if learned is not None and own is not None and learned != own:
            raise InputError(
                f"{OWNER}: data has {own} column{'s' if own > 1 else ''}; expected {learned}, as "
                "in fit (they are told apart by their place alone)"
            )
        return read

    def _future(self, future: Any) -> Panel:
        """Read what is known ahead: a table whose columns are read as targets are, or an array."""
        names = self.columns_.future
        if not names:
            raise InputError(
                f"{OWNER}: future is given, but fit was told of no columns known ahead; expected "
                "None (or name them in fit: future=)"
            )
        owner = f"{OWNER}: future"
        width = remembered.array_width(future)
        if width is None:
            return self._again(future, names, past=(), future=(), owner=owner)
        whole = remembered.width(self._end)
        if width == whole:
            return self._again(future, names, past=(), future=(), owner=owner)
        if width != len(names):
            also = "" if whole is None else f", or {whole}, all of fit"
            raise InputError(
                f"{owner}: an array has {width} column{'s' if width > 1 else ''}; expected "
                f"{len(names)}, those of future= in fit in that order{also}"
            )
        target = list(range(width))
        return panel.panel(owner, future, time=False, target=target, missing=self.missing)

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
        horizon, levels = self.model_.horizon, self._learned_levels()
        least = max(self.context_ + horizon, self.season_ + 1)
        panel.enough(OWNER, read, least, "context + horizon, and more than a season")
        scaled = list[Array]()
        for one in self._arrays(read):
            last = len(one.target) - horizon
            count = min(last - self.context_ + 1, _SCORED)
            rows = np.unique(np.linspace(self.context_, last, count).astype(int))
            with speaking():
                point = self.model_.predict(one, rows)[..., backtests.middle(levels)]
            scale = metrics.mase_scale(one.target, self.season_)
            error = np.abs(one.target[rows[:, None] + np.arange(horizon)] - point)
            scaled.append((error[..., scale > 0] / scale[scale > 0]).ravel())
        errors = np.concatenate(scaled)
        if not len(errors):
            raise InputError(
                f"{OWNER}: no target of data ever changes from season to season, so there is no "
                "MASE; expected some that do (give other rows)"
            )
        return -float(errors.mean())

    def evaluate(
        self, data: Any, *, origins: int | None = None, stride: int | None = None
    ) -> Backtest:
        """Measure the fitted model as it is on new data, beside simple methods.

        As in `backtest`, but the network learns nothing: it forecasts from origins in ``data``. The
        simple methods learn from what stands there before the first origin. On the rows that `fit`
        has seen the network looks better than it is; where times tell, ``caution`` says so.

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
        model, arrays = self.model_, self._arrays(read)
        result = self._measure(lambda _: model, model, read, arrays, **given)
        seen = remembered.learned(self._end, read, result.origins)
        if seen:
            count = sum(map(len, result.origins))
            result.caution = (
                f"But {seen} of {count} origins are among the rows that the model has learned "
                "from, where it looks better than it is: measure on later rows, or with backtest."
            )
        return result

    def _measure(
        self,
        learn: backtests.Learn,
        model: HorizonModel,
        read: Panel,
        arrays: list[Series],
        **plan: Any,
    ) -> Backtest:
        """Measure what is learned beside the baselines, with the arguments of a network."""
        frame_of: Any = dict
        if not isinstance(read.table, list) and read.table.kind not in ("array", "list"):
            frame_of = read.table.frame
        about = About(
            owner=OWNER,
            names=read.names,
            targets=[str(name) for name in read.columns.target],
            times=read.times,
            ends=remembered.ends(read),
            context=model.context,
            horizon=model.horizon,
            season=model.season,
            quantiles=None if model.quantiles is None else tuple(model.quantiles),
            frame_of=frame_of,
        )
        with speaking():
            return backtests.backtest(learn, arrays, about, **plan)

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

    def _fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise not_fitted()(f"{OWNER}: the model knows nothing yet; call fit or lk.load first")

    # ------------------------------ what a file holds

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and what `fit` learned of the data, in JSON values."""
        self._fitted()
        given = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in self.get_params().items()
        }
        learned = self.model_.config  # arguments that were changed since wait for the next fit
        given |= {name: learned[name] for name in [*_MODEL_ARGUMENTS, "horizon", "quantiles"]}
        for name, chosen in (("context", self.context_), ("season", self.season_)):
            given[name] = None if given[name] is None else int(chosen)
        if not isinstance(given["random_state"], int):
            given["random_state"] = None
        return {
            "arguments": given,
            "model": learned,
            "end": remembered.config(self._end),
        }

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights, ``model.…``, and the ends of the series, ``end.…``."""
        self._fitted()
        named = {f"model.{name}": array for name, array in self.model_.parameters.items()}
        return named | {f"end.{name}": a for name, a in remembered.arrays(self._end).items()}

    @classmethod
    def from_parameters(cls, config: Mapping[str, Any], parameters: Mapping[str, Array]) -> Any:
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
                raise InputError(f"{OWNER}: there is an array {shown(repr(name), 60)} too many")
            parts[part][rest] = array
        one.model_ = HorizonModel.from_parameters(config["model"], parts["model"])
        one._end = remembered.restored(OWNER, config["end"], parts["end"])
        one.context_, one.season_ = one.model_.context, one.model_.season
        one.columns_, one.timeline_ = one._end.columns, one._end.timeline
        one.result_ = None
        expected = one._model(one.context_, one.season_, one.model_.seed)
        for name in [*_MODEL_ARGUMENTS, "horizon", "quantiles"]:
            wanted, has = (getattr(model, name) for model in (expected, one.model_))
            if name == "quantiles" and has is not None:
                has = tuple(has)
            if wanted != has:
                raise InputError(f"{OWNER}: {name} of the network is not that of the arguments")
        if {one.context, one.season} - {None, one.context_, one.season_}:
            raise InputError(f"{OWNER}: context or season is not that of the network")
        panel.enough(OWNER, one._end, one.context_, "context")
        for series in one._arrays(one._end):
            widths = tuple(array.shape[1] for array in series)
            own = one.model_.sight_.sizes
            if widths != own:
                raise InputError(
                    f"{OWNER}: the ends have (targets, past, known) = {widths}; expected {own}"
                )
        return one

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; ``lk.load(path)`` reads it.

        The file holds the last ``context_`` rows of every series too.
        """
        store.save(path, OWNER, self.config, self.parameters)


@contextmanager
def speaking() -> Iterator[None]:
    """Let the network's errors name what the user knows."""
    try:
        yield
    except InputError as error:
        own, _, rest = str(error).partition(": ")
        if own != "HorizonModel":
            raise
        raise InputError(f"{OWNER}: {rest}") from None


def _same_names(what: str, found: Mapping[str, Any], expected: Sequence[str]) -> None:
    strange = sorted(map(str, set(found) ^ set(expected)))
    if strange:
        raise InputError(f"{OWNER}: {what} lacks, or should not have, {shown(', '.join(strange))}")
