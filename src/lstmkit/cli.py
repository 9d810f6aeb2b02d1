"""The command line: arguments in, public calls out, errors in one line."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lstmkit import (
    __version__,
    backend,
    corpus,
    demo,
    explorer,
    formats_cli,
    lesson,
    lesson_cli,
    loading,
    plots,
    store,
    tasks_cli,
    usage,
)
from lstmkit.lesson import strength, watch
from lstmkit.progress import Progress
from lstmkit.shapes import InputError
from lstmkit.showing import count, visible
from lstmkit.tasks.language_model import LanguageModel
from lstmkit.training import TrainingDiverged

MODEL, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
METRICS, CURVE = "metrics.jsonl", "learning_curve.png"

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130  # exit codes
MISTAKES = 1  # of a check that found some


class _Commands(TyperGroup):
    """Turns the errors that a user can mend into one line on stderr and an exit code."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Read what stands before the command."""
        try:
            return super().make_context(*arguments, **settings)
        except Exception as error:
            _fail_of_usage(error, None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise InputError(usage.no_command(args[0], self.commands))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Read the rest and run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # `lstmkit generate … | head`: typer ends it silently
        except InputError as error:
            _fail(str(error), BAD_INPUT)
        except OSError as error:
            name = f"{error.filename}: " if error.filename is not None else ""
            _fail(f"{name}{error.strerror or error}", BAD_INPUT)
        except MemoryError as error:
            _fail(f"not enough memory ({error}); try a smaller model or batch", FAILED)
        except TrainingDiverged as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            _fail("stopped", INTERRUPTED)
        except Exception as error:
            _fail_of_usage(error, ctx)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"lstmkit: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def _fail_of_usage(error: Exception, root: Any) -> NoReturn:
    """Fail with one line if the command line itself is wrong; else raise the error again."""
    line = usage.line(error, root)
    if line is None:
        raise error
    _fail(line, BAD_INPUT)


app = typer.Typer(
    cls=_Commands,
    help="The whole LSTM: train a language model on text, score it, let it write.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(lesson_cli.app, name="lesson")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a terminal that cannot show a character gets a "?"
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(prog_name="lstmkit")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lstmkit {__version__} ({backend()})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


# ---------------------------------------------------------------------------------- commands


class Tokens(str, Enum):
    """What a model predicts."""

    BYTES = "bytes"
    CHARACTERS = "characters"


Force = Annotated[bool, typer.Option("--force", help="Overwrite the folder's earlier model.")]
TensorBoard = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for TensorBoard's curves of the run.")
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file, or a run's folder.")]


@app.command("demo", epilog="Example: lstmkit demo --seconds 90 --output my-demo")
def demo_command(
    seconds: Annotated[
        float, typer.Option(min=5.0, help="How long the whole command may take.")
    ] = 90.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for what it makes; lstmkit-demo if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the sample.")] = 0,
    force: Force = False,
) -> None:
    """Train on the source code of your own Python's standard library, and show what came of it."""
    began = time.monotonic()
    folder = output or (Path("lstmkit-demo") if force else _unused("lstmkit-demo"))
    library = corpus.standard_library()
    parts = demo.divide(library.documents)
    model = LanguageModel(**demo.MODEL, seed=seed)
    title = f"The standard library of Python {platform.python_version()}"
    with _run_folder(folder, None, force):
        _show_parts(title, parts)
        rest = demo.seconds_after_training(model, parts.held_out)
        budget = max(seconds - rest - (time.monotonic() - began), seconds / 4)
        if not _study(model, parts, folder, title, seed, {"seconds": budget}):
            _fail(f"stopped; {folder} holds the model so far and its checkpoint", INTERRUPTED)


@app.command(epilog="Example: lstmkit train my.txt --hidden-size 256 --seconds 300")
def train(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Text file, or a folder of text files (UTF-8).")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for what it makes; lstmkit-NAME if not given."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="How long to train; 90 if neither this nor the next two."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.001, help="How many passes over the text, instead.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many batches, instead.")] = None,
    hidden_size: Annotated[int, typer.Option(min=1, help="LSTM units in a layer.")] = demo.MODEL[
        "hidden_size"
    ],
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = demo.MODEL["num_layers"],
    embedding_size: Annotated[
        int, typer.Option(min=1, help="Numbers for each token.")
    ] = demo.MODEL["embedding_size"],
    layer_norm: Annotated[
        bool, typer.Option(help="Layer normalization: learns from fewer tokens.")
    ] = demo.MODEL["layer_norm"],
    tokens: Annotated[
        Tokens, typer.Option(help="Bytes take any text later, characters those of this text.")
    ] = Tokens.BYTES,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.99, help="Dropout rate.")] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Streams side by side.")] = demo.TRAINING[
        "batch_size"
    ],
    sequence_length: Annotated[
        int, typer.Option(min=1, help="Steps of a gradient.")
    ] = demo.TRAINING["sequence_length"],
    learning_rate: Annotated[
        float, typer.Option(min=1e-9, help="Peak of the cosine schedule.")
    ] = demo.TRAINING["learning_rate"],
    patience: Annotated[
        int, typer.Option(min=1, help="Validations without gain (of ten a run) before it stops.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the sample.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the folder's checkpoint stands.")
    ] = False,
    tensorboard: TensorBoard = None,
    force: Force = False,
) -> None:
    """Train on your own text: as the demo, with your settings.

    Stop with Ctrl-C at any time, and go on with the same command and --resume.
    """
    budgets = {"seconds": seconds, "epochs": epochs, "steps": steps}
    given = {name: value for name, value in budgets.items() if value is not None}
    if len(given) > 1:
        raise InputError(f"train: {' and '.join(given)} are given; expected one of them")
    read = corpus.read(path)
    parts = demo.divide(read.documents)
    vocabulary = None
    if (
        tokens is Tokens.CHARACTERS
    ):  # the alphabet of what is held out too, so that it can be scored
        known = set().union(*(document.text for document in read.documents))
        vocabulary = "".join(sorted(known))
    model = LanguageModel(
        hidden_size,
        layers,
        embedding_size=embedding_size,
        layer_norm=layer_norm,
        tokens=tokens.value,
        dropout=dropout,
        seed=seed,
    )
    folder = Path(f"lstmkit-{path.resolve().stem}") if output is None else output
    with _run_folder(folder, resume, force):
        _show_skipped(read)
        _show_parts(path.resolve().name, parts)
        settings = {
            **(given or {"seconds": 90.0}),
            "vocabulary": vocabulary,
            "batch_size": batch_size,
            "sequence_length": sequence_length,
            "learning_rate": learning_rate,
            "patience": patience,
            "resume": resume,
            "tensorboard": tensorboard,
        }
        if not _study(model, parts, folder, path.resolve().name, seed, settings):
            _fail(
                f"stopped; {folder} holds the model so far and its checkpoint (the same command "
                "with --resume goes on)",
                INTERRUPTED,
            )


