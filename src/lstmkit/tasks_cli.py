"""The commands about series and sequences: `lstmkit forecast`, `lstmkit classify`, and scores."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from lstmkit import plots, store
from lstmkit.progress import Progress
from lstmkit.shapes import Array, InputError
from lstmkit.showing import count, shown, table
from lstmkit.tasks import (
    Forecaster,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    labelled,
    metrics,
    summaries,
)
from lstmkit.tasks import panel as panels
from lstmkit.tasks.tables import Table
from lstmkit.tasks.timeline import written

INTERRUPTED = 130  # exit code
FEW_CLASSES = 12  # whose confusion is printed
LOGISTIC = "logistic regression on means and standard deviations"
PREDICTIONS, CONFUSION = "predictions.csv", "confusion.png"
FORECAST, PICTURE = "forecast.csv", "forecast.png"


def mount(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog="Example: lstmkit forecast sales.csv --time month --target passengers --horizon 12"
    )(forecast)
    app.command(
        epilog="Example: lstmkit classify JapaneseVowels_TRAIN.ts --test JapaneseVowels_TEST.ts"
    )(classify)


class Missing(str, Enum):
    """What is done about missing values."""

    ERROR = "error"
    MASK = "mask"
    FILL = "fill"


class Gaps(str, Enum):
    """What is done about missing values and times of a series."""

    ERROR = "error"
    FILL = "fill"


Column = str | None
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for what it makes; this one if not given.")
]
Save = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save the model too: model.safetensors.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what it made earlier.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the weights and all else that is random.")]
Units = Annotated[int | None, typer.Option(min=1, help="LSTM units in a layer.")]
Layers = Annotated[int | None, typer.Option(min=1, help="LSTM layers.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Most passes over the data.")]
Rate = Annotated[float | None, typer.Option(min=1e-9, help="Peak of the learning rate.")]
TensorBoard = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard's curves of the run.")
]
Label = Annotated[Column, typer.Option(metavar="COLUMN", help="Of a table: the labels.")]
SequenceColumn = Annotated[
    Column,
    typer.Option(
        "--series", metavar="COLUMN", help="Of a table with a row a step: which sequence it is of."
    ),
]
StepColumn = Annotated[
    Column,
    typer.Option("--time", metavar="COLUMN", help="Of such a table: times, which are no feature."),
]


# ---------------------------------------------------------------------------------- forecast


def forecast(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A CSV or Parquet file, its rows in time order.")
    ],
    horizon: Annotated[int, typer.Option(min=1, help="How many steps to forecast.")],
    time: Annotated[
        Column, typer.Option(metavar="COLUMN", help="The times; found if there is one such column.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What to forecast; may be given several times."),
    ] = None,
    series: Annotated[
        Column, typer.Option(metavar="COLUMN", help="Which of several series a row is of.")
    ] = None,
    past: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Known up to now, and a help; several times."),
    ] = None,
    future: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Known of the future too: DATA goes on with rows whose targets are empty.",
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="How many steps it looks back on.")
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="What an interval should cover; 0: none.")
    ] = 0.8,
    quantiles: Annotated[
        str | None, typer.Option(metavar="LEVELS", help="Instead of it, such as 0.05,0.5,0.95.")
    ] = None,
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season; found from the times.")
    ] = None,
    calendar: Annotated[
        bool, typer.Option(help="Look at the hour, the weekday, the month.")
    ] = True,
    missing: Annotated[
        Gaps, typer.Option(help="Missing values and times: an error, or filled in.")
    ] = Gaps.ERROR,
    backtest: Annotated[
        bool, typer.Option(help="First measure it on the last part, beside simple methods.")
    ] = True,
    origins: Annotated[
        int | None, typer.Option(min=1, help="From how many points in time to measure.")
    ] = None,
    members: Annotated[
        int | None, typer.Option(min=1, help="How many networks, whose mean is the forecast.")
    ] = None,
    hidden_size: Units = None,
    layers: Layers = None,
    epochs: Epochs = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    output: Output = Path("."),
    save: Save = None,
    tensorboard: TensorBoard = None,
    force: Force = False,
) -> None:
    """Forecast a series, and say whether an LSTM is worth it there.

    How often the rows come is found from their times. A rolling-origin backtest measures the LSTM
    beside persistence, seasonal-naive and ridge regression; then it learns from all rows.
    """
    levels = _levels(interval, quantiles)
    made = {"forecast": output / FORECAST, "picture": output / PICTURE, "model": save}
    with _in_options(), _files("forecast", made, [data], force):
        source = Table.of("forecast", data)
        columns: dict[str, Any] = {
            "time": time,
            "series": series,
            "target": target or None,
            "past": past or (),
            "future": future or (),
        }
        seen = panels.panel("forecast", source, missing=missing.value, horizon=horizon, **columns)
        _show_series(data, seen, horizon)
        settings = _given(
            season=season,
            members=members,
            hidden_size=hidden_size,
            num_layers=layers,
            epochs=epochs,
            learning_rate=learning_rate,
        )
        model = Forecaster(
            context,
            horizon,
            quantiles=levels,
            calendar=calendar,
            missing=missing.value,
            random_state=seed,
            **settings,
        )
        if backtest:
            try:
                result = model.backtest(
                    source, origins=origins, progress=Progress(brief=True), **columns
                )
            except InputError as error:
                raise InputError(f"{error}; or --no-backtest") from None
            typer.echo(f"\n{result}\n")
        model.fit(
            source, progress=Progress(brief=True), **_given(tensorboard=tensorboard), **columns
        )
        if save is not None:
            model.save(save)
        _stop_if_interrupted(model, save)
        future_rows = model.predict()
        with store.atomic_write(output / FORECAST) as file:
            future_rows.write_csv(file)
        _draw(
            output / PICTURE,
            lambda: plots.forecast(
                source, future_rows, time=time, series=series, target=target, title=data.name
            ),
        )
        _show_made(made)


def _levels(interval: float, quantiles: str | None) -> tuple[float, ...] | None:
    """Return the quantiles' levels: those given, or the two ends of an interval and the middle."""
    if quantiles is None:
        if interval == 0.0:
            return None
        return tuple(round(level, 6) for level in (0.5 - interval / 2, 0.5, 0.5 + interval / 2))
    try:
        levels = tuple(float(level) for level in quantiles.split(","))
    except ValueError:
        levels = ()
    rising = list(levels) == sorted(set(levels))
    if 0.5 not in levels or not rising or levels[0] <= 0 or levels[-1] >= 1:
        raise InputError(
            f"forecast: --quantiles is {shown(quantiles)!r}; expected rising levels above 0 and "
            "below 1 with commas between them, 0.5 among them, such as 0.1,0.5,0.9"
        )
    return levels


