"""A command line that is wrong itself: one line on stderr, exit code 2, and nothing else."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from lstmkit import cli, usage
from lstmkit.cli import app

FORECAST = ["forecast", "x.csv", "--horizon", "3"]


@pytest.mark.parametrize(
    ("arguments", "says", "see"),
    [
        ([], "there is no command forcast; did you mean forecast?", "lstmkit"),
        ([], "there is no command xyzzy; expected one of those that there are", "lstmkit"),
        (["--helpp"], "there is no option --helpp; did you mean --help?", "lstmkit"),
        (["forecast"], "DATA is not given; expected it: a CSV or Parquet file, its rows in", ""),
        (FORECAST[:2], "--horizon is not given; expected it: how many steps to forecast", ""),
        (["evaluate", "m"], "DATA is not given; expected it: text for a language model", ""),
        (["convert", "a"], "OUT is not given; expected it", ""),
        ([*FORECAST, "--horizn", "3"], "there is no option --horizn; did you mean --horizon?", ""),
        ([*FORECAST, "--no-backtst"], "no option --no-backtst; did you mean --no-backtest?", ""),
        ([*FORECAST, "-q"], "there is no option -q; expected one of those that there are", ""),
        (FORECAST[:3], "--horizon is given without a value; expected one: how many steps", ""),
        ([*FORECAST, "--force=1"], "--force is given with a value; expected it alone", ""),
        ([*FORECAST, "y.csv"], "y.csv is too much; expected DATA", ""),
        (["demo", "a(1)", "b"], "a(1) b is too much; expected options alone", ""),
        ([*FORECAST, "--origins", "many"], "integer", ""),
        ([*FORECAST, "--origins", "\x1b[2J"], r"'\x1b[2J'", ""),
        ([*FORECAST, "--origins", "0"], "1: from how many points in time to measure", ""),
        ([*FORECAST, "--missing", "mask"], "--missing: 'mask' is not one of 'error', 'fill'", ""),
        (["lesson", "check", "--nope"], "there is no option --nope", "lstmkit lesson start"),
        (["lesson", "hint", "--dir"], "--dir is given without a value", "lstmkit lesson"),
    ],
)
def test_wrong_usage_is_one_line(arguments, says, see):
    if not arguments:
        arguments = [says.removeprefix("there is no command ").partition(";")[0]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == cli.BAD_INPUT
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    command = "" if line.startswith("lstmkit: there is no") else f"{arguments[0]}"
    assert line.startswith(f"lstmkit: {command}")
    assert says in line
    assert line.endswith(" --help)")
    assert f"(see {see or f'lstmkit {arguments[0]}'}" in line


def test_nothing_at_all_shows_the_help():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == cli.BAD_INPUT
    assert "forecast" in result.output
    assert "is not given" not in result.output


def test_other_errors_are_left_alone():
    assert usage.line(ValueError("x"), None) is None
