"""Pictures as matplotlib figures: of a run, and of what is inside a model.

`save` writes a figure to a PNG. Where a figure asks for a model it takes an `lstmkit.LSTM` or the
parameters of `lstmkit.textbook`'s LSTM, a learner's own: ``Wf Wi WC Wo`` and ``bf bi bC bo``.
matplotlib is imported when the first figure is drawn.
"""

from lstmkit.plots.base import save
from lstmkit.plots.curves import error_curves, learning_curve
from lstmkit.plots.inside import gate_histograms, gates_over_time, gradient_flow, weight_histograms

__all__ = [
    "error_curves",
    "gate_histograms",
    "gates_over_time",
    "gradient_flow",
    "learning_curve",
    "save",
    "weight_histograms",
]
