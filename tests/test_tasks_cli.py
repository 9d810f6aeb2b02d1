"""`lstmkit forecast`, `lstmkit classify`, and `lstmkit evaluate` of what they saved."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lstmkit import cli, datasets
from lstmkit.cli import app
from lstmkit.loading import load
from lstmkit.tasks import SequenceClassifier, SequenceRegressor, SequenceTagger, labelled
from lstmkit.tasks.network import SequenceBatches

AIRLINE = datasets.path("airline")
QUICK = "--epochs 1 --members 1 --hidden-size 2 --context 12".split()
PNG = b"\x89PNG\r\n"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def good(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments, code=cli.BAD_INPUT):
    """The last line, which is all that it says of an error; nothing that it makes is there."""
    before = sorted(Path().iterdir())
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert sorted(Path().iterdir()) == before
    lines = result.stderr.splitlines()
    assert sum(line.startswith("lstmkit: ") for line in lines) == 1, result.output
    assert lines[-1].startswith("lstmkit: ")
    return lines[-1]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_picture(monkeypatch):
    """As where matplotlib is missing: quicker."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def short() -> Path:
    """The first four years."""
    Path("short.csv").write_text("\n".join(AIRLINE.read_text().splitlines()[:49]) + "\n")
    return Path("short.csv")


def sequences(count: int = 24):
    """Rising and falling sequences of 5 steps, two features that tell nothing apart but in time."""
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(count) % 2, 1.0, -1.0)
    X = signs[:, None, None] * np.linspace(-1, 1, 5)[None, :, None]
    X = X + 0.1 * rng.normal(size=(count, 5, 2))
    return X, np.where(signs > 0, "up", "down")


def write(path: str, rows) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return Path(path)


def long_table(path: str, X, y, each_step: bool = False) -> Path:
    rows = [["who", "a", "b", "label"]]
    for k, (x, label) in enumerate(zip(X, y, strict=True)):
        rows += [[k, *step, label[t] if each_step else label] for t, step in enumerate(x)]
    return write(path, rows)


def read(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["forecast", "classify"])
def test_help_has_an_example_that_is_right(command):
    result = good(command, "--help")
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", result.output).split())
    (example,) = re.findall(rf"Example: lstmkit ({command} .*)$", text)
    good(*example.split(), "--help")
    assert command in good("--help").output


# --------------------------------------------------------------------------------- forecast


def test_the_example_works_as_it_stands():
    Path("sales.csv").write_text(AIRLINE.read_text())
    result = good(
        *"forecast sales.csv --time month --target passengers --horizon 12".split(),
        *("--origins", 3, *QUICK),
    )
    assert "sales.csv: 144 rows, monthly, 1949-01-01 to 1960-12-01, a season of 12" in result.stderr
    assert "to forecast: passengers, 12 steps" in result.stderr
    assert "100%  step" in result.stderr
    for name in ("LSTM", "persistence", "seasonal-naive", "ridge on lags", "80% covers"):
        assert name in result.stdout
    assert re.search(r"The LSTM (wins|loses|is no better)", result.stdout)
    rows = read("forecast.csv")
    assert [row["month"] for row in rows] == [f"1961-{month:02}" for month in range(1, 13)]
    values = np.array([[float(row[f"passengers_q{q}"]) for q in (0.1, 0.5, 0.9)] for row in rows])
    assert (np.diff(values, axis=1) > 0).all()
    assert (300 < values).all()
    assert (values < 900).all()
    assert Path("forecast.png").read_bytes().startswith(PNG)
    assert "written: forecast.csv, forecast.png" in result.stdout


