"""lstmkit: the whole LSTM in Python.

The LSTM as a lesson writes it is in `lstmkit.textbook`; the fast layer is `LSTM`; models of text
are `LanguageModel`; `load` opens what was saved.
"""

from lstmkit.engine import backend
from lstmkit.layers import LSTM, Dropout, Embedding, Linear

__version__ = "0.1.0"

__all__ = ["LSTM", "Dropout", "Embedding", "Linear", "backend"]
