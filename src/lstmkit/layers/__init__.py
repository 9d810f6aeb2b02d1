"""Layers: each a ``forward`` beside its exact ``backward``."""

from lstmkit.layers.feedforward import Dropout, Embedding, Linear
from lstmkit.layers.lstm import LSTM, Trace

__all__ = ["LSTM", "Dropout", "Embedding", "Linear", "Trace"]