def test_a_saved_forecaster_goes_on_and_is_measured_on_new_data(no_picture):
    data = short()
    good(
        *("forecast", data, "--horizon", 3, *QUICK, "--no-backtest", "-o", "out"),
        *("--save", "out/model.safetensors", "--interval", 0.5, "--tensorboard", "board"),
    )
    model = load("out")
    assert model.quantiles == (0.25, 0.5, 0.75)
    again = model.predict()["passengers_q0.5"]
    found = [float(row["passengers_q0.5"]) for row in read("out/forecast.csv")]
    assert np.allclose(found, again, rtol=1e-12)
    assert len(list(Path("board").iterdir())) == 1
    result = good("evaluate", "out", data)
    assert result.stdout.strip() == str(model.evaluate(data)).strip()
    assert "50% covers" in result.stdout
    assert "Forecaster" in good("info", "out").stdout
    line = refused("convert", "out/model.safetensors", "x.onnx")
    assert "a Forecaster is no chain of layers" in line
    assert "knows its columns" in refused("evaluate", "out", data, "--time", "month")


def test_several_series_a_point_and_rows_of_the_future(no_picture):
    import polars

    steps = np.arange(42)
    rows = {
        "shop": np.repeat(["north", "south"], 42),
        "day": np.tile(np.datetime64("2024-01-01") + steps, 2),
        "sold": np.concatenate([10 + steps % 7, 20 + 2.0 * (steps % 7)]),
        "price": np.tile(steps % 3, 2),
    }
    sold = [
        None if step >= 40 else x for step, x in zip(np.tile(steps, 2), rows["sold"], strict=True)
    ]
    polars.DataFrame({**rows, "sold": sold}).write_parquet("shops.parquet")
    result = good(
        *("forecast", "shops.parquet", "--series", "shop", "--target", "sold", "--future", "price"),
        *("--horizon", 2, "--interval", 0, "--no-calendar", *QUICK, "--origins", 2),
    )
    assert "80 rows, 2 series, daily, 2024-01-01 to 2024-02-09, a season of 7" in result.stderr
    assert "covers" not in result.stdout
    found = read("forecast.csv")
    assert [row["shop"] for row in found] == ["north", "north", "south", "south"]
    assert [row["day"][:10] for row in found] == ["2024-02-10", "2024-02-11"] * 2
    assert set(found[0]) == {"shop", "day", "sold"}


def spoil(line: int, text: str | None):
    lines = AIRLINE.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (spoil(21, "1950-08,"), "column 'passengers', line 21 of x.csv: is missing"),
        (spoil(21, "1950-08,inf"), "column 'passengers', line 21 of x.csv: is inf"),
        (spoil(21, "1950-08,many"), "column 'passengers', line 21 of x.csv: is the text 'many'"),
        (spoil(21, "1950-07,170"), "column 'month', line 21 of x.csv: 1950-07-01 occurs a second"),
        (spoil(21, "1949-07,170"), "column 'month', line 21 of x.csv: 1949-07-01 stands after"),
        (spoil(21, None), "before 1950-09-01 there is no 1950-08-01"),
        ("month,passengers\n1949-01,1\n1949-02,2\n", "expected at least"),
        ("month,passengers\n", "has no rows"),
        ("", "no names in line 1"),
        ("\x00\x01", ""),
    ],
)
def test_bad_data_is_one_line_and_nothing_is_written(data, says):
    Path("x.csv").write_text(data)
    assert says in refused("forecast", "x.csv", "--horizon", 12, "-o", "out", *QUICK)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "passenger"], "did you mean 'passengers'?"),
        (["--past", "month"], "column 'month'"),
        (["--quantiles", "0.1,0.9"], "0.5 among them"),
        (["--quantiles", "a"], "--quantiles is 'a'"),
        (["--quantiles", "0,0.5"], "above 0"),
        (["--context", "140"], "--no-backtest"),
        (["--output", AIRLINE], "airline.csv"),
    ],
)
def test_bad_options_are_one_line(arguments, says):
    assert says in refused("forecast", AIRLINE, "--horizon", 12, *QUICK, *arguments)


def test_remedies_are_options(no_picture):
    Path("x.csv").write_text(spoil(21, "1950-08,"))
    assert "--missing fill" in refused("forecast", "x.csv", "--horizon", 3)
    good("forecast", "x.csv", "--horizon", 3, "--missing", "fill", "--no-backtest", *QUICK)


