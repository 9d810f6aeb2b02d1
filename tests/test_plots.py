from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from lstmkit import plots
from lstmkit.plots.curves import _smooth
from lstmkit.shapes import InputError

LN2 = math.log(2)


def reports(count=100, validate=20):
    """A run that falls from 6 to about 2 bits."""
    for step in range(1, count + 1):
        report = {"step": step, "tokens": 2048 * step, "loss": LN2 * (2 + 4 * 0.95**step)}
        if step % validate == 0:
            report["validation_loss"] = LN2 * (2.5 + 4 * 0.95**step)
        yield report


def curves(figure):
    (axes,) = figure.axes
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines}


def test_the_curves_are_the_reports_in_bits():
    figure = plots.learning_curve(list(reports()), title="A run", unit="character")
    (axes,) = figure.axes
    assert axes.get_title() == "A run"
    assert axes.get_xlabel() == "training characters read (thousands)"
    assert axes.get_ylabel() == "bits per character"
    labels = ["training, each report", "training, smoothed", "validation"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    found = curves(figure)
    step = np.arange(1, 101)
    np.testing.assert_allclose(found[labels[0]][:, 0], 2.048 * step)
    np.testing.assert_allclose(found[labels[0]][:, 1], 2 + 4 * 0.95**step)
    np.testing.assert_allclose(found[labels[1]][:, 1], 2 + 4 * 0.95**step, atol=0.15)
    np.testing.assert_allclose(found[labels[2]][:, 0], 2.048 * step[19::20])
    np.testing.assert_allclose(found[labels[2]][:, 1], 2.5 + 4 * 0.95 ** step[19::20])
    (note,) = axes.texts
    assert note.get_text() == f"{2.5 + 4 * 0.95**100:.2f}"


def test_smoothing_is_a_mean_of_neighbours():
    values = np.random.default_rng(0).normal(size=200)
    smooth = _smooth(values)
    assert smooth[0] == values[0]
    assert smooth[2] == pytest.approx(values[0:5].mean())
    assert smooth[100] == pytest.approx(values[95:106].mean())
    assert smooth[199] == pytest.approx(values[194:].mean())


def test_a_long_run_counts_in_millions_and_one_without_tokens_in_steps():
    figure = plots.learning_curve(list(reports(2000)))
    assert figure.axes[0].get_xlabel() == "training tokens read (millions)"
    assert curves(figure)["validation"][-1, 0] == pytest.approx(4.096)
    bare = [{"step": 3, "loss": 1.0}, {"step": 5, "loss": 0.5}]
    figure = plots.learning_curve(bare)
    assert figure.axes[0].get_xlabel() == "training steps"
    found = curves(figure)
    assert set(found) == {"training, each report", "training, smoothed"}
    np.testing.assert_allclose(found["training, each report"], [(3, 1 / LN2), (5, 0.5 / LN2)])


def test_a_file_of_json_lines_gives_the_same_picture(tmp_path):
    lines = [json.dumps(report) for report in reports(30)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 31, "lo']))
    one = plots.learning_curve(tmp_path / "metrics.jsonl")
    other = plots.learning_curve(list(reports(30)))
    assert curves(one).keys() == curves(other).keys()
    for label, points in curves(one).items():
        np.testing.assert_array_equal(points, curves(other)[label])


def test_the_picture_is_a_readable_png(tmp_path):
    path = tmp_path / "curve.png"
    plots.save(plots.learning_curve(list(reports())), path)
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(content[k : k + 4], "big") for k in (16, 20))
    assert width >= 1000
    assert height >= 600
    with pytest.raises(FileNotFoundError):
        plots.save(plots.learning_curve(list(reports())), tmp_path / "nowhere" / "curve.png")
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "nothing", [[], [{"step": 1}], [{"step": 1, "tokens": 5, "loss": float("nan")}]]
)
def test_without_a_loss_there_is_nothing_to_draw(nothing):
    with pytest.raises(InputError, match="metrics hold no loss"):
        plots.learning_curve(nothing)


def test_a_file_that_is_no_log_is_told(tmp_path):
    (tmp_path / "m").write_text("hello\n")
    with pytest.raises(InputError, match="line 1 of"):
        plots.learning_curve(tmp_path / "m")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r'pip install "lstmkit\[plots\]"'):
        plots.learning_curve(list(reports()))


def test_no_display_and_no_global_state_is_touched(tmp_path):
    program = (
        "import sys; from lstmkit import plots; assert 'matplotlib' not in sys.modules;"
        f"plots.save(plots.learning_curve([{{'step': 1, 'loss': 1.0}}]), {str(tmp_path / 'c')!r});"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
