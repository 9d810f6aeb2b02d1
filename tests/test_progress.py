"""What a run shows: a live bar under a real terminal, plain lines in a pipe, never a crash."""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from lstmkit import progress, store
from lstmkit.progress import Progress
from lstmkit.shapes import InputError

REPORT = {"step": 50, "elapsed": 10.0, "loss": 1.25, "bits": 1.803, "tokens_per_second": 12345.6}
MIDDLE = "12.3k tokens/s, loss 1.250, 1.803 bits"

SCRIPT = """
import sys, time
from lstmkit.progress import Progress
with Progress(sys.argv[1]) as shown:
    shown.start(4, "steps")
    for step in range(1, 5):
        time.sleep(0.01)
        report = {"step": step, "elapsed": step, "loss": 2 / step, "tokens_per_second": 1e4 * step}
        report["bits"] = report["loss"] / 0.6931
        if step == 2:
            report["validation_loss"] = 1.5
        shown.update(report)
        if step == 3:
            shown.message("[bold]a message[/bold]")
            print("from the program")
"""


def environment() -> dict[str, str]:
    source = str(Path(store.__file__).parents[1])
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return kept | {"PYTHONPATH": source, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}


def on_a_terminal(columns: int, kind: str = "auto", script: str = SCRIPT) -> str:
    """Run the script with a terminal as its stderr (and stdout), return what the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", script, kind], stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        out += part
    os.close(ours)
    assert process.wait() == 0
    return out.decode()


def screen(out: str) -> list[str]:
    """Every line that was drawn, without colours and cursor movements."""
    return [
        line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out))
    ]


def test_a_bar_on_a_terminal() -> None:
    out = on_a_terminal(100)
    lines = screen(out)
    bars = [line for line in lines if "━" in line]
    for step, percent in enumerate((25, 50, 75, 100), 1):
        text = f"{percent}% step {step}/4  {10 * step}.0k tokens/s  loss {2 / step:#.4g}"
        assert any(text in line for line in bars), text
    assert any(f"{2 / 0.6931:.3f} bits" in line for line in bars)
    assert re.search(r"\d:\d\d left$", bars[0])
    # A validation stays on the screen as a line, and so do messages, as they are.
    notable = [line for line in lines if line.startswith("step 2/4") and "validation 1.500" in line]
    assert len(notable) == 1
    assert lines.count("[bold]a message[/bold]") == 1
    assert lines.count("from the program") == 1
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # the cursor comes back


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_bar_fits(columns: int) -> None:
    """Where there is no room the first figures go; the time left stays, nothing is cut off."""
    bars = [line for line in screen(on_a_terminal(columns)) if "left" in line and "%" in line]
    assert len(bars) >= 4
    for line in bars:
        assert len(line) <= columns
        assert "…" not in line
        assert line.endswith("left")
        assert len(re.findall("[━╸╺]", line)) >= 9


def test_lines_in_a_pipe() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, "auto"], capture_output=True, text=True, env=environment()
    )
    assert process.stdout == "from the program\n"
    first, second, message, last, *rest = process.stderr.splitlines()
    assert re.fullmatch(
        r" 25%  step 1/4, 10\.0k tokens/s, loss 2\.000, 2\.886 bits, 0:0\d left", first
    )
    assert re.fullmatch(r" 50%  step 2/4, 20.*, validation 1\.500, 0:0\d left", second)
    assert message == "[bold]a message[/bold]"
    assert re.fullmatch(r"100%  step 4/4, .* 0:00 left", last)
    assert rest == []
    assert process.stderr.isascii()


def test_plain_and_none_on_a_terminal() -> None:
    plain = on_a_terminal(100, "plain")
    assert "━" not in plain
    assert "\x1b" not in plain
    assert " 25%  step 1/4" in plain
    assert screen(on_a_terminal(100, "none")) == ["from the program", ""]


def test_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    shown = Progress("rich")
    shown.start(100, "steps")
    shown.update(REPORT)
    shown.close()
    assert capsys.readouterr().err.startswith(" 50%  step 50/100, 12.3k tokens/s, loss 1.250")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_few_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("plain")
    shown.start(100, "steps")
    for step in range(1, 61):
        clock[0] += 0.5
        shown.update({"step": step, "elapsed": step / 2, "loss": 1.0})
    shown.close()
    steps = [int(s) for s in re.findall(r"step (\d+)/", capsys.readouterr().err)]
    assert steps == [1, 11, 21, 31, 41, 51, 60]


@pytest.mark.parametrize(
    ("unit", "total", "done", "report", "text"),
    [
        ("steps", 100, 0, REPORT, f" 50%  step 50/100, {MIDDLE}, 0:10 left"),
        ("steps", 100, 40, REPORT, f" 50%  step 50/100, {MIDDLE}, 0:50 left"),
        ("steps", 100_000, 0, {"step": 1000}, "  1%  step 1,000/100,000, 16:30 left"),
        ("seconds", 90.0, 0, REPORT, f" 11%  step 50, {MIDDLE}, 1:20 left"),
        ("seconds", 90.0, 0, REPORT | {"elapsed": 91}, f"100%  step 50, {MIDDLE}, 0:00 left"),
        ("steps", 100, 50, REPORT, f" 50%  step 50/100, {MIDDLE}"),
        ("steps", 9, 0, {"step": 9, "loss": 1e-7}, "100%  step 9/9, loss 1.000e-07, 0:00 left"),
    ],
)  # fmt: skip
def test_figures(
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
    unit: str,
    total: float,
    done: float,
    report: dict[str, Any],
    text: str,
) -> None:
    """Ten seconds after the start; a resumed run counts only what was done since."""
    shown = Progress("plain")
    shown.start(total, unit, done)
    clock[0] += 10
    shown.update(report)
    assert capsys.readouterr().err == text + "\n"


def test_in_brief(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A validation is no line of its own; its loss is shown until the next run."""
    with Progress("plain", brief=True) as shown:
        for _ in range(2):
            shown.start(1000, "steps")
            shown.update(REPORT)
            shown.update(REPORT | {"step": 100, "validation_loss": 1.5})
            clock[0] += 5.0
            shown.update(REPORT | {"step": 500, "loss": 1.0})
            clock[0] += 5.0
    lines = [re.sub(", [0-9:]+ left", "", line) for line in capsys.readouterr().err.splitlines()]
    one = ["  5%  step 50/1,000, loss 1.250", " 50%  step 500/1,000, loss 1.000, validation 1.500"]
    assert lines == 2 * one


