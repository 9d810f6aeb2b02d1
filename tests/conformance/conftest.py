"""Where the other libraries are not installed, as for a plain `pytest`, nothing here is collected.

`nox -s conformance` installs them; if it collected nothing, it would fail. What is held against
one library alone needs that one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "onnx", "onnxruntime", "keras", "h5py")

ALONE = {
    "test_scikit_learn.py": ("sklearn", "pandas"),
    "test_aeon.py": ("aeon",),
    "test_sktime.py": ("sktime",),
}

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if not all(map(find_spec, ALONE.get(path.name, LIBRARIES)))
]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what the tests counted: a suite that ran nothing would pass as well."""
    reports = terminalreporter.stats.get("passed", [])
    lines = [line for report in reports for line in report.capstdout.splitlines() if line.strip()]
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
