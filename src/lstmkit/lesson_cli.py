"""The commands of the lesson: `lstmkit lesson …`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from typer.core import TyperGroup

from lstmkit import plots, store
from lstmkit.flow import Flow
from lstmkit.lesson import laboratory, notebook, record, session
from lstmkit.lesson.adding import Training, sequences
from lstmkit.lesson.exercises import find
from lstmkit.progress import Progress
from lstmkit.shapes import InputError

NUMBERS, LAYER = "gradients.json", "lstm.safetensors"
ADDING, FLOW, BIAS = "adding.png", "gradient_flow.png", "forget_bias.png"
GATES, SATURATION, WEIGHTS = "gates.png", "gate_histograms.png", "weight_histograms.png"
PICTURES = (ADDING, FLOW, BIAS, GATES, SATURATION, WEIGHTS)


class _Lesson(TyperGroup):
    """`lstmkit lesson DIR` is short for `lstmkit lesson start DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            close = difflib.get_close_matches(args[0], self.commands, 1, 0.75)
            if close:
                raise InputError(
                    f"lesson: {args[0]!r} is no command; did you mean {close[0]}? For a folder of "
                    f"that name: lstmkit lesson start {args[0]}"
                )
            args = ["start", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


app = typer.Typer(
    cls=_Lesson,
    no_args_is_help=True,
    help="Write your own LSTM, exercise by exercise: lstmkit lesson DIR writes the workspace.",
    epilog="Example: lstmkit lesson my-lesson",
)


Folder = Annotated[
    Path, typer.Option("--dir", "-d", help="The workspace; the current folder if not given.")
]
Which = Annotated[
    str | None, typer.Argument(metavar="[EXERCISE]", help="Name or number; the next open one.")
]


@app.command(epilog="Example: lstmkit lesson start my-lesson")
def start(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an earlier lesson there, and the work in it.")
    ] = False,
) -> None:
    """Write the workspace: a notebook, the same as plain Python, and your progress."""
    written = notebook.write(folder, force)
    typer.echo(f"{folder}: {', '.join(path.name for path in written)}")
    typer.echo(
        f"Next: open {folder / notebook.NOTEBOOK} in Jupyter, or {folder / notebook.SCRIPT} in an "
        "editor and run it with Python."
    )


@app.command(epilog="Example: lstmkit lesson hint cell_step")
def hint(exercise: Which = None, folder: Folder = Path()) -> None:
    """Show one hint more, of three: from a nudge to nearly the code."""
    typer.echo(session.hint(folder, exercise))


@app.command(epilog="Example: lstmkit lesson solution cell_step")
def solution(
    exercise: Annotated[str, typer.Argument(metavar="EXERCISE", help="Name or number.")],
    folder: Folder = Path(),
) -> None:
    """Show a solution and its explanation, once your own has passed."""
    typer.echo(session.solution(folder, exercise))


@app.command(epilog="Example: lstmkit lesson status --dir my-lesson")
def status(folder: Folder = Path()) -> None:
    """Show which exercises are passed and which are open."""
    typer.echo("\n".join(record.summary(record.read(folder))))


@app.command(epilog="Example: lstmkit lesson reset cell_step")
def reset(
    exercise: Annotated[
        str | None, typer.Argument(metavar="[EXERCISE]", help="Name or number; all if not given.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Forget the progress of an exercise, or all of it; your code stays as it is."""
    if exercise is None:
        if not (folder / record.FILE).is_file():
            record.read(folder)  # says that this is no workspace
        record.write(folder, record.new())
        typer.echo("forgotten: all progress (the code is as it was)")
        return
    name = find(exercise).name
    record.change(folder, name, **record.Entry()._asdict())
    typer.echo(f"forgotten: {name} (the code is as it was)")


@app.command(epilog="Example: lstmkit lesson gradients -o laboratory")
def gradients(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the numbers and pictures.")
    ] = Path("lstmkit-gradients"),
    seeds: Annotated[int, typer.Option(min=1, help="Of both networks, from 0 on.")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps of a run.")
    ] = laboratory.Plan().training.steps,
    hidden_size: Annotated[
        int, typer.Option(min=1, help="Units of both networks.")
    ] = laboratory.Plan().hidden_size,
    length: Annotated[
        int, typer.Option(min=2, help="Steps of a sequence of the adding problem.")
    ] = laboratory.Plan().length,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an earlier laboratory's files.")
    ] = False,
) -> None:
    """Measure why the LSTM learns what the basic RNN does not; a few minutes."""
    plan = laboratory.Plan(
        hidden_size=hidden_size, length=length, seeds=seeds, training=Training(steps=steps)
    )
    taken = [name for name in (NUMBERS, LAYER, *PICTURES) if (output / name).exists()]
    if taken and not force:
        raise InputError(
            f"folder {output} already holds {taken[0]}; expected another --output, or --force to "
            "overwrite"
        )
    output.mkdir(parents=True, exist_ok=True)
    store.check_writable(output / NUMBERS)
    findings = laboratory.investigate(plan, Progress())
    numbers = findings.numbers
    with store.atomic_write(output / NUMBERS) as file:
        file.write(_written(numbers).encode())
    findings.lstm.save(output / LAYER)
    made = [NUMBERS, LAYER]
    try:
        for name, figure in _pictures(findings, plan).items():
            plots.save(figure, output / name)
            made.append(name)
    except InputError as error:  # matplotlib is missing; the numbers are there
        typer.echo(f"no pictures: {error}", err=True)
    typer.echo(_summary(numbers))
    typer.echo(f"\n{output}: {', '.join(made)}")


def _pictures(findings: laboratory.Findings, plan: laboratory.Plan) -> dict[str, Any]:
    numbers = findings.numbers
    best = laboratory.best_runs(numbers)
    task = f"Adding problem, {plan.length} steps, {plan.hidden_size} units"
    flows = {
        f"{network}, {when}": laboratory.mean_flows(
            [f for f in numbers["flows"] if (f["network"], f["when"]) == (network, when)]
        )
        for when in (laboratory.START, laboratory.END)
        for network in laboratory.NETWORKS
    }
    sweep: dict[str, Flow] = {}
    for bias in plan.forget_biases:
        entries = [entry for entry in numbers["sweep"] if entry["forget_bias"] == bias]
        sweep[f"forget bias {bias:g}"] = laboratory.mean_flows(entries)
    x, _ = sequences(np.random.default_rng(40), 50, plan.length)
    seen = f"The trained LSTM, marks at steps {' and '.join(map(str, np.flatnonzero(x[0, :, 1])))}"
    return {
        ADDING: plots.error_curves(
            {name: [run["curve"] for run in runs] for name, runs in best.items()},
            guess=numbers["about"]["baseline"],
            title=f"{task}: error on sequences never seen",
        ),
        FLOW: plots.gradient_flow(flows, title=f"How far back the loss reaches. {task}"),
        BIAS: plots.gradient_flow(sweep, title="The forget gate's bias at initialization"),
        GATES: plots.gates_over_time(findings.lstm, x[:1], title=seen),
        SATURATION: plots.gate_histograms(findings.lstm, x, title="Gates of the trained LSTM"),
        WEIGHTS: plots.weight_histograms(findings.lstm, title="Weights of the trained LSTM"),
    }


def _summary(numbers: dict[str, Any]) -> str:
    """Say in a table how the networks did: over the seeds the least, the middle and the most."""
    about = numbers["about"]
    lines = [
        f"Adding problem, {about['length']} steps, {about['hidden_size']} units, "
        f"{about['training']['steps']} training steps, {about['seeds']} seeds; "
        f"always the mean: {about['baseline']:.4f}"
    ]
    for network, runs in laboratory.best_runs(numbers).items():
        errors = sorted(run["error"] for run in runs)
        solved = sum(error <= about["solved"] for error in errors)
        lines.append(
            f"  {network:<10} error {np.median(errors):.4f} ({errors[0]:.4f} to {errors[-1]:.4f}), "
            f"solved by {solved} of {len(errors)}"
        )
    lines.append(
        f"  measured in {about['seconds']:.0f} s, {about['processor_seconds']:.0f} s of processor "
        f"time ({about['engine']})"
    )
    return "\n".join(lines)


def _written(numbers: dict[str, Any]) -> str:
    """Write the numbers as JSON, a measurement a line."""
    parts = []
    for name, value in numbers.items():
        rows = value if isinstance(value, list) else [value]
        lines = ",\n  ".join(json.dumps(_rounded(row)) for row in rows)
        parts.append(
            f' "{name}": [\n  {lines}\n ]' if isinstance(value, list) else f' "{name}": {lines}'
        )
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    """Keep five digits of every number: nothing here is known better."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
