"""Every check of lstmkit, each in an environment of its own: ``nox -l`` lists them."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nox
from nox.project import load_toml

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]
STABLE_ABI = "3.12"  # the first Python whose wheel serves all later ones
PYPROJECT = load_toml("pyproject.toml")
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENGINE = [f"tests/test_{name}.py" for name in ("lstm", "lstm_gradients", "native", "stream")]
NATIVE = {"LSTMKIT_REQUIRE_NATIVE": "1"}
# What most tests need. The others of the extra `test` (data frames, scikit-learn) are 300 MB: a
# session that runs no test of the estimators goes without.
BASIC = [need for need in EXTRAS["test"] if re.match("pytest|hypothesis|matplotlib", need)]

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint",
    "types",
    "docs",
    "tests",
    "oldest",
    "lesson",
    "pictureless",
    "pure",
    "isa",
    "package",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install(*[need for need in EXTRAS["dev"] if need.startswith("ruff")])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    mypy = [need for need in EXTRAS["dev"] if need.startswith("mypy")]
    session.install(".[plots,onnx,keras,tasks,tensorboard]", *mypy)
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
    builders = [need.replace(">=", "==") for need in PYPROJECT["build-system"]["requires"]]
    session.install(*builders, "cmake==3.26.*", "ninja")  # CMakeLists.txt asks for that CMake
    lowest = [need.replace(">=", "==") for need in PROJECT["dependencies"] + EXTRAS["test"]]
    of_its_time = "pyparsing<3.3"  # newer ones warn of how that matplotlib uses them
    session.install("--no-build-isolation", ".", *lowest, of_its_time)
    session.run("pytest", *session.posargs)


@nox.session
def lesson(session: nox.Session) -> None:
    """What the quick tests leave out of the lesson and its checker: the many samples."""
    session.install(".", *BASIC)
    session.run("pytest", "-m", "lesson", "tests/lesson", *session.posargs)


@nox.session
@nox.parametrize("beside", ["files", "estimators"], ids=["files", "estimators"])
def conformance(session: nox.Session, beside: str) -> None:
    """Beside the libraries whose files we read or whose estimators we are, by their own suites.

    ``nox -s "conformance(files)"`` needs PyTorch, Keras and ONNX Runtime,
    ``nox -s "conformance(estimators)"`` scikit-learn, aeon, sktime and TensorBoard.
    """
    chosen, folder = ("-m", "conformance"), "tests/conformance"
    if beside == "estimators":
        session.install(".[test,conformance-estimators]")
        threads = {"OMP_NUM_THREADS": "1"}
        session.run("pytest", *chosen, f"{folder}/estimators", *session.posargs, env=threads)
    else:
        session.install(".[conformance]", *BASIC)
        threads = {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
        without = f"--ignore={folder}/estimators"
        session.run("pytest", *chosen, folder, without, *session.posargs, env=threads)


@nox.session
def mutations(session: nox.Session) -> None:
    """Defects written into the readers, the writers and the cell: a test must catch each."""
    session.install(".[conformance]", *BASIC)
    session.run("python", "tests/conformance/mutations.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Every reader on damaged and hostile files: a model or one clear error, and nothing else.

    5000 inputs each; ``nox -s fuzz -- --count 100000`` gives more, and
    ``nox -s fuzz -- onnx --first 4711 --count 1`` one of them again.
    """
    session.install(".[onnx,keras]", *BASIC)
    session.run("python", "tests/fuzz", *(session.posargs or ["--count", "5000"]))


@nox.session
def pictureless(session: nox.Session) -> None:
    """Without matplotlib everything but the pictures works, and the message names the extra."""
    session.install(".", *[need for need in EXTRAS["test"] if not need.startswith("matplotlib")])
    # What draws, or calls what draws; test_project.py imports every module.
    callers = [f"tests/test_{name}.py" for name in ("cli", "demo", "layering", "project")]
    pictures = [
        "tests/test_cli.py::test_training_leaves_a_folder_and_prints_the_figure",
        "tests/test_cli.py::test_the_demo_does_the_main_job",
        "tests/test_project.py::test_the_examples_of_a_page_run[laboratory.md]",
        "tests/test_project.py::test_the_examples_of_a_page_run[forecasting.md]",
    ]
    without = [f"--deselect={test}" for test in pictures]
    session.run("pytest", *callers, "tests/lesson", *without, *session.posargs)
    session.run("pytest", "tests/test_plots.py", "-k", "without_matplotlib")
    folder = Path(session.create_tmp()) / "demo"
    shown = session.run("lstmkit", "demo", "--seconds", "10", "--output", str(folder), silent=True)
    session.log(shown)
    if 'pip install "lstmkit[plots]"' not in re.sub(r"\s+", " ", str(shown)):
        session.error("the demo did not say which extra draws the picture")
    if not (folder / "model.safetensors").is_file() or list(folder.glob("*.png")):
        session.error(f"unexpected folder: {sorted(path.name for path in folder.iterdir())}")