@app.command(epilog='Example: lstmkit generate lstmkit-demo --prompt "def " --temperature 0.7')
def generate(
    model: ModelPath,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What it goes on from.")] = "",
    length: Annotated[
        int, typer.Option("--length", "-n", min=0, help="Characters to write.")
    ] = 500,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", min=0.0, help="0: always the likeliest.")
    ] = 0.8,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Choose among the k likeliest only.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Choose among the likeliest that sum to p only.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed writes the same text.")
    ] = None,
) -> None:
    """Write text, character by character, to standard output."""
    pieces = _language_model(model).generate_stream(prompt, length, temperature, top_k, top_p, seed)
    sys.stdout.write(prompt)
    show = visible if sys.stdout.isatty() else str
    for piece in pieces:
        sys.stdout.write(show(piece))
        sys.stdout.flush()
    sys.stdout.write("\n")


tasks_cli.mount(app)


@app.command(epilog="Example: lstmkit evaluate lstmkit-demo other.py")
def evaluate(
    model: ModelPath,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Text for a language model; else what `forecast` or `classify` reads.",
        ),
    ],
    label: tasks_cli.Label = None,
    series: tasks_cli.SequenceColumn = None,
    time: tasks_cli.StepColumn = None,
) -> None:
    """Score a model on new data: bits per character, accuracy, or a backtest.

    A language model stands beside gzip, bzip2 and xz, a classifier beside the commonest label, a
    forecaster beside persistence, seasonal-naive and ridge regression.
    """
    opened = loading.load(model)
    if not isinstance(opened, LanguageModel):
        tasks_cli.evaluate(opened, model, data, label, series, time)
        return
    for name, given in (("label", label), ("series", series), ("time", time)):
        if given is not None:
            raise InputError(f"evaluate: --{name} is given with a language model; leave it out")
    read = corpus.read(data)
    _show_skipped(read)
    documents = read.documents
    texts = [document.text for document in documents]
    bits = {"lstmkit": opened.bits_per_character(texts)} | demo.compressed("".join(texts))
    _show_bits(bits, f"{data.resolve().name}: {_files(documents)}")


