"""Valid small files of every format, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lstmkit as lk

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
    language = lk.LanguageModel(4, seed=0).fit("abcabc" * 20, steps=2, batch_size=2, sequence_length=5)
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
