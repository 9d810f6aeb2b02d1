"""The house stands: every import of every module of the package points strictly downward.

`FLOORS` is the plan. A module may import from lower floors, never from its own or a higher one.
In a folder whose files share a floor, the second number orders its one shared base below them
and its door (``__init__``) above them; between folders that number says nothing.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "lstmkit"

BASE, FILE, DOOR = 0, 1, 2

FLOORS: dict[str, tuple[int, int]] = {
    "textbook": (0, FILE),
    "shapes": (0, FILE),
    "_native": (0, FILE),  # the extension, made from native/; its .pyi is the type checker's
    "losses": (0, FILE),
    "optimizers": (0, FILE),
    "cell": (1, FILE),
    "store": (1, FILE),
    "stream": (1, FILE),
    "corpus": (1, FILE),
    "sampling": (1, FILE),
    "progress": (1, FILE),
    "tensorboard": (1, FILE),
    "interrupts": (1, FILE),
    "naming": (1, FILE),
    "run": (2, FILE),
    "conventions": (2, FILE),
    "datasets": (2, FILE),
    "engine.activations": (2, BASE),
    "engine.base": (2, BASE),
    "engine.masks": (2, FILE),
    "engine.numpy_twin": (2, FILE),
    "engine.native_twin": (2, FILE),
    "engine.packing": (2, FILE),
    "engine": (2, DOOR),
    "layers.stack": (3, BASE),
    "layers.feedforward": (3, FILE),
    "layers.lstm": (3, FILE),
    "layers.inference": (3, FILE),
    "layers.recurrent": (3, 2),
    "layers.links": (3, 3),
    "layers.sequential": (3, 4),
    "layers": (3, 5),
    "basic_rnn": (3, FILE),
    "data": (3, FILE),
    "training": (3, FILE),
    "formats.base": (4, BASE),
    "formats.pickles": (4, BASE),
    "formats.onnx.protobuf": (4, 0),
    "formats.onnx.node": (4, 0),
    "formats.onnx.tensors": (4, 1),
    "formats.onnx.graph": (4, 2),
    "formats.onnx.operators": (4, 3),
    "formats.onnx.runtime": (4, 4),
    "formats.onnx": (4, 8),
    "formats.pytorch": (4, DOOR),
    "formats.keras": (4, 3),
    "formats.onnx.claim": (4, 1),
    "formats.onnx.build": (4, 2),
    "formats.onnx.steps": (4, 3),
    "formats.onnx.writer": (4, 4),
    "formats.onnx.ours": (4, 5),
    "formats.zips": (4, BASE),
    "formats.infile": (4, BASE),
    "formats.statedicts": (4, BASE),
    "formats.torchfiles": (4, FILE),
    "formats.safefiles": (4, FILE),
    "formats.detect": (4, FILE),
    "formats.peers": (4, 8),
    "formats.keras.config": (4, BASE),
    "formats.keras.hdf5": (4, BASE),
    "formats.keras.archive": (4, FILE),
    "formats.keras.translate": (4, FILE),
    "formats.keras.weights": (4, FILE),
    "formats.keras.writer": (4, FILE),
    "formats.keras.guess": (4, 2),
    "formats.onnx.axes": (4, 0),
    "formats.onnx.links": (4, 2),
    "formats.onnx.walk": (4, 5),
    "formats.onnx.rules": (4, 6),
    "formats.onnx.reader": (4, 7),
    "formats": (4, 9),
    "tasks.text": (5, BASE),
    "tasks.metrics": (5, BASE),
    "tasks.baselines": (5, 3),
    "tasks.scores": (5, 2),
    "tasks.backtest": (5, 4),
    "tasks.parameters": (5, BASE),
    "tasks.remembered": (5, 4),
    "tasks.fitted_forecaster": (5, 5),
    "tasks.forecaster": (5, 6),
    "tasks.transforms": (5, BASE),
    "tasks.zones": (5, BASE),
    "tasks.forms": (5, -1),  # below the base of the tables, which is columns
    "tasks.moments": (5, -1),  # below the base of the times, which is steps
    "tasks.steps": (5, BASE),
    "tasks.timeline": (5, FILE),
    "tasks.columns": (5, BASE),
    "tasks.frames": (5, FILE),
    "tasks.tsfile": (5, BASE),
    "tasks.tables": (5, 2),
    "tasks.rows": (5, 2),
    "tasks.panel": (5, 3),
    "tasks.language_model": (5, FILE),
    "tasks.summaries": (5, BASE),
    "tasks.labelled": (5, 3),
    "tasks.ridge": (5, BASE),
    "tasks.intervals": (5, BASE),
    "tasks.horizon_windows": (5, BASE),
    "tasks.horizon_network": (5, 1),
    "tasks.horizon_choice": (5, 1),
    "tasks.horizon": (5, 2),
    "tasks.adapting": (5, BASE),
    "tasks.aeon": (5, 8),  # adapters: they alone import aeon and sktime, and nobody imports them
    "tasks.sktime": (5, 8),
    "tasks": (5, 9),
    "tasks.sequences": (5, BASE),
    "tasks.scaling": (5, BASE),
    "tasks.targets": (5, BASE),
    "tasks.network": (5, 2),
    "tasks.streaming": (5, FILE),
    "tasks.fitted": (5, 3),
    "tasks.stored": (5, 4),
    "tasks.estimator": (5, 5),
    "tasks.classifier": (5, 6),
    "tasks.regressor": (5, 6),
    "tasks.tagger": (5, 6),
    "flow": (6, FILE),
    "loading": (6, FILE),
    "__init__": (6, DOOR),  # the public names: above all that they name, below the leaves
    "plots.base": (7, BASE),
    "plots.parts": (7, BASE),
    "plots.curves": (7, FILE),
    "plots.inside": (7, FILE),
    "plots.forecasts": (7, FILE),
    "plots.labels": (7, FILE),
    "plots.series": (7, FILE),
    "plots": (7, DOOR),
    "demo": (7, FILE),
    "converting": (7, FILE),
    "showing": (7, FILE),
    "explorer.rnn": (7, BASE),
    "explorer.export": (7, FILE),
    "explorer": (7, DOOR),
    # The lesson's files build on each other: their rooms are numbered from the bottom up.
    "lesson.adding": (7, 0),
    "lesson.child": (7, 0),  # a script too: the learner's process
    "lesson.exercises": (7, 0),
    "lesson.measured": (7, 0),
    "lesson.mutants": (7, 0),
    "lesson.program": (7, 0),
    "lesson.report": (7, 0),
    "lesson.tiny": (7, 0),
    "lesson.backward": (7, 1),
    "lesson.cases": (7, 1),
    "lesson.compare": (7, 1),
    "lesson.laboratory": (7, 1),
    "lesson.record": (7, 1),
    "lesson.source": (7, 1),
    "lesson.styles": (7, 1),
    "lesson.notebook": (7, 2),
    "lesson.programs": (7, 2),
    "lesson.roles": (7, 2),
    "lesson.runner": (7, 2),
    "lesson.calls": (7, 3),
    "lesson.batches": (7, 4),
    "lesson.gradients": (7, 5),
    "lesson.output": (7, 5),
    "lesson.sequences": (7, 5),
    "lesson.steps": (7, 5),
    "lesson.checker": (7, 6),
    "lesson.grading": (7, 7),
    "lesson.strength": (7, 7),
    "lesson.watch": (7, 7),
    "lesson.session": (7, 8),
    "lesson": (7, 9),
    "usage": (8, FILE),
    "formats_cli": (8, FILE),
    "tasks_cli": (8, FILE),
    "lesson_cli": (8, FILE),  # commands that cli.py mounts
    "cli": (9, FILE),
    "__main__": (10, FILE),  # python -m lstmkit
}

# What may be imported when a module is loaded, beside Python's own library ...
AT_THE_TOP = {"numpy", "safetensors"}
AT_THE_TOP_OF = {
    "textbook": {"numpy"},
    "cli": {"numpy", "safetensors", "typer", "rich"},
    "formats_cli": {"typer"},
    "lesson_cli": {"numpy", "typer"},
    "tasks_cli": {"numpy", "typer"},
    "tasks.aeon": {"numpy", "aeon"},
    "tasks.sktime": {"numpy", "pandas", "sktime"},
}
# ... and inside a function, when it is called (or for the type checker alone).
INSIDE_A_FUNCTION_OF = {
    "progress": {"rich"},
    "showing": {"rich"},
    "tensorboard": {"tensorboardX"},
    "tasks.summaries": {"sklearn"},
    "cli": {"typer", "rich"},
    "plots.base": {"matplotlib"},
    "plots.curves": {"matplotlib"},  # for the type checker alone
    "plots.forecasts": {"matplotlib"},
    "plots.labels": {"matplotlib"},
    "plots.series": {"matplotlib"},
    "plots.inside": {"matplotlib"},
    "lesson.report": {"rich"},
    "tasks.sequences": {"narwhals"},
    "tasks.fitted": {"sklearn"},
    "formats.keras.writer": {"h5py"},
    "tasks.baselines": {"sklearn"},  # by import_module: it has no types
    "tasks.fitted_forecaster": {"sklearn"},
    "tasks.frames": {"narwhals"},
    "tasks.tables": {"polars"},
    "formats.onnx.build": {"onnx"},
    "formats.onnx.graph": {"onnx"},
    "formats.onnx.runtime": {"onnx"},
}


FOLDERS = {module.split(".")[0] for module in FLOORS if "." in module}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


def imports(tree: ast.Module, module: str) -> Iterator[tuple[int, str, bool]]:
    """Give (line, absolute dotted name, whether it waits for a call) for every import."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name, lazy
            elif isinstance(child, ast.ImportFrom):
                origin = child.module or ""
                if child.level:
                    package = ["lstmkit", *module.split(".")]
                    if module not in FOLDERS:
                        package.pop()
                    package = package[: len(package) - (child.level - 1)]
                    origin = ".".join([*package, origin] if origin else package)
                for alias in child.names:
                    yield child.lineno, f"{origin}.{alias.name}", lazy
            else:
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
                called = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, lazy or typing_only or called)

    return visit(tree, False)


