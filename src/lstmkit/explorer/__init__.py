"""A page that shows an LSTM at work, live in the browser: `explore` writes it, one file alone."""

from lstmkit.explorer.export import LONGEST, explore
from lstmkit.explorer.rnn import RNNLanguageModel

__all__ = ["LONGEST", "RNNLanguageModel", "explore"]