def test_nothing_is_overwritten_but_by_force():
    Path("forecast.png").write_text("mine")
    command = ("forecast", AIRLINE, "--horizon", 3, "--no-backtest", *QUICK)
    assert "forecast.png is already there" in refused(*command)
    assert Path("forecast.png").read_text() == "mine"
    good(*command, "--force")
    assert Path("forecast.png").read_bytes().startswith(PNG)
    Path("forecast.csv").write_text(AIRLINE.read_text())
    line = refused("forecast", "forecast.csv", "--horizon", 3, "--force")
    assert "forecast.csv is read" in line


def test_without_matplotlib_the_numbers_are_there(no_picture):
    result = good("forecast", AIRLINE, "--horizon", 3, "--no-backtest", *QUICK)
    assert "no picture: plots: matplotlib is missing" in result.stderr
    assert "written: forecast.csv\n" in result.stdout


# --------------------------------------------------------------------------------- classify


def test_it_says_whether_the_lstm_is_worth_it():
    """What differs in the order alone: means and spreads know nothing of it."""
    X, y = sequences(40)
    np.savez("x.npz", X=X, y=y)
    result = good(
        *"classify x.npz --held-out 0.5 --epochs 12 --hidden-size 8 --learning-rate 0.02".split(),
        *("--save", "model.safetensors"),
    )
    assert "x.npz: 20 sequences of 5 steps, 2 features, 2 labels to learn from" in result.stderr
    assert re.search(r"right of 20\nLSTM +100.0%\nalways the commonest label +50.0%", result.stdout)
    assert re.search(r"The LSTM is worth it here: \d+\.\d points ahead of", result.stdout)
    assert re.search(r"is \\ taken for  down  up\ndown +10 +\.\nup +\. +10\n", result.stdout)
    rows = read("predictions.csv")
    assert len(rows) == 20
    assert all(row["label"] == row["predicted"] for row in rows)
    assert all(y[int(row["sequence"])] == row["label"] for row in rows)
    assert all(0.5 < float(row["probability"]) <= 1 for row in rows)
    assert Path("confusion.png").read_bytes().startswith(PNG)
    found = good("evaluate", "model.safetensors", "x.npz")
    assert re.search(r"right of 40\nLSTM +100.0%", found.stdout)
    assert "Linear(8, 2)" in good("info", "model.safetensors").stdout
    proved = good("convert", "model.safetensors", "model.pt", "--alone").stdout
    assert "a logit for each of 2 labels, which stay in model.safetensors: down, up" in proved


def test_the_kinds_of_files_are_read_alike(no_picture):
    """The same sequences of one feature, four times: the same predictions, bit for bit."""
    X, y = sequences()
    X = X[:, :, :1]
    np.savez("x.npz", X=X[:, :, 0], y=y)
    write("wide.csv", [["a", "b", "c", "class", "d", "e"], *(
        [*map(repr, x[:3].tolist()), label, *map(repr, x[3:].tolist())]
        for x, label in zip(X[:, :, 0], y, strict=True)
    )])  # fmt: skip
    rows = [[k, t, repr(float(x[t, 0])), label] for t in range(5)
            for k, (x, label) in enumerate(zip(X, y, strict=True))]  # fmt: skip
    write("long.csv", [["who", "t", "value", "kind"], *rows])
    head = "@problemName x,@timeStamps false,@missing false,@univariate true,@equalLength true,"
    lines = f"{head}@seriesLength 5,@classLabel true down up,@data".split(",")
    lines += [
        ",".join(map(repr, x[:, 0].tolist())) + f":{label}" for x, label in zip(X, y, strict=True)
    ]
    Path("x.ts").write_text("\n".join(lines) + "\n")
    long = ["--series", "who", "--time", "t", "--label", "kind"]
    found = []
    for name, more in (("x.npz", []), ("wide.csv", []), ("long.csv", long), ("x.ts", [])):
        good("classify", name, *more, "--epochs", 2, "--hidden-size", 3, "--force")
        found.append(read("predictions.csv"))
    assert len(found[0]) == 4
    assert found[0] == found[1] == found[2] == found[3]


