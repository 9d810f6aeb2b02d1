"""Where the other libraries are not installed, as for a plain `pytest`, nothing here is collected.

`nox -s conformance` installs them; if it collected nothing, it would fail. The folder estimators/
has libraries, and a session, of its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

LIBRARIES = ("torch", "onnx", "onnxruntime", "keras", "h5py")

collect_ignore_glob = [] if all(map(find_spec, LIBRARIES)) else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what the tests counted: a suite that ran nothing would pass as well."""
    reports = terminalreporter.stats.get("passed", [])
    lines = [line for report in reports for line in report.capstdout.splitlines() if line.strip()]
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
