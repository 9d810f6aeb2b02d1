"""What a backtest found: errors by method and origin, a table, and one sentence about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmkit.shapes import Array, one_of
from lstmkit.tasks import metrics

LSTM = "LSTM"
METRICS = ("MAE", "RMSE", "MASE", "pinball", "coverage")


@dataclass(eq=False, repr=False)
class Backtest:
    """What `Forecaster.backtest` found. ``print(result)`` shows the table and the verdict.

    Attributes
    ----------
    names : list
        The names of the S series; ``[None]`` for a single one without a name.
    targets : list of str
        The names of the n targets.
    origins : list of S arrays (O,)
        The rows of the first steps forecast, rising; a series that ends long before the others may
        have none.
    times : list of S arrays (T,), or None
        The times of the series' rows: ``times[s][origins[s]]`` are those of the origins.
    actual : list of S arrays (O, horizon, n)
        What came.
    forecasts : dict of list of S arrays (O, horizon, n, Q)
        By method: ``"LSTM"``, ``"persistence"``, ``"seasonal-naive"``, ``"ridge on lags"``. Q is 1
        without quantiles.
    points : dict of list of S arrays (O, horizon, n)
        The point forecasts by method: of the LSTM the median, of the baselines their own, which
        need not be the median of their intervals.
    quantiles : tuple of float, or None
        The Q levels.
    scales : list of S arrays (n,)
        What errors are divided by for the MASE, from the training part.
    season : int
        Of seasonal-naive and of the MASE.
    table : dict of dict of float
        By method, then by metric: ``MAE``, ``RMSE``, ``MASE`` and, with quantiles, ``pinball`` and
        ``coverage`` (the share of what came that lies between the outermost two quantiles). Means
        over all series, origins, steps and targets. MASE is nan where no series has a scale.
    verdict : str
        One sentence: whether the LSTM is worth it here.
    caution : str
        One more where a fitted model was measured on rows that it may have learned from.
    """

    names: list[Any]
    targets: list[str]
    origins: list[Array]
    times: list[Array] | None
    actual: list[Array]
    forecasts: dict[str, list[Array]]
    points: dict[str, list[Array]]
    quantiles: tuple[float, ...] | None
    scales: list[Array]
    season: int
    frame_of: Callable[[dict[str, Any]], Any] = dict
    caution: str = ""
    table: dict[str, dict[str, float]] = field(init=False)
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        self.table = {name: self._measure(name) for name in self.points}
        self.verdict = _verdict(self)

    @property
    def level(self) -> float | None:
        """The share that the outermost two quantiles should cover; None where they are no two."""
        if self.quantiles is None or len(self.quantiles) < 2:
            return None
        return round(max(self.quantiles) - min(self.quantiles), 12)

    def _measure(self, method: str) -> dict[str, float]:
        points = self.points[method]
        actual, point = joined(self.actual), joined(points)
        found = {"MAE": metrics.mae(actual, point), "RMSE": metrics.rmse(actual, point)}
        scaled = [
            np.abs(a - p)[..., scale > 0] / scale[scale > 0]
            for a, p, scale in zip(self.actual, points, self.scales, strict=True)
        ]
        every = np.concatenate([one.ravel() for one in scaled])
        found["MASE"] = float(every.mean()) if len(every) else math.nan
        if self.quantiles is not None:
            forecast = joined(self.forecasts[method])
            found["pinball"] = metrics.pinball(actual, forecast, self.quantiles)
            if self.level is not None:
                low, high = np.argmin(self.quantiles), np.argmax(self.quantiles)
                found["coverage"] = metrics.coverage(
                    actual, forecast[..., low], forecast[..., high]
                )
        return found

    def per_origin(self, metric: str = "MAE") -> dict[str, list[Array]]:
        """Return the error at each origin, the mean over its steps and targets.

        Parameters
        ----------
        metric : {"MAE", "RMSE", "MASE", "pinball", "coverage"}
            The last two only with quantiles.

        Returns
        -------
        dict of list of S arrays (O,)
            By method, like `forecasts`. Of a target without a scale the MASE is left out; nan if
            no target has one.
        """
        known = METRICS if self.level is not None else METRICS[: 3 if self.quantiles is None else 4]
        one_of("Backtest", "metric", metric, known)
        return {
            method: [self._by_origin(metric, method, s) for s in range(len(self.names))]
            for method in self.points
        }

    def _by_origin(self, metric: str, method: str, s: int) -> Array:
        actual, point = self.actual[s], self.points[method][s]
        axes = (1, 2)
        result: Array
        if metric == "MAE":
            result = np.abs(actual - point).mean(axes)
        elif metric == "RMSE":
            result = np.sqrt(np.square(actual - point).mean(axes))
        elif metric == "MASE":
            has = self.scales[s] > 0
            if not has.any():
                return np.full(len(actual), np.nan)
            result = (np.abs(actual - point)[..., has] / self.scales[s][has]).mean(axes)
        else:
            levels = np.asarray(self.quantiles)
            error = actual[..., None] - self.forecasts[method][s]
            if metric == "pinball":
                result = np.maximum(levels * error, (levels - 1) * error).mean((1, 2, 3))
            else:
                inside = (error[..., np.argmin(levels)] >= 0) & (error[..., np.argmax(levels)] <= 0)
                result = inside.mean(axes)
        return result

    def frame(self) -> Any:
        """Return the table as the kind of frame that the data came in; of arrays a dict of lists.

        A row a method; the columns are ``method`` and the metrics.
        """
        columns: dict[str, Any] = {"method": list(self.table)}
        for metric in next(iter(self.table.values())):
            columns[metric] = [row[metric] for row in self.table.values()]
        return self.frame_of(columns)

    def __repr__(self) -> str:
        """Write the table, aligned, the verdict, and the caution if there is one."""
        heads = list(next(iter(self.table.values())))
        titles = [f"{self.level:.0%} covers" if head == "coverage" else head for head in heads]
        rows = [["", *titles]]
        for method, row in self.table.items():
            rows.append([method, *(_figure(head, row[head]) for head in heads)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            ).rstrip()
            for row in rows
        ]
        if self.season == 1:
            lines.append("(no season is known: seasonal-naive is persistence)")
        return "\n".join([*lines, "", f"{self.verdict} {self.caution}".rstrip()])


def joined(arrays: Sequence[Array]) -> Array:
    """Return the arrays below each other."""
    return np.concatenate([np.asarray(array) for array in arrays])


def _figure(metric: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if metric == "coverage":
        return f"{value:.1%}"
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.1f}"


# --------------------------------------------------------------------------- in one sentence


def _verdict(result: Backtest) -> str:
    """Say whether the LSTM wins or loses, by how much, against which, and how sure that is."""
    metric = "MAE" if math.isnan(result.table[LSTM]["MASE"]) else "MASE"
    scores = {method: row[metric] for method, row in result.table.items()}
    own = scores.pop(LSTM)
    best = min(scores, key=lambda method: scores[method])
    other = scores[best]
    worse_than = [method for method in scores if scores[method] < own]
    by_origin = {m: joined(v) for m, v in result.per_origin(metric).items() if m in (LSTM, best)}
    count = len(by_origin[LSTM])
    better = int((by_origin[LSTM] < by_origin[best]).sum())
    where = f"better at {better} of {count} origins" if count > 1 else "at a single origin"
    figures = f"its {metric} is {_figure(metric, own)}, that of {best} {_figure(metric, other)}"
    share = abs(own / other - 1) if other else math.inf
    much = f"{share:.1%}" if math.isfinite(share) else "far"
    if own < other:
        text = (
            f"The LSTM wins by {much} over {best}, the best of the baselines ({figures}; {where})"
        )
    elif own == other:
        text = f"The LSTM is no better than {best} ({figures}; {where})"
    else:
        rest = [method for method in worse_than if method != best]
        also = f", and to {' and '.join(rest)}" if rest else ""
        text = f"The LSTM loses by {much} to {best}{also} ({figures}; {where}): use {best} here"
    text += _by_squares(result.table, own < other)
    if result.level is not None:
        covered = result.table[LSTM]["coverage"]
        text += f"; its intervals of {result.level:.0%} cover {covered:.1%}"
    return text + "."


def _by_squares(table: dict[str, dict[str, float]], wins: bool) -> str:
    """Say where the RMSE, in which large errors count more, tells another story."""
    errors = {method: row["RMSE"] for method, row in table.items()}
    least = min(errors, key=lambda method: errors[method])
    if wins and least != LSTM:
        return f", but {least} has a smaller RMSE"
    others = [error for method, error in errors.items() if method != LSTM]
    if not wins and errors[LSTM] < min(others):
        return ", unless large errors count most: the LSTM's RMSE is the least"
    return ""