formats_cli.mount(app)


@app.command(epilog="Example: lstmkit explore lstmkit-demo --file some.py -o page.html")
def explore(
    model: ModelPath,
    text: Annotated[
        str | None,
        typer.Option("--text", "-t", help="What it reads; for an LSTM alone, rows of numbers."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A file to read instead (UTF-8).")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path(
        "lstmkit-explorer.html"
    ),
    rnn: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A basic RNN, or another model, to show beside."),
    ] = None,
    length: Annotated[
        int, typer.Option(min=1, max=explorer.LONGEST, help="Characters of the text, at most.")
    ] = 3000,
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier page.")] = False,
) -> None:
    """Write a page that shows the model at work, live in a browser: one file, no server."""
    if (text is None) == (file is None):
        given = "neither" if text is None else "both"
        raise InputError(f"explore: of --text and --file {given} is given; expected one of them")
    if output.exists() and not force:
        raise InputError(
            f"explore: {output} is already there; expected another --output, or --force"
        )
    read = [path for path in (model, file, rnn) if path is not None]
    read += [path / MODEL for path in read if path.is_dir()]
    if any(path.exists() and output.exists() and path.samefile(output) for path in read):
        raise InputError(f"explore: {output} is read for the page; expected another --output")
    store.check_writable(output)
    opened = loading.load(model)
    beside = None if rnn is None else _beside(rnn)
    if file is not None:
        text = _text_of(file)
    assert text is not None
    if isinstance(opened, LanguageModel) and len(text) > length:
        typer.echo(f"the first {length:,} of {len(text):,} characters (see --length)", err=True)
        text = text[:length]
    heading = title or f"{model.resolve().name}, reading {'a text' if file is None else file.name}"
    size = explorer.explore(opened, text, output, rnn=beside, title=heading)
    typer.echo(f"{output}: {size / 1e6:.2f} MB; open it in a browser")


def _beside(path: Path) -> explorer.RNNLanguageModel | LanguageModel:
    if not path.is_dir() and store.inspect(path).kind == "RNNLanguageModel":
        return explorer.RNNLanguageModel.load(path)
    return _language_model(path)


def _text_of(file: Path) -> str:
    if file.is_dir():
        raise InputError(f"explore: {file} is a folder; expected a text file")
    return corpus.read(file).documents[0].text  # as `lstmkit train` reads it


@app.command("check", epilog="Example: lstmkit check my_lstm.py --watch")
def check_command(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="Your code: a .py file or a notebook.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--watch", help="Check again on every save; Ctrl-C ends it.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long your code may take.")
    ] = lesson.SECONDS,
    megabytes: Annotated[
        int, typer.Option(min=128, help="How much memory your code may take.")
    ] = lesson.MEGABYTES,
    measure: Annotated[
        bool,
        typer.Option("--strength", help="Measure the checker itself: minutes, no file needed."),
    ] = False,
) -> None:
    """Check your own LSTM and name its mistakes.

    Your code runs in a process of its own, with limits. Exit code 0: none found, 1: some.
    """
    if measure:
        if path is not None or again:
            raise InputError("check: --strength measures the checker; expected no PATH or --watch")
        _measure_strength()
        return
    if path is None:
        raise InputError("check: no PATH is given; expected a .py file or a .ipynb notebook")
    if not again:
        report = lesson.check(path, seconds=seconds, megabytes=megabytes)
        report.show()
        if report.mistakes or not report.passed:
            raise typer.Exit(MISTAKES)
        return
    for number in watch.saves(path):
        if number > 1:
            typer.echo(f"\n--- saved at {time.strftime('%H:%M:%S')}")
        try:
            lesson.check(path, seconds=seconds, megabytes=megabytes).show()
        except InputError as error:  # half-written, or empty for now
            typer.echo(f"lstmkit: {error}", err=True)


def _measure_strength() -> None:
    def say(done: int, total: int, name: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done + 1} of {total}: {name[:60]:60}")
            sys.stderr.flush()
        elif done % 100 == 0:
            typer.echo(f"{done} of {total} programs", err=True)

    result = strength.measure(say=say)
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 79 + "\r")
    for failure in result.failures:
        typer.echo(failure, err=True)
    typer.echo(str(result))
    if not result.good:
        raise typer.Exit(MISTAKES)


