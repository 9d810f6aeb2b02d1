"""What every test shares: which package is under test, and repeatable random cases."""

from __future__ import annotations

import functools
import signal
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from hypothesis import settings

import lstmkit as lk
from lstmkit import engine

# The same cases on every run and every machine: a failure today is a failure tomorrow. No deadline:
# a slow machine is not a wrong gradient.
settings.register_profile("lstmkit", derandomize=True, deadline=None)
settings.load_profile("lstmkit")

# A shell starts what it puts into the background with Ctrl-C ignored, and so it would be in every
# process that a test starts; the tests of Ctrl-C are to pass there too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# typer's runner reads the whole command line anew for every call, which takes 0.05 s.
typer.testing._get_command = functools.cache(typer.testing._get_command)


def pytest_report_header() -> str:
    folder = Path(lk.__file__).parent
    return f"lstmkit {lk.__version__} ({lk.backend()}) with numpy {np.__version__}, from {folder}"


@pytest.fixture(params=["numpy"] if engine.native is None else ["numpy", "native"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on each twin of the engine: the readable one and, where it is built, the fast."""
    if request.param == "numpy":
        monkeypatch.setattr(engine, "native", None)
    return str(request.param)
