"""Pictures as matplotlib figures: of a run, of what is inside a model, of forecasts and labels.

`save` writes a figure to a PNG. Where a figure of the inside asks for a model it takes an
`lstmkit.LSTM` or the parameters of `lstmkit.textbook`'s LSTM, a learner's own: ``Wf Wi WC Wo`` and
``bf bi bC bo``. matplotlib is imported when the first figure is drawn.
"""

from lstmkit.plots.base import save
from lstmkit.plots.curves import error_curves, learning_curve, training_curve
from lstmkit.plots.forecasts import backtest, forecast
from lstmkit.plots.inside import gate_histograms, gates_over_time, gradient_flow, weight_histograms
from lstmkit.plots.labels import confusion_matrix
from lstmkit.plots.series import gates_over_series

__all__ = [
    "backtest",
    "confusion_matrix",
    "error_curves",
    "forecast",
    "gate_histograms",
    "gates_over_series",
    "gates_over_time",
    "gradient_flow",
    "learning_curve",
    "save",
    "training_curve",
    "weight_histograms",
]