@nox.session
def frameworkless(session: nox.Session) -> None:
    """NumPy and safetensors alone: PyTorch's checkpoints run, estimators learn and forecast."""
    needs = [need for need in PROJECT["dependencies"] if need.startswith(("numpy", "safetensors"))]
    session.install(*needs)
    session.install("--no-deps", ".")
    session.run("python", "tests/formats/alone.py", "--strict")


@nox.session(name="explorer")
def explorer_page(session: nox.Session) -> None:
    """The explorer's page: built again it is what is checked in, and it works in Chromium.

    Needs npm with Node 18 or newer, and Debian's chromium and chromium-driver. The pictures of
    every view end in the folder that LSTMKIT_SCREENSHOTS names.
    """
    for command, package in (
        ("npm", "nodejs npm"),
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
    ):
        if shutil.which(command) is None:
            session.error(f"needs {command}: apt-get install {package}")
    page = Path("src/lstmkit/explorer/page.html.gz")
    before = gzip.decompress(page.read_bytes())
    with session.chdir("web"):
        session.run("npm", "ci", external=True)
        session.run("npm", "run", "build", external=True)
    if gzip.decompress(page.read_bytes()) != before:
        session.error(f"{page} was out of date; it is built now: look at it and check it in")
    session.install(".", *BASIC, "selenium>=4.20")
    session.run("pytest", "-m", "browser", "tests/explorer", *session.posargs)


@nox.session
def notebook(session: nox.Session) -> None:
    """The lesson's notebook runs in Jupyter from top to bottom: empty, and with the solutions."""
    session.install(".[plots]", "nbclient", "ipykernel")
    session.run("python", "tests/lesson/notebook_in_jupyter.py")


