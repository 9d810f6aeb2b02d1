"""The laboratory's page holds what was measured, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    path = ROOT / "experiments" / "laboratory.py"
    spec = importlib.util.spec_from_file_location("laboratory_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def numbers(script):
    return json.loads((script.FOLDER / "gradients.json").read_text(encoding="utf-8"))


def test_the_tables_and_the_lessons_figures_are_the_measured_numbers(script, numbers):
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.filled(page, numbers) == page, "run python experiments/laboratory.py --render"
    assert script.MEASURED.read_text(encoding="utf-8") == script.quoted(numbers)
    changed = json.loads(json.dumps(numbers))
    changed["adding"][0]["error"] = changed["adding"][1]["error"] = 0.0777
    assert script.filled(page, changed) != page
    assert script.quoted(changed) != script.quoted(numbers)


def test_every_picture_of_the_page_is_there(script):
    names = re.findall(r"\]\((laboratory/\S+\.png)\)", script.PAGE.read_text(encoding="utf-8"))
    assert len(names) == 6
    for name in names:
        assert (ROOT / "docs" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_rnn_fails_the_task_and_the_lstm_solves_it_in_every_seed(numbers):
    about = numbers["about"]
    assert about["length"] == 100
    of_lstm = [run["error"] for run in numbers["adding"] if run["network"] == "LSTM"]
    of_rnn = [run["error"] for run in numbers["adding"] if run["network"] == "basic RNN"]
    assert len(of_lstm) == about["seeds"] >= 3
    assert sum(run["seconds"] for run in numbers["adding"]) < 180
    assert max(of_lstm) <= about["solved"]
    assert min(of_rnn) > 0.9 * about["baseline"]