def _show_series(data: Path, seen: panels.Panel, horizon: int) -> None:
    """Say what was found in the file: how many rows, how often, from when to when."""
    facts = [count(sum(len(one.target) for one in seen.series), "row")]
    if seen.columns.series is not None:
        facts.append(f"{len(seen.names):,} series")
    if seen.timeline is not None and seen.times is not None:
        own = [times[: len(one.target)] for times, one in zip(seen.times, seen.series, strict=True)]
        first, last = min(times[0] for times in own), max(times[-1] for times in own)
        facts.append(f"{seen.timeline.name}, {written(first)} to {written(last)}")
        if seen.timeline.season > 1:
            facts.append(f"a season of {seen.timeline.season}")
    else:
        facts.append("no column of times")
    what = " and ".join(shown(str(name)) for name in seen.columns.target)
    typer.echo(f"{shown(data.name)}: {', '.join(facts)}", err=True)
    typer.echo(f"to forecast: {what}, {count(horizon, 'step')}", err=True)


# ---------------------------------------------------------------------------------- classify


def classify(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Labelled sequences: .ts, .csv, .parquet, or .npz with X and y."
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(metavar="DATA2", help="What to be judged by; else a share of DATA."),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="That share, of every class.")
    ] = 0.2,
    label: Label = None,
    series: SequenceColumn = None,
    time: StepColumn = None,
    hidden_size: Units = None,
    layers: Layers = None,
    bidirectional: Annotated[bool, typer.Option(help="Read both ways.")] = False,
    missing: Annotated[
        Missing, typer.Option(help="Missing values: an error, masked, or filled in.")
    ] = Missing.ERROR,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Rare classes weigh as much as common ones.")
    ] = False,
    epochs: Epochs = None,
    learning_rate: Rate = None,
    seed: Seed = 0,
    output: Output = Path("."),
    save: Save = None,
    tensorboard: TensorBoard = None,
    force: Force = False,
) -> None:
    """Learn to label sequences, and say how good that is on sequences that were held out.

    A table is wide (a row a sequence; beside its label its columns are the steps of one feature)
    or, with --series, long (a row a step, the other columns are the features).
    """
    made = {"predictions": output / PREDICTIONS, "picture": output / CONFUSION, "model": save}
    with _in_options(), _files("classify", made, [data, test], force):
        given: dict[str, Any] = {"label": label, "series": series, "time": time}
        given["missing"] = missing is not Missing.ERROR
        learned = labelled.read("classify", data, **given)
        if test is None:
            parts = labelled.held_out("classify", learned.labels, held_out, seed)
            learned, judged = (learned.take(part) for part in parts)
        else:
            judged = labelled.read("classify", test, **given)
        classes = np.unique(learned.labels)
        typer.echo(
            f"{shown(data.name)}: {learned}, {count(len(classes), 'label')} to learn from; held "
            f"out: {shown((test or data).name)}, {judged}",
            err=True,
        )
        settings = _given(
            hidden_size=hidden_size, num_layers=layers, epochs=epochs, learning_rate=learning_rate
        )
        model = SequenceClassifier(
            bidirectional=bidirectional,
            missing=missing.value,
            class_weight="balanced" if balanced else None,
            random_state=seed,
            **settings,
        )
        model.fit(
            learned.sequences,
            learned.labels,
            progress=Progress(brief=True),
            **_given(tensorboard=tensorboard),
        )
        if save is not None:
            model.save(save)
        _stop_if_interrupted(model, save)
        probabilities = np.asarray(model.predict_proba(judged.sequences))
        predicted = model.classes_[probabilities.argmax(1)]
        _write_predictions(output / PREDICTIONS, judged, predicted, probabilities)
        _draw(
            output / CONFUSION,
            lambda: plots.confusion_matrix(_text(judged.labels), _text(predicted)),
        )
        typer.echo(err=True)
        _show_accuracy(learned, judged, predicted)
        _show_confusion(judged.labels, predicted)
        _show_made(made)