def test_rates_and_times() -> None:
    numbers = [0, 9.6, 999.4, 999.6, 9_994, 99_950, 999_499, 999_600, 12_345_678]
    assert [progress._count(n) for n in numbers] == [
        "0", "10", "999", "1.00k", "9.99k", "100k", "999k", "1.00M", "12.3M",
    ]  # fmt: skip
    times = [0, 0.1, 59.9, 60, 3599, 3599.5, 86400]
    assert [progress._duration(t) for t in times] == [
        "0:00", "0:01", "1:00", "1:00", "59:59", "1:00:00", "24:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["rich", "plain"])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_lost_terminal_does_not_stop_the_run(
    monkeypatch: pytest.MonkeyPatch, kind: str, good: int
) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            writes.append(text)
            if len(writes) > good:
                raise BrokenPipeError
            return len(text)

    writes: list[str] = []
    file, stdout = Gone(), sys.stdout
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(kind) as shown:
        shown.message("one")
        shown.start(100, "steps")
        shown.update(REPORT)
        shown.update(REPORT)
        shown.message("two")
    assert sys.stdout is stdout  # rich had put its own in the place
    assert sys.stderr is file
    assert len(writes) > good


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Progress() as shown:
        shown.start(100, "steps")
        shown.update(REPORT)
        shown.message("nothing")


def test_again_and_before(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """One display can show several runs; updates outside of a run are not shown."""
    shown = Progress("plain")
    shown.update(REPORT)
    shown.message("before")
    for total in (100, 200):
        shown.start(total, "steps", 50)
        shown.update(REPORT)
        shown.update(REPORT | {"step": 60})
        if total == 200:
            shown.close()
            shown.close()
    assert capsys.readouterr().err.splitlines() == [
        "before",
        f" 50%  step 50/100, {MIDDLE}",
        f" 60%  step 60/100, {MIDDLE}, 0:00 left",  # a new start closes the old run
        f" 25%  step 50/200, {MIDDLE}",
        f" 30%  step 60/200, {MIDDLE}, 0:00 left",
    ]


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="kind is 'fancy'; expected one of 'auto', 'rich'"):
        Progress("fancy")
    with pytest.raises(InputError, match="unit is 'miles'; expected one of 'steps', 'seconds'"):
        Progress("none").start(1, "miles")


def test_an_update_costs_little() -> None:
    """Under 5 ms on a bar of 100 columns: at ten a second below a twentieth of the time."""
    script = SCRIPT.split("with")[0] + (
        "shown = Progress('rich')\n"
        "shown.start(1000, 'steps')\n"
        "shown.update({'step': 0, 'loss': 1.0})\n"
        "begun = time.process_time()\n"
        "for step in range(100): shown.update({'step': step, 'loss': 1.0})\n"
        "took = (time.process_time() - begun) / 100\n"
        "shown.close()\n"
        "print('took', round(1e6 * took), 'us')\n"
    )
    took = int(re.search(r"took (\d+) us", on_a_terminal(100, script=script)).group(1))  # type: ignore[union-attr]
    assert took < 5000
