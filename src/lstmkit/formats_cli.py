"""The commands about files: `lstmkit info` and `lstmkit convert`."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from lstmkit import loading
from lstmkit.converting import Conversion, Unproved, convert, format_of
from lstmkit.formats.base import Model
from lstmkit.formats.detect import Format
from lstmkit.layers import LSTM
from lstmkit.layers.links import describe, parameters_of, sizes_of, variants
from lstmkit.shapes import InputError
from lstmkit.showing import count, shown, table
from lstmkit.tasks.language_model import LanguageModel

UNPROVED = 1  # exit code


def mount(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: lstmkit info lstmkit-demo/model.safetensors")(info)
    app.command("convert", epilog="Example: lstmkit convert model.pt model.onnx")(convert_command)


Prefix = Annotated[
    str | None,
    typer.Option(help="Of a state dict: what stands before the LSTM's names in it."),
]


def info(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A model of lstmkit, PyTorch, Keras or ONNX, a checkpoint, or a run's folder.",
        ),
    ],
) -> None:
    """Show what is inside a file: its layers, its arrays, and what was not understood."""
    contents = loading.describe(file)
    numbers = sum(math.prod(shape) for _, _, shape in contents.arrays)
    facts = [("format", contents.format), *contents.facts]
    if contents.model is not None:
        own = sum(array.size for array in contents.model.parameters.values())
        facts.append(("parameters", f"{own:,}"))
    facts.append(("in arrays", f"{count(numbers, 'number')} in {len(contents.arrays):,}"))
    if not file.is_dir():
        facts.append(("bytes", f"{os.path.getsize(file):,}"))
    table(("setting", "value"), [(shown(name), shown(value)) for name, value in facts])
    if contents.model is not None:
        typer.echo()
        table(("layer", "what", "sizes", "parameters"), _layers(contents.model))
    if contents.arrays:
        typer.echo()
        rows = [
            (shown(name) or "(no name)", str(shape), dtype)
            for name, dtype, shape in contents.arrays
        ]
        table(("array", "shape", "dtype"), rows)
    if contents.left_over:
        typer.echo("\nnot understood:")
        for line in contents.left_over:
            typer.echo(f"  {shown(line)}")


def _layers(model: Model) -> list[tuple[str, str, str, str]]:
    if isinstance(model, LSTM):
        return _stack("", model)
    rows: list[tuple[str, str, str, str]] = []
    for name, layer in model.layers.items():
        takes, gives = sizes_of(layer)
        sizes = "" if gives is None else f"{'tokens' if takes is None else takes} -> {gives}"
        numbers = sum(array.size for array in parameters_of(layer).values())
        rows.append((shown(name), describe(layer), sizes, f"{numbers:,}"))
    return rows


def _stack(name: str, lstm: LSTM) -> list[tuple[str, str, str, str]]:
    """Return a row for each layer of a stack."""
    rows = []
    more = ["both directions"] if lstm.bidirectional else []
    more += variants(lstm)
    for k in range(lstm.num_layers):
        takes = lstm.input_size if k == 0 else lstm.output_size
        ends = (f"_l{k}", f"_l{k}_reverse")
        own = [array.size for key, array in lstm.parameters.items() if key.endswith(ends)]
        sizes = f"{takes} -> {lstm.output_size}"
        what = ", ".join([f"LSTM of {lstm.hidden_size}", *more])
        rows.append((f"{name}l{k}", what, sizes, f"{sum(own):,}"))
    return rows


def convert_command(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Any file that `lstmkit info` shows a model of.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Its ending says what: .safetensors (ours), .pt, .pth, .keras, .onnx.",
        ),
    ],
    prefix: Prefix = None,
    state_dict: Annotated[
        bool,
        typer.Option("--state-dict", help="A .safetensors OUT gets PyTorch's names, not ours."),
    ] = False,
    opset: Annotated[int | None, typer.Option(help="Of ONNX: 14 to 22; 17 if not given.")] = None,
    states: Annotated[
        bool, typer.Option("--states", help="ONNX: the states are inputs and outputs too.")
    ] = False,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="ONNX: the sequences' lengths are an input too.")
    ] = False,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Let no other library open the files, installed or not."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
) -> None:
    """Convert a model, then prove it: run both files on random input and compare.

    Each file is run by its own library (torch, keras, onnxruntime) where that is installed, else
    by what lstmkit reads in it. What differs is not written: exit code 1.
    """
    format = format_of(target, state_dict)
    if target.exists() and not force:
        raise InputError(f"convert: {target} is already there; expected another OUT, or --force")
    options = {"opset": opset, "states": states or None, "lengths": lengths or None}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        done = convert(
            source, target, prefix=prefix, state_dict=state_dict, libraries=not alone, **given
        )
    except Unproved as error:
        _show(error.conversion)
        typer.echo(f"lstmkit: convert: {error}; {target} was not written", err=True)
        raise typer.Exit(UNPROVED) from None
    _show(done)
    model = done.model
    if isinstance(model, LanguageModel) and format is not Format.LSTMKIT:
        letters = model.vocabulary
        known = "256 bytes" if letters is None else count(len(letters), "character")
        typer.echo(
            f"note: {target} reads and writes the numbers of tokens; the vocabulary of {known} "
            f"stays in {source}"
        )
    classes = getattr(model, "classes_", None)
    if classes is not None and format is not Format.LSTMKIT:
        named = shown(", ".join(map(str, classes)))
        typer.echo(
            f"note: {target} takes the features as they are and gives a logit for each of "
            f"{count(len(classes), 'label')}, which stay in {source}: {named}"
        )
    typer.echo(f"{target}: {os.path.getsize(target):,} bytes, proved")


def _show(done: Conversion) -> None:
    for check in done.checks:
        typer.echo(shown(str(check)))
    for note in done.notes:
        typer.echo(f"note: {shown(note)}")
