"""lstmkit: the whole LSTM in Python.

The LSTM as a lesson writes it is in `lstmkit.textbook`; the layer to build with is `LSTM`; a model
of text is `LanguageModel`; `load` opens what was saved.
"""

from typing import TYPE_CHECKING, Any

from lstmkit.engine import backend, set_num_threads
from lstmkit.layers import (
    LSTM,
    Activation,
    Bidirectional,
    Dropout,
    Embedding,
    LastStep,
    Linear,
    Masking,
    Pooling,
    Recurrent,
    Sequential,
)
from lstmkit.loading import load
from lstmkit.shapes import InputError

if TYPE_CHECKING:
    from lstmkit.tasks import (
        Forecaster,
        LanguageModel,
        SequenceClassifier,
        SequenceRegressor,
        SequenceTagger,
    )
    from lstmkit.training import TrainingDiverged

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "Activation",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "Forecaster",
    "InputError",
    "LanguageModel",
    "LastStep",
    "Linear",
    "Masking",
    "Pooling",
    "Recurrent",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "Sequential",
    "TrainingDiverged",
    "backend",
    "load",
    "set_num_threads",
]


_TASKS = (
    "Forecaster",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
)


def __getattr__(name: str) -> Any:
    """Load what trains when it is asked for: who runs a model does not wait for it."""
    if name in _TASKS:
        from lstmkit import tasks

        return getattr(tasks, name)
    if name == "TrainingDiverged":
        from lstmkit.training import TrainingDiverged

        return TrainingDiverged
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
