"""The repository keeps its word: every example runs, one version, no traces of one machine."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import lstmkit as lk

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lstmkit"
PACKAGE = Path(lk.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What an example asks of its reader's machine: a text of their own, and more time than a test has.
MY_TEXT = "def add(a, b):\n    return a + b\n\n\n" * 400
SHORTER = {"seconds=60": "seconds=1", "horizon=12,": "horizon=12, members=1, epochs=2,"}

# They import the library that they adapt to, so their examples run in tests/conformance.
ADAPTERS = {"lstmkit.tasks.aeon", "lstmkit.tasks.sktime"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", read(page), flags=re.MULTILINE | re.DOTALL)


def modules() -> list[str]:
    names = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["lstmkit", *path.relative_to(SOURCE).with_suffix("").parts]
        if parts[-1] == "__main__":  # importing it would run the command line
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name not in ADAPTERS]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name):
    """Of the package that `import lstmkit` finds, so an installed copy is never loaded twice."""
    if name == "lstmkit.engine.native_twin":
        pytest.importorskip("lstmkit._native", reason="the native engine is not installed")
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    """The README's stand alone, each can be copied; the others' follow one another."""
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(MY_TEXT, encoding="utf-8")
    names: dict[str, object] = {}
    for number, example in enumerate(examples(page), 1):
        for long, short in SHORTER.items():
            example = example.replace(long, short)
        if page.name == "README.md":
            names = {}
        exec(compile(example, f"{page.name}, example {number}", "exec"), names)


def test_the_readme_has_an_example_for_each_of_the_three_people():
    readme = read(ROOT / "README.md")
    for person in ("learner", "practitioner", "engineer"):
        assert person in readme
    assert len(examples(ROOT / "README.md")) == 3
    assert all(len(e.strip().splitlines()) <= 12 for e in examples(ROOT / "README.md"))


def test_the_readme_gives_the_two_commands():
    commands = re.findall(r"^pip install .*", read(ROOT / "README.md"), flags=re.MULTILINE)
    assert [command.split("#")[0].strip() for command in commands] == [
        'pip install ".[plots]" && lstmkit demo',
        'pip install ".[test]" && pytest',
    ]


def test_the_tested_package_is_this_source():
    stale = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted([*SOURCE.rglob("*.py"), SOURCE / "py.typed"])
        if not (copy := PACKAGE / path.relative_to(SOURCE)).exists()
        or copy.read_bytes() != path.read_bytes()
    ]
    assert not stale, (
        f"the installed lstmkit in {PACKAGE} is not this source: {', '.join(stale)}; "
        'install it again, or once and for all with pip install -e ".[dev]"'
    )


def test_one_version():
    declared = re.search(r'^version = "(.+)"$', read(ROOT / "pyproject.toml"), flags=re.MULTILINE)
    newest = re.search(r"^## \[(\d.*?)\]", read(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)
    assert declared is not None
    assert newest is not None
    assert lk.__version__ == declared[1] == newest[1]


def test_type_hints_are_shipped():
    assert (PACKAGE / "py.typed").is_file()


# Written in pieces, so that this file does not hold what it looks for.
TRACES = {
    "a path of one machine": r"(?<![\w.])/(?:home|root|Users|work|opt)/\w",
    "a package host": r"py" + r"pi\.(?:org|python)|python" + r"hosted|files\.pyth" + r"onhosted",
}


@pytest.mark.parametrize("trace", TRACES)
def test_no_trace_of_one_machine(trace):
    folders = ("src", "tests", "docs", "benchmarks", "experiments", ".ci")
    files = [path for name in folders for path in sorted((ROOT / name).rglob("*"))]
    files += sorted(
        path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".py", ".yaml"}
    )
    built = {ROOT / "docs" / "_build", ROOT / "docs" / "api"}
    found = []
    for path in files:
        if not path.is_file() or path.suffix in {".pyc", ".png", ".npz", ".so"}:
            continue
        if built & set(path.parents):
            continue
        text = path.read_bytes().decode("latin-1")  # fixtures of other programs are no text
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(TRACES[trace], line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, f"{trace}:\n" + "\n".join(found)