def own_module(dotted: str) -> str:
    """Find the module of ours that ``lstmkit.a.b.name`` comes from: the longest known prefix."""
    parts = dotted.split(".")[1:]
    while parts:
        if ".".join(parts) in FLOORS:
            return ".".join(parts)
        parts.pop()
    return "__init__"


def folder(module: str) -> str | None:
    first = module.split(".")[0]
    return first if first in FOLDERS else None


ADAPTERS = {"tasks.aeon", "tasks.sktime"}  # who imports one needs the library that it adapts to


def points_downward(module: str, target: str) -> bool:
    if target in ADAPTERS:
        return False
    if target == "shapes":  # the one voice for errors: every floor may use it
        return module not in ("textbook", "shapes")
    (floor, room), (target_floor, target_room) = FLOORS[module], FLOORS[target]
    if floor == target_floor and folder(module) is not None and folder(module) == folder(target):
        return room > target_room
    if "__init__" in (module, target):
        return (floor, room) > (target_floor, target_room)
    return floor > target_floor


def violations(source: str, module: str) -> list[str]:
    """Say, a line each, which imports of a module's source break the house's rules."""
    if module not in FLOORS:
        return [
            f"{module}: stands on no floor; give it one in FLOORS of tests/test_layering.py "
            "(CONTRIBUTING.md shows the floors)"
        ]
    found = []
    for line, dotted, lazy in imports(ast.parse(source), module):
        origin = dotted.split(".")[0]
        if origin == "lstmkit":
            target = own_module(dotted)
            if not points_downward(module, target):
                found.append(
                    f"{module}:{line}: imports {target} (floor {FLOORS[target][0]}) but stands on "
                    f"floor {FLOORS[module][0]} itself; imports point strictly downward"
                )
        elif origin not in sys.stdlib_module_names:
            allowed = AT_THE_TOP_OF.get(module, AT_THE_TOP)
            if lazy:
                allowed = allowed | INSIDE_A_FUNCTION_OF.get(module, set())
            if origin not in allowed:
                where = "anywhere" if lazy else "when it is loaded"
                found.append(
                    f"{module}:{line}: imports {origin}, which it may not do {where}; "
                    f"allowed here: {', '.join(sorted(allowed))}"
                )
    return list(dict.fromkeys(found))  # one line a statement, however many names it imports