def _show_skipped(read: corpus.Corpus) -> None:
    if read.skipped:
        files = count(len(read.skipped), "file")
        typer.echo(f"skipped {files}, the first: {read.skipped[0]}", err=True)


# ------------------------------------------------------------------------------------ a run


def _study(
    model: LanguageModel,
    parts: demo.Parts,
    folder: Path,
    title: str,
    seed: int,
    settings: dict[str, Any],
) -> bool:
    """Train, save, draw and show; return False if training was stopped by Ctrl-C."""
    model.fit(
        [document.text for document in parts.train],
        validation=[document.text for document in parts.validation],
        checkpoint=folder / CHECKPOINT,
        metrics=folder / METRICS,
        progress=Progress(),
        **{**demo.TRAINING, **settings},
    )
    model.save(folder / MODEL)
    if model.result_.reason == "interrupted":
        return False
    outcome = demo.measure(model, parts.held_out, seed)
    try:
        ascii_alone = all(document.text.isascii() for document in parts.train)
        unit = "character" if ascii_alone or model.tokens == "characters" else "byte"
        plots.save(plots.learning_curve(folder / METRICS, title=title, unit=unit), folder / CURVE)
        made = [MODEL, CHECKPOINT, METRICS, CURVE]
    except InputError as error:  # matplotlib is missing; all else is there
        typer.echo(f"no learning curve: {error}", err=True)
        made = [MODEL, CHECKPOINT, METRICS]

    typer.echo(err=True)
    _show_bits(outcome.bits, f"held out: {_files(parts.held_out)}")
    typer.echo(f"\nIt writes (temperature {demo.SAMPLE['temperature']}):\n")
    typer.echo("".join(f"    {line}\n" for line in visible(outcome.sample).split("\n")))
    if outcome.tokenized is not None:
        typer.echo(
            f"Python can tokenize {outcome.tokenized:.0%} of that (of its characters, those in "
            "whole lines that the tokenize module reads without error).\n"
        )
    typer.echo(f"{folder}: {', '.join(made)}")
    typer.echo(f"Next: lstmkit generate {folder}")
    return True


@contextmanager
def _run_folder(folder: Path, resume: bool | None, force: bool) -> Iterator[None]:
    """Make the folder of a run, or refuse to overwrite one; leave no empty folder on an error.

    ``resume`` is None for a command that cannot.
    """
    new = not folder.exists()
    if resume and force:
        raise InputError("--resume and --force are given; expected one of them")
    if resume and not (folder / CHECKPOINT).exists():
        raise InputError(f"folder {folder} has no {CHECKPOINT} to resume; leave --resume out")
    if not (resume or force):
        for name in (MODEL, CHECKPOINT):
            if (folder / name).exists():
                ways = "" if resume is None else "--resume to go on, "
                raise InputError(
                    f"folder {folder} already holds a {name}; expected another --output, {ways}or "
                    "--force to overwrite"
                )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in (MODEL, CHECKPOINT, METRICS, CURVE):
            store.check_writable(folder / name)
        yield  # with --force, what is there goes when what replaces it is whole
    except BaseException:
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


def _unused(name: str) -> Path:
    """Return a folder's name, with a number where it is taken by an earlier model."""
    folder, number = Path(name), 1
    while folder.exists():
        number += 1
        folder = Path(f"{name}-{number}")
    return folder


def _language_model(path: Path) -> LanguageModel:
    model = loading.load(path)
    if not isinstance(model, LanguageModel):
        raise InputError(f"{path} holds a {type(model).__name__}; expected a LanguageModel")
    return model


# ---------------------------------------------------------------------------------- showing


def _files(documents: Sequence[corpus.Document]) -> str:
    total = demo.characters(documents)
    return f"{count(total, 'character')} in {count(len(documents), 'file')}"


def _show_parts(title: str, parts: demo.Parts) -> None:
    typer.echo(f"{title}: {_files(parts.train)} to train on", err=True)
    for name, documents in (("validation", parts.validation), ("held out", parts.held_out)):
        typer.echo(f"  {name}: {_files(documents)}", err=True)


def _show_bits(bits: dict[str, float], what: str) -> None:
    others = ", ".join(f"{name} {value:.2f}" for name, value in bits.items() if name != "lstmkit")
    typer.echo(f"{bits['lstmkit']:.2f} bits per character ({what})")
    typer.echo(f"on the same text: {others}")