def test_of_every_class_a_share_is_held_out():
    labels = np.array(["a"] * 10 + ["b"] * 2 + ["c"])
    learned, held = labelled.held_out("classify", labels, 0.3, 0)
    assert sorted([*learned, *held]) == list(range(13))
    assert labels[held].tolist() == ["a", "a", "a", "b"]
    others = [labelled.held_out("classify", labels, 0.3, seed)[1].tolist() for seed in (0, 1)]
    assert others[0] == held.tolist() != others[1]


def test_a_second_file_to_be_judged_by(no_picture):
    X, y = sequences()
    long_table("train.csv", X, y)
    X, y = sequences(7)
    long_table("test.csv", X, y)
    quick = ["--series", "who", "--epochs", 1, "--hidden-size", 2]
    result = good("classify", "train.csv", "--test", "test.csv", *quick)
    assert "24 sequences of 5 steps" in result.stderr
    assert "held out: test.csv, 7 sequences of 5 steps, 2 features" in result.stderr
    assert [row["sequence"] for row in read("predictions.csv")] == list("0123456")


@pytest.mark.parametrize(
    ("rows", "arguments", "says"),
    [
        ("label,a,b\nx,1,2\ny,2,\nx,1,2\ny,1,2\n", [], "column 'b', line 3 of x.csv: the value"),
        ("label,a,b\nx,1,2\ny,2,z\nx,1,2\ny,1,2\n", [], "column 'b', line 3 of x.csv: is the text"),
        ("label,a,b\nx,1,2\ny,2,inf\n", [], "column 'b', line 3 of x.csv: is inf"),
        ("label,a,b\n" + "x,1,2\n" * 9, [], "y has 1 class, 'x'"),
        ("label,a,b\nx,1,2\ny,1,2\n", [], "no label occurs twice"),
        ("kind,a,b\nx,1,2\n", [], "label is not given; expected one of the columns of 'x.csv'"),
        ("kind,a,b\nx,1,2\n", ["--label", "kin"], "did you mean 'kind'?"),
        ("label\nx\ny\n", [], "no column left that holds values"),
        ("label,a\nx,1\ny,2\n", ["--time", "a"], "time is given and series is not"),
        ("label,s,a\nx,1,1\ny,1,2\n", ["--series", "s"], "line 3 of x.csv: is y, and sequence 1"),
        (
            "label,s,t,a\nx,1,2020-01-02,1\nx,1,2020-01-01,2\n",
            ["--series", "s", "--time", "t"],
            "column 't', line 3 of x.csv: 2020-01-01 stands after 2020-01-02",
        ),
    ],
)
def test_bad_sequences_are_one_line(rows, arguments, says):
    Path("x.csv").write_text(rows)
    assert says in refused("classify", "x.csv", *arguments, "--epochs", 1, "--hidden-size", 2)


def test_bad_files_are_one_line():
    Path("x.npz").write_bytes(b"PK\x03\x04nonsense")
    assert "holds no plain arrays X and y" in refused("classify", "x.npz")
    with open("y.npz", "wb") as file:
        np.save(file, np.zeros(3))
    assert "holds no plain arrays X and y" in refused("classify", "y.npz")
    ragged = np.array([np.zeros(2), np.zeros(3)], dtype=object)
    np.savez("z.npz", X=ragged, y=np.arange(2))
    assert "holds no plain arrays X and y" in refused("classify", "z.npz")
    np.savez("x.npz", X=np.zeros((3, 4)))
    assert "lacks X or y" in refused("classify", "x.npz")
    np.savez("x.npz", X=np.zeros((3, 4)), y=np.zeros(2))
    assert "X (3, 4) and y (2,)" in refused("classify", "x.npz")
    assert "has no named columns" in refused("classify", "x.npz", "--label", "a")
    np.savez("x.npz", X=np.zeros((3, 4)), y=np.zeros((3, 2)))
    assert "has labels (3, 2); expected one a sequence" in refused("classify", "x.npz")
    np.savez("x.npz", X=np.zeros((3, 4)), y=np.array([0.0, 0.5, 1.0]))
    assert "numbers with decimals, such as 0.5" in refused("classify", "x.npz")
    Path("x.ts").write_text("nonsense\n")
    assert "x.ts" in refused("classify", "x.ts")
    assert "ends in '.txt'" in refused("classify", "x.txt")
    assert "nothing.ts: No such file" in refused("classify", "nothing.ts")


