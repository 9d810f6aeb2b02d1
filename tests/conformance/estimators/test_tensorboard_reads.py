"""TensorBoard itself reads the curves of a run, resumed or not, as the log has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lstmkit import tensorboard
from lstmkit.tasks.language_model import LanguageModel

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of TensorBoard's own code
]
SETTINGS = {"batch_size": 4, "sequence_length": 8, "report_every": 4, "validate_every": 6}


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def logged(path: Path) -> dict[str, list[tuple[int, float]]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        name: [(line["step"], float(np.float32(line[name]))) for line in lines if name in line]
        for name in tensorboard.CURVES
    }


def test_tensorboard_shows_the_log(tmp_path):
    files = {
        "checkpoint": tmp_path / "c",
        "metrics": tmp_path / "m",
        "tensorboard": tmp_path / "board",
    }
    text = "the cat sat on the mat\n" * 40
    for steps, resume in ((14, False), (24, True)):
        model = LanguageModel(8, seed=0)
        model.fit(text, validation=0.2, steps=steps, resume=resume, **files, **SETTINGS)
        assert read(tmp_path / "board") == logged(tmp_path / "m")
    assert len(list((tmp_path / "board").iterdir())) == 2
    assert [step for step, _ in logged(tmp_path / "m")["loss"]] == [4, 6, 8, 12, 16, 18, 20, 24]
    # A new run in the same folder: nothing of the old one is left.
    LanguageModel(8, seed=1).fit(text, validation=0.2, steps=8, **files, **SETTINGS)
    assert read(tmp_path / "board") == logged(tmp_path / "m")
