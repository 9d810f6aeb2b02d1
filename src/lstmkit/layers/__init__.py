"""Layers: each a ``forward`` beside its exact ``backward``; and chains of them, for inference."""

from lstmkit.layers.feedforward import Dropout, Embedding, Linear
from lstmkit.layers.inference import Activation, LastStep, Masking, Pooling
from lstmkit.layers.lstm import LSTM, Trace
from lstmkit.layers.recurrent import Bidirectional, Recurrent
from lstmkit.layers.sequential import Sequential

__all__ = [
    "LSTM",
    "Activation",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "LastStep",
    "Linear",
    "Masking",
    "Pooling",
    "Recurrent",
    "Sequential",
    "Trace",
]
