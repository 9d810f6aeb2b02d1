"""Valid small files of every format, made here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.numpy

import lstmkit as lk
from lstmkit.formats import keras, onnx, pytorch

FIXTURES = Path(__file__).parents[1] / "fixtures"
VARIANTS = (
    {},
    {"num_layers": 2, "bidirectional": True, "dtype": "float64"},
    {"proj_size": 2, "peepholes": True, "learn_initial_state": True},
    {"coupled_gates": True, "gate_clip": 3.0, "activations": ("hard_sigmoid", "relu", "tanh")},
    {"layer_norm": True, "cell_clip": 2.0, "bias": False},
)


def lstms() -> list[lk.LSTM]:
    """Small LSTMs, and one that is large beside everything else in its file."""
    return [lk.LSTM(2, 3, seed=0, **options) for options in VARIANTS] + [lk.LSTM(64, 96, seed=0)]


def chains() -> list[lk.Sequential]:
    """Small models of several layers."""
    both = lk.LSTM(4, 3, bidirectional=True, seed=1)
    text = {"mask": lk.Masking(0), "embedding": lk.Embedding(7, 4, seed=0), "lstm": both}
    head = {"head": lk.Linear(6, 2, seed=2), "out": lk.Activation("softmax")}
    back = lk.Recurrent(lk.LSTM(2, 3, seed=3), backwards=True, turned=True, last=True)
    return [lk.Sequential({**text, **head}), lk.Sequential({"back": back})]


def own(folder: Path) -> list[bytes]:
    """Write files of `LSTM.save`, `Sequential.save` and `LanguageModel.save`."""
    path = folder / "own.safetensors"
    found = []
    language = lk.LanguageModel(4, seed=0).fit(
        "abcabc" * 20, steps=2, batch_size=2, sequence_length=5
    )
    for model in (*lstms(), *chains(), language):
        model.save(path)
        found.append(path.read_bytes())
    return found


def snapshots(folder: Path) -> list[bytes]:
    """Take snapshots of one stream, and of others."""
    found = []
    for options, rows in (({}, 2), ({}, 3), ({"dtype": "float64"}, 2)):
        stream = lk.LSTM(3, 4, 2, seed=0, **options).stream(batch_size=rows)
        stream.step(np.ones((rows, 3)))
        found.append(stream.snapshot())
    return found


def state_dicts(folder: Path) -> list[bytes]:
    """Write PyTorch's zip files, and take those that PyTorch wrote."""
    found = _saved(pytorch.save, [lk.LSTM(2, 3, seed=0), lk.LSTM(64, 96, seed=0)], folder / "a.pt")
    return found + _fixtures("pytorch/*.pt")


def safe_dicts(folder: Path) -> list[bytes]:
    """Write state dicts as safetensors, as other programs do."""
    found = []
    for model in lstms()[:3]:
        data = safetensors.numpy.save(model.parameters)
        found += [data, safetensors.numpy.save(model.parameters, {"format": "pt"})]
    return found + [data for data in _fixtures("pytorch/*.safetensors") if b"lstmkit" not in data]


def graphs(folder: Path) -> list[bytes]:
    """Write ONNX files of every model of ours that has one."""
    return _saved(onnx.save, [*lstms(), *chains()], folder / "a.onnx") + _fixtures("onnx/*.onnx")


def archives(folder: Path) -> list[bytes]:
    """Write Keras's zip files."""
    plain = lk.Sequential({"lstm": lk.LSTM(2, 3, seed=0)})
    models = [plain, *chains(), lk.Sequential({"lstm": lk.LSTM(64, 96, seed=0)})]
    return _saved(keras.save, models, folder / "a.keras") + _fixtures("keras/*.keras")


def trees(folder: Path) -> list[bytes]:
    """Take the weights alone out of Keras's zip files, and write older files with a config."""
    found = []
    for data in archives(folder):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            found.append(opened.read("model.weights.h5"))
            config = opened.read("config.json")
        path = folder / "old.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config
            file.attrs["keras_version"] = b"2.15.0"
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [b"lstm"]
            lstm = group.create_group("lstm")
            names = ["lstm/cell/kernel:0", "lstm/cell/recurrent_kernel:0", "lstm/cell/bias:0"]
            lstm.attrs["weight_names"] = [name.encode() for name in names]
            for name, shape in zip(names, ((2, 12), (3, 12), (12,)), strict=True):
                lstm.create_dataset(name, data=np.ones(shape, np.float32))
        found.append(path.read_bytes())
    return found + _fixtures("keras/*.h5")


def _saved(save: Callable[..., None], models: list[Any], path: Path) -> list[bytes]:
    """Write the models that the format can hold."""
    found = []
    for model in models:
        with suppress(lk.InputError):
            save(model, path)
            found.append(path.read_bytes())
    return found


def _fixtures(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(FIXTURES.glob(pattern))]