def _show_accuracy(learned: labelled.Labelled, judged: labelled.Labelled, ours: Array) -> None:
    """Print the share that is right, beside what needs no LSTM, and whether it is worth one."""
    truth, ours = _text(judged.labels), _text(ours)
    usual = np.full(len(truth), summaries.commonest(_text(learned.labels)))
    others = {"always the commonest label": usual}
    try:
        others[LOGISTIC] = summaries.logistic(
            learned.sequences, _text(learned.labels), judged.sequences
        )
    except InputError as error:  # scikit-learn is missing
        typer.echo(f"no {LOGISTIC}: {error}", err=True)
    _show_shares(truth, {"LSTM": ours, **others})
    typer.echo(f"\n{summaries.verdict(truth, ours, others)}")


def _show_shares(truth: Array, predicted: dict[str, Array]) -> None:
    head = ("", f"right of {len(truth):,}")
    rows = [(name, f"{metrics.accuracy(truth, one):.1%}") for name, one in predicted.items()]
    _show_table(head, rows)


def _show_confusion(actual: Array, predicted: Array) -> None:
    truth, guess = _text(actual), _text(predicted)
    classes = _ordered(np.concatenate([actual, predicted]))
    if len(classes) > FEW_CLASSES:
        return
    numbers = metrics.confusion(truth, guess, classes)
    rows = [
        (shown(str(name)), *(str(k) if k else "." for k in row))
        for name, row in zip(classes, numbers, strict=True)
    ]
    typer.echo()
    _show_table(("is \\ taken for", *(shown(str(name)) for name in classes)), rows)


def _write_predictions(
    path: Path, judged: labelled.Labelled, predicted: Array, probabilities: Array
) -> None:
    rows = zip(judged.names, judged.labels, predicted, probabilities.max(1), strict=True)
    head = ("sequence", "label", "predicted", "probability")
    _write_csv(path, head, [(*row[:3], f"{row[3]:.6g}") for row in rows])


# ---------------------------------------------------------------------------------- evaluate


def evaluate(
    model: Any, path: Path, data: Path, label: Column, series: Column, time: Column
) -> None:
    """Score an estimator on new data and print the figures."""
    with _in_options():
        _evaluate(model, path, data, label, series, time)