@nox.session
def gradients(session: nox.Session) -> None:
    """The long proofs: every gradient of hundreds of combinations of variants."""
    session.install(".[test]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def strength(session: nox.Session) -> None:
    """The checker on every mistake in three conventions and on 60 correct programs."""
    session.install(".")
    session.run("lstmkit", "check", "--strength")


@nox.session
def pure(session: nox.Session) -> None:
    """Without a compiler lstmkit installs and NumPy computes; if that is not wanted, it fails."""
    folder = Path(session.create_tmp()).resolve()
    build = f"-Cbuild-dir={folder / 'build'}"
    blind = {"PATH": session.bin, "CC": None, "CXX": None, "LSTMKIT_REQUIRE_NATIVE": None}
    session.install(".[test]", build, env=blind)
    if "(numpy)" not in _output(session, "lstmkit", "--version", env=blind):
        session.error("without a compiler NumPy does not compute, or nothing says so")
    session.run("pytest", *session.posargs, env=blind)

    again = ("python", "-m", "pip", "install", "--no-deps", "--force-reinstall")
    shown = _refused(session, *again, ".", build, env={**blind, **NATIVE})
    if "the native engine needs a C++ compiler" not in shown:
        session.error(f"not the reason why an install without a compiler failed: {shown}")
    shown = _refused(session, "python", "-c", "import lstmkit", env={**blind, **NATIVE})
    if "the native engine is not installed" not in shown:
        session.error(f"not the reason why an import without the native engine failed: {shown}")

    broken = folder / "broken"
    for path in ("src", "native"):
        shutil.copytree(path, broken / path, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ("CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(path, broken)
    with (broken / "native" / "kernel.cpp").open("a") as kernel:
        kernel.write('static_assert(false, "broken on purpose");\n')
    shown = _refused(session, *again, str(broken), env={"LSTMKIT_REQUIRE_NATIVE": None})
    if "broken on purpose" not in shown:
        session.error(f"not the reason why an install of broken C++ failed: {shown}")


@nox.session
def isa(session: nox.Session) -> None:
    """The engine's tests on every instruction set that this machine has."""
    session.install(".", *BASIC, env=NATIVE)
    ask = "import lstmkit._native as native; print(*native.isas())"
    for name in _output(session, "python", "-c", ask).split():
        env = {**NATIVE, "LSTMKIT_ISA": name}
        if f"(native ({name}, " not in _output(session, "lstmkit", "--version", env=env):
            session.error(f"LSTMKIT_ISA does not choose {name}")
        session.run("pytest", *ENGINE, *session.posargs, env=env)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """The native engine's tests under AddressSanitizer and UndefinedBehaviorSanitizer of GCC."""
    build = Path(session.create_tmp()).resolve() / "build"
    flags = "-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    settings = {
        "build-dir": build,
        "cmake.build-type": "Sanitize",  # none of CMake's own: the flags are these
        "cmake.define.CMAKE_CXX_FLAGS": flags,
        "cmake.define.LSTMKIT_SELFTEST": "ON",
    }
    options = [f"-C{name}={value}" for name, value in settings.items()]
    session.install(".", *BASIC, *options, env={**NATIVE, "CXX": "g++"})
    session.run(str(build / "selftest"), external=True)
    # Python itself is built without them, so they must be there before it is.
    names = ("libasan.so", "libubsan.so", "libstdc++.so.6")
    asked = [["g++", f"-print-file-name={name}"] for name in names]
    paths = [subprocess.check_output(command, text=True).strip() for command in asked]
    # Python leaves much to the end of the process, which is no leak.
    env = {**NATIVE, "LD_PRELOAD": ":".join(paths), "ASAN_OPTIONS": "detect_leaks=0"}
    session.run("pytest", *ENGINE, *session.posargs, env=env)


@nox.session
def threads(session: nox.Session) -> None:
    """The native engine's threads under ThreadSanitizer of GCC."""
    flags = "-O1 -g1 -fsanitize=thread"
    selftest = _selftest(
        session,
        "-DCMAKE_CXX_COMPILER=g++",
        "-DCMAKE_BUILD_TYPE=Sanitize",
        f"-DCMAKE_CXX_FLAGS={flags}",
    )
    # A child of a busy parent may start threads here, which the sanitizer refuses by default.
    env = {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0"}
    session.run(selftest, "threads", "pool", external=True, env=env)


@nox.session
def arm64(session: nox.Session) -> None:
    """The native engine's self-test, cross-built for 64-bit ARM and run by an emulator."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        session.error("needs Debian's g++-aarch64-linux-gnu and qemu-user-static")
    selftest = _selftest(
        session,
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    session.run(emulator, selftest, external=True)


@nox.session(python=STABLE_ABI if shutil.which(f"python{STABLE_ABI}") else None)
def package(session: nox.Session) -> None:
    """Source archive and wheel hold what they should and nothing else, and the wheel runs."""
    session.install("build")
    tmp = Path(session.create_tmp()).resolve()
    folder, build = tmp / "dist", tmp / "build"
    make = ("python", "-m", "build")
    session.run(*make, "--outdir", str(folder), f"-Cbuild-dir={build}", env=NATIVE)
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")
    if session.python == STABLE_ABI and "-cp312-abi3-" not in wheel.name:
        session.error(f"{wheel.name} is not for every Python from {STABLE_ABI} on")

    source = Path("src")
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".pyi", ".typed", ".gz", ".json", ".md", ".csv"}
    }
    _check_wheel(session, wheel, expected, extensions=1)
    _check_objects(session, build)

    # Where the kernels cannot be built there is a wheel for every machine, without them.
    without = ("--wheel", "-Cwheel.cmake=false", "-Cwheel.py-api=py3")
    session.run(*make, "--outdir", str(tmp / "pure"), *without)
    (anywhere,) = (tmp / "pure").glob("*-py3-none-any.whl")
    _check_wheel(session, anywhere, expected, extensions=0)

    # From the archive alone, as somebody who packages lstmkit would: install it and test it.
    unpacked = folder / "unpacked"
    session.run("python", "-m", "tarfile", "-e", str(archive), str(unpacked), silent=True)
    (root,) = unpacked.iterdir()
    names = {path.name for path in root.iterdir()}
    wanted = {"src", "native", "tests", "docs", "README.md", "CHANGELOG.md", "LICENSE"}
    wanted |= {"CMakeLists.txt", "pyproject.toml"}
    if not wanted <= names or ".git" in names:
        session.error(f"the source archive holds {sorted(names)}")
    session.install(str(wheel))
    session.run("lstmkit", "--help", silent=True)
    with session.chdir(root):
        session.install(*EXTRAS["test"])
        chosen = ("tests/test_project.py", "tests/test_textbook.py", "tests/test_native.py")
        session.run("pytest", *chosen, env=NATIVE)

    later = shutil.which(f"python{PYTHONS[-1]}")
    if session.python == STABLE_ABI and later is not None:
        session.run(later, "-m", "venv", str(tmp / "later"), external=True)
        python = str(tmp / "later" / "bin" / "python")
        needs = (str(wheel), *BASIC)
        session.run(python, "-m", "pip", "install", *needs, external=True, silent=True)
        session.run(python, "-m", "pytest", "tests/test_native.py", external=True, env=NATIVE)


def _output(session: nox.Session, *command: str, env: dict[str, str | None] | None = None) -> str:
    """Run a command and return what it printed."""
    return str(session.run(*command, silent=True, env=env))


def _refused(session: nox.Session, *command: str, env: dict[str, str | None]) -> str:
    """Run a command that has to fail and return what it said, in one line."""
    shown = session.run(*command, silent=True, env=env, success_codes=[1])
    return re.sub(r"\s+", " ", str(shown))


def _selftest(session: nox.Session, *options: str) -> str:
    """Build native/selftest.cpp, where a warning is an error, and return its path."""
    session.install("cmake>=3.26", "ninja")
    build = Path(session.create_tmp()).resolve() / "build"
    strict = "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"
    options = ("-G", "Ninja", "-DLSTMKIT_SELFTEST=ON", strict, *options)
    session.run("cmake", "-S", ".", "-B", str(build), *options)
    session.run("cmake", "--build", str(build))
    return str(build / "selftest")


def _check_wheel(session: nox.Session, wheel: Path, expected: set[str], extensions: int) -> None:
    """Check that a wheel holds the sources, the extension and a licence, in less than 3 MB."""
    with zipfile.ZipFile(wheel) as opened:
        sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
    shipped = {name for name in sizes if ".dist-info/" not in name}
    native = {name for name in shipped if re.fullmatch(r"lstmkit/_native\..*(so|pyd)", name)}
    if shipped - native != expected:
        session.error(f"{wheel.name} differs from src in {sorted((shipped - native) ^ expected)}")
    if len(native) != extensions:
        session.error(f"{wheel.name} has the extensions {sorted(native)}; expected {extensions}")
    if not any(name.endswith("licenses/LICENSE") for name in sizes):
        session.error(f"{wheel.name} has no licence")
    total = sum(sizes.values())
    session.log(f"{wheel.name}: {total / 1e6:.2f} MB installed")
    if total >= 3e6:
        session.error(f"{wheel.name} installs {total} bytes; expected less than 3 MB")


def _check_objects(session: nox.Session, build: Path) -> None:
    """Check that the extension shows its entry alone, and that no code for every machine calls a
    copy of a template that was compiled for a wide instruction set.

    The linker keeps the first copy that it meets; the last are those of the wide kernels and then
    nanobind's.
    """
    if sys.platform != "linux":
        return

    def symbols(path: Path, kinds: str, *options: str) -> set[str]:
        shown = subprocess.check_output(["nm", *options, str(path)], text=True)
        lines = [line.split() for line in shown.splitlines() if line]
        return {line[-1] for line in lines if line[-2] in kinds}

    (extension,) = build.glob("_native.*")
    shown = symbols(extension, "TWVuBDRi", "--dynamic", "--defined-only")
    if shown != {"PyInit__native"}:
        session.error(f"{extension.name} shows {sorted(shown)}")

    objects = {path: path.parent.parent.name for path in build.rglob("*.o")}
    wide = [path for path in objects if objects[path] in {"kernels_avx2.dir", "kernels_avx512.dir"}]
    others = [path for path in objects if path not in wide]
    ours = [path for path in others if path.parent.name == "native"]
    called = set().union(*(symbols(path, "UW") for path in others))
    first = set().union(*(symbols(path, "TW") for path in ours))
    for path in wide:
        if risky := (symbols(path, "W") & called) - first:
            session.error(f"every machine would call {objects[path]}'s {sorted(risky)}")