def test_every_import_points_downward():
    found = [
        violation
        for path in sorted(SOURCE.rglob("*.py"))
        for violation in violations(path.read_text(encoding="utf-8"), module_name(path))
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_plan_names_no_module_that_is_gone():
    modules = {module_name(path) for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi")]}
    assert set(FLOORS) <= modules, f"remove from FLOORS: {sorted(set(FLOORS) - modules)}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cell", "from lstmkit.layers import LSTM"),  # upward
        ("losses", "import lstmkit.optimizers"),  # the same floor
        ("losses", "def f():\n    from lstmkit import optimizers"),  # hidden in a function
        ("data", "from .training import train"),  # relative
        ("loading", "import lstmkit"),  # the public names stand above
        ("__init__", "from lstmkit.plots import learning_curve"),  # nothing imports a leaf
        ("plots", "from lstmkit.demo import main"),
        ("textbook", "from lstmkit.shapes import InputError"),  # NumPy alone
        ("textbook", "import safetensors"),
        ("engine.numpy_twin", "from lstmkit import engine"),  # the door is above the twins
        ("engine.numpy_twin", "from lstmkit.engine.packing import Packing"),  # side by side
        ("layers", "import typer"),
        ("progress", "import rich"),  # at the top
        ("plots.base", "import matplotlib"),
        ("training", "def f():\n    import matplotlib"),
        ("tasks", "def f():\n    import lstmkit.tasks.aeon"),  # the adapters stand alone
        ("loading", "from lstmkit.tasks import sktime"),
        ("tasks.language_model", "def f():\n    import aeon"),
        ("brand_new", "import numpy"),  # no floor yet
    ],
)
def test_a_broken_rule_is_found(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("losses", "import math\nimport numpy as np\nfrom lstmkit.shapes import Array"),
        ("layers", "from lstmkit.cell import Cell\nfrom lstmkit import engine, stream"),
        ("engine", "from lstmkit.engine import numpy_twin\nfrom . import numpy_twin"),
        ("demo", "import lstmkit as lk\nfrom lstmkit.progress import Progress"),
        ("progress", "def f():\n    from rich.progress import Progress"),
        (
            "plots.base",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib",
        ),
    ],
)
def test_a_kept_rule_is_left_alone(module, source):
    assert violations(source, module) == []
