"""Models for a task: a network, what its numbers mean, and its training in one object.

Each is loaded when it is asked for: who classifies does not wait for what forecasts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmkit.tasks.classifier import SequenceClassifier
    from lstmkit.tasks.forecaster import Forecaster
    from lstmkit.tasks.language_model import LanguageModel
    from lstmkit.tasks.regressor import SequenceRegressor
    from lstmkit.tasks.tagger import SequenceTagger

__all__ = [
    "Forecaster",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
]

_FILES = {
    "Forecaster": "forecaster",
    "LanguageModel": "language_model",
    "SequenceClassifier": "classifier",
    "SequenceRegressor": "regressor",
    "SequenceTagger": "tagger",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"lstmkit.tasks.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