def _evaluate(
    model: Any, path: Path, data: Path, label: Column, series: Column, time: Column
) -> None:
    if isinstance(model, Forecaster):
        if label is not None or series is not None or time is not None:
            raise InputError(
                "evaluate: --label, --series or --time is given with a Forecaster, which knows its "
                "columns; leave them out"
            )
        typer.echo(str(model.evaluate(Table.of("evaluate", data))))
        return
    if not isinstance(model, SequenceClassifier | SequenceRegressor | SequenceTagger):
        raise InputError(
            f"evaluate: {path} holds a {type(model).__name__}; expected a LanguageModel, a "
            "Forecaster, a SequenceClassifier, a SequenceRegressor or a SequenceTagger"
        )
    tags, task = isinstance(model, SequenceTagger), getattr(model, "task", "label")
    if task == "labels":
        raise InputError(
            f"evaluate: {path} holds a SequenceTagger of several labels a step, which no file of "
            "this command has; call its score(X, y) in Python"
        )
    values = isinstance(model, SequenceRegressor) or task == "value"
    judged = labelled.read(
        "evaluate",
        data,
        label=label,
        series=series,
        time=time,
        numbers=values,
        each_step=tags,
        missing=model.missing != "error",
    )
    typer.echo(f"{shown(data.name)}: {judged}", err=True)
    actual, predicted = judged.labels, model.predict(judged.sequences)
    if tags:
        actual, predicted = np.concatenate(actual), np.concatenate(list(predicted))
    if values:
        _show_errors(np.asarray(actual, np.float64), np.asarray(predicted, np.float64))
        return
    truth, guess = _text(actual), _text(predicted)
    usual = np.full(len(truth), summaries.commonest(truth))
    _show_shares(truth, {"LSTM": guess, "always the commonest label": usual})
    _show_confusion(actual, predicted)


def _show_errors(actual: Array, predicted: Array) -> None:
    """Print what a model of values is wrong by, beside one that says their mean."""
    rows: list[tuple[str, ...]] = [("", "R²", "MAE", "RMSE")]
    usual = np.broadcast_to(actual.mean(0), actual.shape)
    for name, guess in (("LSTM", predicted), ("always their mean", usual)):
        figures = (metrics.r2, metrics.mae, metrics.rmse)
        rows.append((name, *(f"{figure(actual, guess):.4g}" for figure in figures)))
    _show_table(rows[0], rows[1:])


# ---------------------------------------------------------------------------------- files


@contextmanager
def _in_options() -> Iterator[None]:
    """Let errors name the options of the command line, and not the arguments in Python."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for argument, option in _OPTIONS.items():
            text = text.replace(argument, option)
        raise InputError(text) from None


_OPTIONS = {
    "missing='fill'": "--missing fill",
    'missing="mask" or "fill"': "--missing mask or fill",
    "future=)": "--future)",
    "time=False": "without --time",
    "target=": "--target ",
    "time=": "--time ",
}


@contextmanager
def _files(
    command: str, made: dict[str, Path | None], read: Sequence[Path | None], force: bool
) -> Iterator[None]:
    """Refuse what would overwrite, make the folders; leave no empty new folder on an error."""
    paths = [path for path in made.values() if path is not None]
    for path in paths:
        for other in read:
            if other is not None and path.exists() and other.exists() and path.samefile(other):
                raise InputError(f"{command}: {path} is read; expected another --output")
        if path.exists() and not force:
            raise InputError(
                f"{command}: {path} is already there; expected another --output or --save, or "
                "--force to overwrite"
            )
    new = [path.parent for path in paths if not path.parent.exists()]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            store.check_writable(path)
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):  # it is not empty, or gone already
                folder.rmdir()
        raise


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given; for the others the model has its own defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _stop_if_interrupted(model: Any, save: Path | None) -> None:
    if model.result_ is None or model.result_.reason != "interrupted":
        return
    kept = "no model was saved (see --save)" if save is None else f"{save} holds the model so far"
    typer.echo(f"lstmkit: stopped; {kept}", err=True)
    raise typer.Exit(INTERRUPTED)


def _draw(path: Path, draw: Callable[[], Any]) -> None:
    try:
        plots.save(draw(), path)
    except InputError as error:  # matplotlib is missing; all else is there
        typer.echo(f"no picture: {error}", err=True)


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    with store.atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _show_made(made: dict[str, Path | None]) -> None:
    there = [str(path) for path in made.values() if path is not None and path.exists()]
    typer.echo(f"\nwritten: {', '.join(there)}")


def _show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its head also where stdout is no terminal."""
    table(head, rows if sys.stdout.isatty() else [head, *rows])


def _text(labels: Any) -> Array:
    """Write labels as text: those of a file and those of a model may be of two kinds."""
    return np.array([str(one) for one in np.asarray(labels).tolist()])


def _ordered(labels: Array) -> list[str]:
    """Return the different labels, in the order of their own kind, as text."""
    return [str(one) for one in np.unique(labels).tolist()]
