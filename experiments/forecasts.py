"""How well the Forecaster forecasts, beside simple methods: `python experiments/forecasts.py`.

Three data sets, each split in time: the first part is learned from, the rest is forecast from every
row on (rolling origin, no refit), by five seeds.

- airline: monthly passengers 1949-60 (in the package); 96 months are learned, 12 ahead forecast.
- sunspots: monthly sunspot numbers 1749-1983 (in the package); 70 % are learned, 12 ahead forecast.
- pollution: hourly PM2.5 in Beijing (`--pollution pollution.csv`; UCI "Beijing PM2.5", as
  jbrownlee/Datasets has it, which is not in the package); one year is learned, the next hour
  forecast from 24 hours of PM2.5 and weather. Twice: "0" has 0 where PM2.5 is missing, as in the
  published figure of 26.5; "held" has the last value before it, and measured values alone are
  scored.

Fails where the LSTM's median over the seeds does not reach the bounds that the project has set, or
a backtest on the pollution data takes longer than its training may. Seconds are of the processor,
for one backtest: the training, all forecasts and the baselines.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from typing import Any

import numpy as np

import lstmkit as lk
from lstmkit import datasets
from lstmkit.tasks import metrics
from lstmkit.tasks.backtest import Backtest

LEVELS = (0.1, 0.5, 0.9)
LSTM, RIDGE, SEASONAL = "LSTM", "ridge on lags", "seasonal-naive"
MOST_SECONDS = 120.0
PUBLISHED = 26.5  # RMSE of a one-lag LSTM: machinelearningmastery.com, "Multivariate Time Series"
WEATHER = {
    "DEWP": "dew",
    "TEMP": "temp",
    "PRES": "press",
    "Iws": "wind",
    "Is": "snow",
    "Ir": "rain",
}


def pollution(path: str, missing: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return the table without its first day, which has no PM2.5, and where PM2.5 was measured."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[24:]
    measured = np.array([row["pm2.5"] != "NA" for row in rows])
    target = np.array([0.0 if row["pm2.5"] == "NA" else float(row["pm2.5"]) for row in rows])
    if missing == "held":
        last = np.maximum.accumulate(np.where(measured, np.arange(len(rows)), 0))
        target = target[last]
    hours = [f"{r['year']}-{r['month']:0>2}-{r['day']:0>2}T{r['hour']:0>2}" for r in rows]
    table: dict[str, Any] = {"time": np.array(hours, "datetime64[h]"), "pollution": target}
    for column, name in WEATHER.items():
        table[name] = np.array([float(row[column]) for row in rows])
    for direction in ("NE", "NW", "SE", "cv"):
        table[f"from {direction}"] = np.array([float(row["cbwd"] == direction) for row in rows])
    return table, measured


def measures(result: Backtest, method: str, counted: np.ndarray | None = None) -> dict[str, float]:
    """Return a method's row of the table; over some origins only, where they are given."""
    if counted is None:
        return dict(result.table[method])
    actual, point = result.actual[0][counted], result.points[method][0][counted]
    mase = metrics.mase(actual, point, result.scales[0])
    return {"MAE": metrics.mae(actual, point), "RMSE": metrics.rmse(actual, point), "MASE": mase}


def run(
    name: str,
    table: dict[str, Any],
    learned: int,
    seeds: int,
    columns: dict[str, Any],
    counted: np.ndarray | None = None,
    **arguments: Any,
) -> tuple[dict[str, dict[str, float]], float]:
    """Backtest with each seed, print the table; return the medians by method, the most seconds."""
    horizon = arguments["horizon"]
    origins = len(table[columns["target"]]) - learned - horizon + 1
    rows: dict[str, list[dict[str, float]]] = {}
    seconds = []
    for seed in range(seeds):
        forecaster = lk.Forecaster(random_state=seed, **arguments)
        begun = time.process_time()
        result = forecaster.backtest(table, origins=origins, stride=1, **columns)
        seconds.append(time.process_time() - begun)
        for method in result.table:
            rows.setdefault(method, []).append(measures(result, method, counted))
        figures = ", ".join(f"{head} {figure:.3f}" for head, figure in rows[LSTM][-1].items())
        print(f"{name}, seed {seed}: {figures}, {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
    print(
        f"\n{name}: {learned:,} rows learned, {origins:,} origins, horizon {horizon}, {arguments}"
    )
    heads = list(rows[LSTM][0])
    print(f"| method | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    medians = {}
    for method, found in rows.items():
        medians[method] = {head: float(np.median([row[head] for row in found])) for head in heads}
        cells = []
        for head in heads:
            figures = [row[head] for row in found]
            spread = f" ({min(figures):.3f} to {max(figures):.3f})" if method == LSTM else ""
            cells.append(f"{medians[method][head]:.3f}{spread}")
        print(f"| {method} | {' | '.join(cells)} |")
    print(f"{seeds} seeds; {np.median(seconds):.0f} s a backtest (at most {max(seconds):.0f})")
    sys.stdout.flush()
    return medians, max(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pollution", metavar="CSV", help="the hourly data, to measure on it too")
    known = ("airline", "sunspots", "pollution")
    parser.add_argument("--only", choices=known, help="one data set")
    options = parser.parse_args()
    failed = []
    months: dict[str, Any] = {"horizon": 12, "quantiles": LEVELS}
    for name, table, target, arguments in (
        ("airline", datasets.load_airline(), "passengers", {"context": 24}),
        ("sunspots", datasets.load_sunspots(), "sunspots", {"context": 132}),
    ):
        if options.only not in (None, name):
            continue
        total = len(table[target])
        learned = 96 if name == "airline" else int(0.7 * total)
        columns = {"target": target}
        found, _ = run(name, table, learned, options.seeds, columns, **months, **arguments)
        mase = {method: row["MASE"] for method, row in found.items()}
        if not mase[LSTM] < min(mase[SEASONAL], mase[RIDGE]):
            failed.append(f"{name}: MASE")
        if not 0.7 <= found[LSTM]["coverage"] <= 0.9:
            failed.append(f"{name}: coverage")
    if options.pollution is not None and options.only in (None, "pollution"):
        for missing in ("0", "held"):
            table, measured = pollution(options.pollution, missing)
            columns = {
                "target": "pollution",
                "past": [name for name in table if name not in ("time", "pollution")],
            }
            learned = 364 * 24
            counted = None if missing == "0" else measured[learned:]
            name = f"pollution, missing: {missing}"
            arguments = {"context": 24, "horizon": 1, "members": 2}
            found, most = run(name, table, learned, options.seeds, columns, counted, **arguments)
            if not found[LSTM]["RMSE"] < PUBLISHED:
                failed.append(f"{name}: RMSE")
            if most > MOST_SECONDS:
                failed.append(f"{name}: seconds")
    if failed:
        sys.exit(f"forecasts: not reached: {', '.join(failed)}")


if __name__ == "__main__":
    main()
