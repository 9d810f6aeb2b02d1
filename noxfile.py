"""Every check of lstmkit, each in an environment of its own: ``nox -l`` lists them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import nox
from nox.project import load_toml

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]
PROJECT = load_toml("pyproject.toml")["project"]
EXTRAS = PROJECT["optional-dependencies"]

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "docs", "tests", "oldest", "pictureless", "package"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install(*[need for need in EXTRAS["dev"] if need.startswith("ruff")])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install(".[plots]", *[need for need in EXTRAS["dev"] if need.startswith("mypy")])
    session.run("mypy", "--strict", "src")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages; a warning is an error. They end in docs/_build/html."""
    session.install(".[docs,plots]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-E", "docs", "docs/_build/html")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests on one version of Python, with the newest of everything."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """The tests with the lowest version of everything that pyproject.toml allows."""
    lowest = [need.replace(">=", "==") for need in PROJECT["dependencies"] + EXTRAS["test"]]
    of_its_time = "pyparsing<3.3"  # newer ones warn of how that matplotlib uses them
    session.install(".", *lowest, of_its_time)
    session.run("pytest", *session.posargs)


@nox.session
def pictureless(session: nox.Session) -> None:
    """Without matplotlib everything but the pictures works, and the message names the extra."""
    session.install(".", *[need for need in EXTRAS["test"] if not need.startswith("matplotlib")])
    pictures = [
        "--deselect=tests/test_cli.py::test_training_leaves_a_folder_and_prints_the_figure",
        "--deselect=tests/test_cli.py::test_the_demo_does_the_main_job",
        "--ignore=tests/test_plots.py",
    ]
    session.run("pytest", *pictures, *session.posargs)
    session.run("pytest", "tests/test_plots.py", "-k", "without_matplotlib")
    folder = Path(session.create_tmp()) / "demo"
    shown = session.run("lstmkit", "demo", "--seconds", "10", "--output", str(folder), silent=True)
    session.log(shown)
    if 'pip install "lstmkit[plots]"' not in re.sub(r"\s+", " ", str(shown)):
        session.error("the demo did not say which extra draws the picture")
    if not (folder / "model.safetensors").is_file() or list(folder.glob("*.png")):
        session.error(f"unexpected folder: {sorted(path.name for path in folder.iterdir())}")


@nox.session
def gradients(session: nox.Session) -> None:
    """The long proofs: every gradient of hundreds of combinations of variants."""
    session.install(".[test]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Source archive and wheel hold what they should and nothing else, and the wheel runs."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve() / "dist"
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")

    source = Path("src")
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix in {".py", ".typed"}
    }
    with zipfile.ZipFile(wheel) as opened:
        shipped = {name for name in opened.namelist() if ".dist-info/" not in name}
        if not any(name.endswith("licenses/LICENSE") for name in opened.namelist()):
            session.error("the wheel has no licence")
    if shipped != expected:
        session.error(f"the wheel differs from src in {sorted(shipped ^ expected)}")

    # From the archive alone, as somebody who packages lstmkit would: install it and test it.
    unpacked = folder / "unpacked"
    session.run("python", "-m", "tarfile", "-e", str(archive), str(unpacked), silent=True)
    (root,) = unpacked.iterdir()
    names = {path.name for path in root.iterdir()}
    wanted = {"src", "tests", "docs", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"}
    if not wanted <= names or ".git" in names:
        session.error(f"the source archive holds {sorted(names)}")
    session.install(str(wheel))
    session.run("lstmkit", "--help", silent=True)
    with session.chdir(root):
        session.install(*EXTRAS["test"])
        session.run("pytest", "tests/test_project.py", "tests/test_textbook.py")