# -------------------------------------------------------------------------------- evaluate


def test_what_evaluate_prints_of_values_and_of_steps():
    X = sequences()[0]
    target = X.sum((1, 2))
    model = SequenceRegressor(2, epochs=2, random_state=0).fit(X, target)
    model.save("r.safetensors")
    np.savez("r.npz", X=X, y=target)
    result = good("evaluate", "r.safetensors", "r.npz")
    error = np.abs(model.predict(X) - target).mean()
    assert re.search(rf"^LSTM +\S+ +{re.escape(f'{error:.4g}')} ", result.stdout, re.MULTILINE)
    assert re.search(r"^always their mean +0 ", result.stdout, re.MULTILINE)

    steps = np.where(X[:, :, 0] > 0, "high", "low")
    tagger = SequenceTagger(2, epochs=2, random_state=0).fit(X, steps)
    tagger.save("t.safetensors")
    long_table("t.csv", X, steps, each_step=True)
    result = good("evaluate", "t.safetensors", "t.csv", "--series", "who")
    right = (np.asarray(tagger.predict(X)) == steps).mean()
    assert re.search(rf"right of 120\nLSTM +{100 * right:.1f}%", result.stdout)
    assert "labels every step and series is not" in refused("evaluate", "t.safetensors", "t.csv")
    assert "expected one for every step" in refused("evaluate", "t.safetensors", "r.npz")
    np.savez("s.npz", X=X, y=steps)
    assert good("evaluate", "t.safetensors", "s.npz").stdout == result.stdout
    assert "s.npz' are text; expected numbers" in refused("evaluate", "r.safetensors", "s.npz")


def test_evaluate_refuses_in_one_line():
    X, y = sequences()
    SequenceClassifier(2, epochs=1, random_state=0).fit(X, y).save("c.safetensors")
    np.savez("one.npz", X=X[:, :, :1], y=y)
    assert "expecting 2 features" in refused("evaluate", "c.safetensors", "one.npz")
    assert "nothing.npz: No such file" in refused("evaluate", "c.safetensors", "nothing.npz")
    from lstmkit import LSTM

    LSTM(2, 2, seed=0).save("l.safetensors")
    assert "holds a LSTM; expected" in refused("evaluate", "l.safetensors", "one.npz")


# ---------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("save", [True, False])
def test_ctrl_c_keeps_the_model_so_far(save, monkeypatch):
    X, y = sequences()
    np.savez("x.npz", X=X, y=y)
    batch = SequenceBatches.batch

    def pressed(self, position):
        if position == 3:
            raise KeyboardInterrupt
        return batch(self, position)

    monkeypatch.setattr(SequenceBatches, "batch", pressed)
    command = ["classify", "x.npz", "--epochs", 9, "--hidden-size", 2]
    if not save:
        assert "no model was saved" in refused(*command, code=cli.INTERRUPTED)
        return
    result = run(*command, "--save", "m.safetensors")
    assert result.exit_code == cli.INTERRUPTED
    assert "lstmkit: stopped; m.safetensors holds the model so far" in result.stderr
    assert load("m.safetensors").classes_.tolist() == ["down", "up"]
    assert sorted(map(str, Path().iterdir())) == ["m.safetensors", "x.npz"]


def test_ctrl_c_ends_a_backtest(monkeypatch):
    from lstmkit.tasks import horizon

    monkeypatch.setattr(
        horizon._Windows, "__next__", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    line = refused("forecast", AIRLINE, "--horizon", 3, *QUICK, code=cli.INTERRUPTED)
    assert line == "lstmkit: stopped"  # and no second training began
