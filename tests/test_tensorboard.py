"""What a run writes for TensorBoard: its log, as curves."""

from __future__ import annotations

import errno
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmkit import losses, optimizers, tensorboard, training
from lstmkit.data import TextStreams
from lstmkit.layers import Embedding, Linear, Sequential
from lstmkit.shapes import InputError

START = 1  # SessionLog.START


class Chain:
    """The smallest thing that trains: the next token from this one."""

    def __init__(self) -> None:
        self.layers = Sequential({"a": Embedding(4, 3, seed=0), "b": Linear(3, 4, seed=1)})
        self.parameters = self.layers.parameters

    def __call__(self, inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None):
        return self.layers(inputs)[0], None

    def forward(self, inputs: Any, state=None, lengths=None, reset=None, rng=None):
        x, a = self.layers.layers["a"].forward(inputs)
        y, b = self.layers.layers["b"].forward(x)
        return y, None, (a, b)

    def backward(self, tape: Any, dy: Any):
        dx, b = self.layers.layers["b"].backward(tape[1], dy)
        a = self.layers.layers["a"].backward(tape[0], dx)
        return {f"a.{k}": v for k, v in a.items()} | {f"b.{k}": v for k, v in b.items()}


def streams() -> TextStreams:
    return TextStreams(np.arange(80) % 4, 2, 5)


def train(folder: Path, steps: int, **changes: Any) -> training.TrainingResult:
    settings: dict[str, Any] = {
        "optimizer": optimizers.adam(),
        "learning_rate": optimizers.cosine(0.05, 40, warmup=5),
        "validation": streams(),
        "validate_every": 6,
        "report_every": 4,
        "checkpoint": folder / "c",
        "metrics": folder / "m",
        "tensorboard": folder / "board",
    }
    return training.train(
        Chain(), streams(), losses.cross_entropy, steps=steps, **settings | changes
    )


def events(folder: Path) -> list[list[Any]]:
    """The events of a folder's files, in the order in which TensorBoard reads them."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def checked(data: bytes, check: bytes) -> bytes:
        crc = crc32c(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert struct.unpack("<I", check) == (masked,)
        return data

    found = []
    for path in sorted(folder.iterdir()):
        data, here = path.read_bytes(), []
        while data:
            (size,) = struct.unpack("<Q", checked(data[:8], data[8:12]))
            here.append(Event.FromString(checked(data[12 : 12 + size], data[12 + size :][:4])))
            data = data[16 + size :]
        found.append(here)
    return found


def curves(sitting: list[Any]) -> list[dict[str, float]]:
    return [
        {"step": event.step} | {value.tag: value.simple_value for value in event.summary.value}
        for event in sitting
        if event.summary.value
    ]


def wanted(path: Path) -> list[dict[str, float]]:
    """Say what the log's lines hold of it, in the float32 of the event files."""
    names = ("step", *tensorboard.CURVES)
    lines = map(json.loads, path.read_text().splitlines())
    return [{k: float(np.float32(line[k])) for k in names if k in line} for line in lines]


def test_the_curves_are_those_of_the_log(tmp_path):
    train(tmp_path, 14)
    (sitting,) = events(tmp_path / "board")
    assert sitting[0].file_version == "brain.Event:2"
    assert (sitting[1].session_log.status, sitting[1].step) == (START, 0)
    assert curves(sitting) == wanted(tmp_path / "m")
    assert [line["step"] for line in curves(sitting)] == [4, 6, 8, 12, 14]
    assert [line["step"] for line in curves(sitting) if "validation_loss" in line] == [6, 12]
    assert sitting[-1].wall_time >= sitting[0].wall_time > 1.7e9


def test_a_resumed_run_goes_on_in_a_second_file(tmp_path):
    """What came after the checkpoint is forgotten, as in the log; together they are the log."""
    train(tmp_path, 14)
    first = curves(events(tmp_path / "board")[0])
    train(tmp_path, 24, resume=True)
    before, after = events(tmp_path / "board")
    assert curves(before) == first
    assert (after[1].session_log.status, after[1].step) == (
        START,
        13,
    )  # as in the log: 14 is redone
    kept = [line for line in first if line["step"] < 13]
    assert kept + curves(after) == wanted(tmp_path / "m")


def test_a_new_run_takes_the_place_of_the_old_one(tmp_path):
    train(tmp_path, 14)
    train(tmp_path, 14)
    assert events(tmp_path / "board")[1][1].step == 0
    assert events(tmp_path / "board")[1][1].session_log.status == START


def test_lines_are_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "FLUSH_SECONDS", 0.0)
    with tensorboard.EventFile(tmp_path / "deep" / "board", None) as file:
        file.write({"step": 7, "loss": 0.5, "bits": 1.0, "elapsed": 2.0})
        assert curves(events(tmp_path / "deep" / "board")[0]) == [{"step": 7, "loss": 0.5}]


def test_without_tensorboardx_the_error_names_the_extra_and_nothing_is_touched(
    tmp_path, monkeypatch
):
    train(tmp_path, 2, tensorboard=None)
    before = (tmp_path / "m").read_text()
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r'pip install "lstmkit\[tensorboard\]"'):
        train(tmp_path, 2)
    assert (tmp_path / "m").read_text() == before


def test_a_folder_that_cannot_be_made_is_told_before_the_first_step(tmp_path):
    (tmp_path / "board").write_text("a file")
    with pytest.raises(FileExistsError) as caught:
        train(tmp_path, 2)
    assert caught.value.filename == str(tmp_path / "board")
    assert not (tmp_path / "c").exists()


def test_a_full_disk_is_an_error_and_no_waiting(tmp_path, monkeypatch):
    file = tensorboard.EventFile(tmp_path / "board", None)

    def full(event: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file._writer, "write_event", full)
    with pytest.raises(OSError, match="No space left") as caught, file:
        file.write({"step": 1, "loss": 0.5})
    assert caught.value.filename == str(tmp_path / "board")
