"""A forecaster of a user's series: table in, table out.

    table ─ panel ─ calendar ─ HorizonModel ─ table of forecasts
                        └───── backtest beside persistence, seasonal-naive and ridge

What the network is and how it learns stands in `lstmkit.tasks.horizon`, what a forecaster that has
learned can do in `lstmkit.tasks.fitted_forecaster`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lstmkit import store
from lstmkit.tasks import panel, remembered
from lstmkit.tasks.backtest import Backtest
from lstmkit.tasks.fitted_forecaster import OWNER, FittedForecaster, speaking
from lstmkit.tasks.horizon import HorizonModel, Series
from lstmkit.tasks.panel import Panel

_LEAST_CONTEXT = 8  # rows


class Forecaster(FittedForecaster):
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
    >>> import numpy as np
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
            ``clip_value``, ``plateau``, ``report_every``, ``tensorboard``.

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
        panel.enough(OWNER, read, context + self.horizon, "context + horizon")
        arrays = self._arrays(read, self.horizon, self.calendar)
        with speaking():
            model = self._model(context, season, self._seed())
            model.fit(arrays, progress=progress, metrics=metrics, **options)
        self.model_, self.context_, self.season_ = model, context, season
        self.columns_, self.timeline_ = read.columns, read.timeline
        stopped = [one for one in model.results_ if one.reason == "interrupted"]
        self.result_ = next(iter(stopped or model.results_), None)
        self._end = remembered.tail(read, context)
        return self

    def _understand(
        self, data: Any, time: Any, series: Any, target: Any, past: Any, future: Any
    ) -> tuple[Panel, tuple[int, int]]:
        """Read data, and choose context and season."""
        self._check()
        read = panel.panel(
            OWNER,
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
        arrays = self._arrays(read, self.horizon, self.calendar)
        return self._measure(learn, self._model(context, season, seed), read, arrays, **plan)
