from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import lstmkit
from lstmkit import cli, demo, store
from lstmkit.cli import app
from lstmkit.layers import LSTM, Activation, Embedding, Sequential
from lstmkit.loading import load
from lstmkit.showing import visible
from lstmkit.tasks.language_model import LanguageModel

WORDS = "the cat sat on the mat\nthe dog sat on the log\n" * 60
# The package under test, also where it is found by a relative path.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lstmkit.__file__).resolve().parents[1])}
TINY = "--hidden-size 8 --embedding-size 4 --batch-size 4 --sequence-length 8".split()


def run(*arguments):
    """Through typer's own runner: quick, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*arguments, **options) -> subprocess.CompletedProcess[str]:
    """As a user runs it."""
    command = [sys.executable, "-m", "lstmkit", *map(str, arguments)]
    options.setdefault("env", ENVIRONMENT)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def assert_one_line(result, code=cli.BAD_INPUT):
    """One line of ours, on stderr alone, and the exit code; no traceback."""
    if isinstance(result, subprocess.CompletedProcess):
        assert (result.stdout, result.returncode) == ("", code)
        output = result.stderr
    else:
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        output = result.output
    lines = output.splitlines()
    assert len(lines) == 1, output
    assert lines[0].startswith("lstmkit: ")
    return lines[0]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run."""
    root = tmp_path_factory.mktemp("run")
    (root / "my.txt").write_text(WORDS)
    result = run("train", root / "my.txt", "-o", root / "out", "--steps", 20, *TINY)
    assert result.exit_code == 0, result.output
    return root / "out"


# ------------------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    "command", ["demo", "train", "generate", "evaluate", "explore", "info", "convert"]
)
def test_every_command_helps_with_an_example_that_is_right(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", result.output).split())
    (example,) = re.findall(rf"Example: lstmkit ({command} .*)$", text)
    # It names only options that there are: with --help at its end it is not refused.
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', example)]
    assert run(*words, "--help").exit_code == 0


def test_the_commands_are_listed_and_the_version_told():
    result = run("--help")
    for command in ("demo", "train", "generate", "evaluate", "info", "convert"):
        assert command in result.output
    assert run("--version").output.startswith(f"lstmkit {lstmkit.__version__} (")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["generate", "m", "--length", "many"],
        ["generate", "m", "--length", "-1"],
        ["train", "x", "--tokens", "words"],
        ["train", "x", "--hidden-size", "0"],
        ["demo", "--seconds", "1"],
        ["evaluate", "m"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


# ------------------------------------------------------------------------------------ train


def test_training_leaves_a_folder_and_prints_the_figure(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    result = process("train", "my.txt", "--steps", 30, *TINY)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "lstmkit-my"
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "checkpoint.safetensors",
        "metrics.jsonl",
        "learning_curve.png",
    }
    # Progress goes to stderr, results to stdout, and the figure is that of the saved model.
    assert "step 30" in result.stderr
    model = load(out)
    held_out = WORDS[round(0.9 * len(WORDS)) :]
    figure, name = re.match(r"(\d+\.\d\d) bits per character \((.*)\)", result.stdout).groups()
    assert name == "held out: 276 characters in 1 file"
    assert float(figure) == pytest.approx(model.bits_per_character(held_out), abs=0.006)
    bits = demo.compressed(held_out)
    others = ", ".join(f"{kind} {value:.2f}" for kind, value in bits.items())
    assert f"on the same text: {others}\n" in result.stdout
    assert "tokenize" not in result.stdout  # it is not Python
    sample = visible(model.generate(seed=0, **demo.SAMPLE))
    assert "".join(f"    {line}\n" for line in sample.split("\n")) in result.stdout
    log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 30
    assert any("validation_loss" in line for line in log)


def test_a_folder_of_code_is_learned_by_whole_files(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for k in range(20):
        (source / f"m{k}.py").write_text(f"value_{k} = {k}\n" * 30)
    (source / "logo.png").write_bytes(b"\0")
    result = run("train", source, "--epochs", 0.5, "--tokens", "characters", *TINY)
    assert result.exit_code == 0, result.output
    assert "skipped 1 file, the first: logo.png is binary (zero byte at 0)\n" in result.output
    assert re.search(r"held out: [\d,]+ characters in [12] files?\n", result.output)
    assert re.search(r"Python can tokenize \d+% of that", result.output)
    model = load(tmp_path / "lstmkit-src")
    assert set(model.vocabulary) == set("value_0123456789 =\n")


def test_bytes_take_any_text(tmp_path, folder):
    (tmp_path / "other.txt").write_text("größer €", encoding="utf-8")
    assert run("evaluate", folder, "other.txt").exit_code == 0
    assert run("generate", folder, "-p", "€", "-n", 3).exit_code == 0


def test_nothing_is_overwritten_silently(tmp_path, folder):
    text = folder.parent / "my.txt"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    message = assert_one_line(run("train", text, "-o", folder, "--steps", 1, *TINY))
    assert "already holds a model.safetensors; expected another --output, --resume to" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_force_overwrites(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    assert run("train", "my.txt", "--steps", 2, *TINY).exit_code == 0
    first = (tmp_path / "lstmkit-my/model.safetensors").read_bytes()
    arguments = ["train", "my.txt", "--steps", 2, "--seed", 1, "--force", *TINY]
    assert run(*arguments).exit_code == 0
    assert (tmp_path / "lstmkit-my/model.safetensors").read_bytes() != first


def test_resume_goes_on_and_ends_as_if_never_stopped(tmp_path, monkeypatch):
    (tmp_path / "my.txt").write_text(WORDS)
    arguments = ["train", "my.txt", "--steps", 12, *TINY]
    assert run(*arguments, "-o", "whole").exit_code == 0

    step, real = [0], LanguageModel.backward

    def stop_after_7(self, tape, dlogits):
        step[0] += 1
        if step[0] == 8:
            raise KeyboardInterrupt
        return real(self, tape, dlogits)

    with monkeypatch.context() as patched:
        patched.setattr(LanguageModel, "backward", stop_after_7)
        result = run(*arguments, "-o", "part")
    assert result.exit_code == cli.INTERRUPTED
    assert result.output.splitlines()[-1] == (
        "lstmkit: stopped; part holds the model so far and its checkpoint (the same command with "
        "--resume goes on)"
    )
    assert run("generate", "part", "-n", 5).exit_code == 0
    assert run(*arguments, "-o", "part", "--resume").exit_code == 0
    whole, part = load("whole"), load("part")
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(array, part.parameters[name])


def test_there_must_be_something_to_resume(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    message = assert_one_line(run("train", "my.txt", "--resume"))
    assert "lstmkit-my has no checkpoint.safetensors to resume" in message
    assert not (tmp_path / "lstmkit-my").exists()


def test_resuming_with_other_settings_is_refused(folder):
    text = folder.parent / "my.txt"
    arguments = ["train", text, "-o", folder, "--steps", 30, "--resume", "--hidden-size", 9]
    result = run(*arguments)
    assert result.exit_code == cli.BAD_INPUT
    assert "is of another model" in result.output.splitlines()[-1]
    assert load(folder).hidden_size == 8


def test_without_matplotlib_all_but_the_picture_is_made(tmp_path, monkeypatch):
    (tmp_path / "my.txt").write_text(WORDS)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("train", "my.txt", "--steps", 2, *TINY)
    assert result.exit_code == 0
    assert result.output.count('pip install "lstmkit[plots]"') == 1
    assert "bits per character" in result.output
    assert not (tmp_path / "lstmkit-my/learning_curve.png").exists()
    assert (tmp_path / "lstmkit-my/model.safetensors").exists()


def test_a_loss_that_explodes_is_one_line_and_leaves_no_model(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    result = run("train", "my.txt", "--steps", 20, "--learning-rate", 1e38, *TINY)
    assert result.exit_code == cli.FAILED
    last = result.output.splitlines()[-1]
    assert last.startswith("lstmkit: train: ")
    assert "lower learning rate" in last
    assert "Traceback" not in result.output
    assert not (tmp_path / "lstmkit-my/model.safetensors").exists()


def test_ctrl_c_in_a_real_process(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    command = [sys.executable, "-m", "lstmkit", "train", "my.txt", "--seconds", "60", *TINY]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    for line in child.stderr:
        if "step" in line:
            break
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert re.match(r"lstmkit: stopped; lstmkit-my holds", err.splitlines()[-1])
    assert load("lstmkit-my/checkpoint.safetensors").hidden_size == 8


# ------------------------------------------------------------------------------------- demo


def test_the_demo_does_the_main_job(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "MODEL", {**demo.MODEL, "hidden_size": 8})
    monkeypatch.setattr(demo, "HELD_OUT", 20_000)
    began = time.monotonic()
    result = run("demo", "--seconds", 5)
    assert time.monotonic() - began < 20  # not 90; this allows for a busy machine
    assert result.exit_code == 0, result.output
    assert re.search(
        r"\d\.\d\d bits per character \(held out: [\d,]+ characters in \d+ files\)\n"
        r"on the same text: gzip \d\.\d\d, bzip2 \d\.\d\d, xz \d\.\d\d\n",
        result.output,
    )
    assert re.search(r"Python can tokenize \d+% of that \(of its characters, those", result.output)
    assert {path.name for path in Path("lstmkit-demo").iterdir()} == {
        "model.safetensors",
        "checkpoint.safetensors",
        "metrics.jsonl",
        "learning_curve.png",
    }
    assert load("lstmkit-demo").tokens == "bytes"


def test_a_second_demo_takes_a_folder_of_its_own(tmp_path):
    assert cli._unused("lstmkit-demo") == Path("lstmkit-demo")
    Path("lstmkit-demo").mkdir()
    Path("lstmkit-demo-2").mkdir()
    assert cli._unused("lstmkit-demo") == Path("lstmkit-demo-3")


def test_a_demo_overwrites_nothing_either(folder):
    message = assert_one_line(process("demo", "--output", folder))
    assert "already holds a model.safetensors; expected another --output, or --force" in message


# -------------------------------------------------------------------------------- using it


def test_generate_writes_the_prompt_and_what_follows(folder):
    result = process("generate", folder, "--prompt", "the c", "-n", 30, "--seed", 4)
    assert (result.returncode, result.stderr) == (0, "")
    written = load(folder).generate("the c", 30, temperature=0.8, seed=4)
    assert result.stdout == f"the c{written}\n"
    cold = run("generate", folder, "-n", 12, "-t", 0, "--top-k", 3, "--top-p", 0.9)
    assert cold.output == load(folder).generate("", 12, temperature=0) + "\n"


def test_generate_streams(folder):
    command = [sys.executable, "-m", "lstmkit", "generate", str(folder), "-n", str(10**9)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=ENVIRONMENT) as child:
        assert len(child.stdout.read(50)) == 50  # long before the end
        child.stdout.close()  # like `| head -c 50`
        assert child.wait(timeout=30) in (1, -signal.SIGPIPE)
        assert child.stderr.read() == b""


def test_every_character_is_shown_before_the_next_is_written(monkeypatch):
    shown = io.BytesIO()

    class Writer:
        def generate_stream(self, prompt, *settings):
            yield "a"
            assert shown.getvalue() == b"prompt a"
            yield "b"
            assert shown.getvalue() == b"prompt ab"

    monkeypatch.setattr(cli, "_language_model", lambda path: Writer())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown))
    cli.generate(Path("model"), prompt="prompt ")
    sys.stdout.flush()
    assert shown.getvalue() == b"prompt ab\n"


def test_what_a_model_writes_does_not_steer_the_terminal(monkeypatch):
    class Writer:
        def generate_stream(self, prompt, *settings):
            yield from ("a", "\x1b", "[2J", "\r", "\t", "é", "\x9b", "\n")

    monkeypatch.setattr(cli, "_language_model", lambda path: Writer())
    for terminal, written in {True: "a�[2J�\té�\n\n", False: "a\x1b[2J\r\té\x9b\n\n"}.items():
        shown = io.StringIO(newline="")
        shown.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stdout", shown)
        cli.generate(Path("model"))
        assert shown.getvalue() == written


def test_generate_shows_what_a_terminal_can(folder):
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = process("generate", folder, "-p", "€", "-n", 3, env=environment)
    assert result.returncode == 0
    assert result.stdout.startswith("?")


def test_evaluate_prints_the_figures(tmp_path, folder):
    (tmp_path / "a.txt").write_text("the dog sat\n" * 30)
    result = process("evaluate", folder, "a.txt")
    text = "the dog sat\n" * 30
    bits = load(folder).bits_per_character(text)
    others = ", ".join(f"{name} {value:.2f}" for name, value in demo.compressed(text).items())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"{bits:.2f} bits per character (a.txt: 360 characters in 1 file)\n"
        f"on the same text: {others}\n"
    )


def test_info_shows_kind_settings_shapes_and_count(tmp_path, folder):
    result = process("info", folder)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["kind", "LanguageModel"] in lines
    assert ["hidden_size", "8"] in lines
    assert ["embedding.weight", "(256,", "4)", "float32"] in lines
    count = sum(array.size for array in load(folder).parameters.values())
    assert ["parameters", f"{count:,}"] in lines
    checkpoint = run("info", folder / "checkpoint.safetensors")
    assert re.search(r"checkpoint: step +20\n", checkpoint.output)
    LSTM(3, 4, seed=0).save("lstm.safetensors")
    assert re.search(r"weight_hh_l0 +\(16, 4\) +float32\n", run("info", "lstm.safetensors").output)


def test_info_draws_a_table_on_a_terminal(folder):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "lstmkit", "info", str(folder)]
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run(command, stdout=follower, stderr=follower, env=environment, check=True)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "─────" in shown
    assert "embedding.weight" in shown


def test_info_shows_layers_and_what_was_not_understood(tmp_path):
    lstm = LSTM(3, 4, 2, bidirectional=True, peepholes=True, cell_clip=2.0, seed=0)
    lstm.save("lstm")
    shown = run("info", "lstm").output
    what = r"LSTM of 4, both directions, peepholes, cell_clip=2.0"
    assert re.search(rf"l0 +{what} +3 -> 8 +280\n", shown)
    assert re.search(rf"l1 +{what} +8 -> 8 +440\n", shown)
    assert re.search(rf"bytes +{Path('lstm').stat().st_size:,}\n", shown)
    layers = {"in": Embedding(7, 3, seed=0), "a": LSTM(3, 4, seed=0), "out": Activation("relu")}
    Sequential(layers).save("chain")
    shown = run("info", "chain").output
    assert re.search(r"in +Embedding\(7, 3\) +tokens -> 3 +21\n", shown)
    assert re.search(r"a +LSTM\(3, 4\) +3 -> 4 +128\n", shown)
    assert re.search(r"out +Activation\('relu'\) +0\n", shown)
    store.save("other", "Unheard", {"x": "\x1b[31m"}, {"a\nb": np.zeros(2)})
    result = run("info", "other")
    assert result.exit_code == 0
    assert "not understood:\n  the kind 'Unheard', which lk.load does not open" in result.output
    assert "\x1b" not in result.output
    assert re.search(r"'a\\nb' +\(2,\) +float64\n", result.output)
    save_file({"x.weight": np.zeros((2, 2))}, "foreign")
    assert re.search(r"format +PyTorch state dict \(safetensors\)", run("info", "foreign").output)


# ---------------------------------------------------------------------------------- convert


def test_convert_says_what_it_proved(tmp_path, folder):
    LSTM(3, 4, seed=0).save("in.safetensors")
    result = process("convert", "in.safetensors", "out.pt", "--alone")
    assert (result.returncode, result.stderr) == (0, "")
    check, written = result.stdout.splitlines()
    assert check.startswith("out.pt, run by lstmkit: largest difference 0.0e+00 in outputs up to")
    assert written == f"out.pt: {Path('out.pt').stat().st_size:,} bytes, proved"
    line = assert_one_line(run("convert", "in.safetensors", "out.pt", "--alone"))
    assert "out.pt is already there; expected another OUT, or --force" in line
    assert run("convert", "out.pt", "out.safetensors", "--alone").exit_code == 0
    text = LanguageModel(4, embedding_size=3, tokens="bytes", seed=0)
    text.fit("abc" * 50, steps=1, batch_size=2).save("text")
    result = run("convert", "text", "out.pt", "--alone", "--force")
    assert result.exit_code == 0
    assert "the vocabulary of 256 bytes stays in text" in result.output
    assert "layer_norm, which nn.LSTM lacks" in assert_one_line(run("convert", folder, "x.pt"))


def test_what_is_not_proved_is_not_written(tmp_path, monkeypatch):
    LSTM(3, 4, seed=0).save("in.safetensors")
    monkeypatch.setattr(
        "lstmkit.converting.largest_difference", lambda *_: ("Other 1.0", 1e-3, 1.0, "float32")
    )
    result = run("convert", "in.safetensors", "out.pt")
    assert result.exit_code == 1
    shown, error = result.output.splitlines()
    assert shown.startswith("out.pt, run by Other 1.0: largest difference 1.0e-03 in outputs up to")
    assert error == "lstmkit: convert: the files do not compute the same; out.pt was not written"
    assert sorted(os.listdir()) == ["in.safetensors"]


# -------------------------------------------------------------------------------- bad input


def test_every_bad_file_is_one_line(tmp_path, folder):
    model = folder / "model.safetensors"
    content = model.read_bytes()
    text = tmp_path / "a.txt"
    text.write_text(WORDS)
    files = {
        "empty": b"",
        "binary": b"\x89PNG\0\0",
        "latin": b"caf\xe9",
        "short": b"hello",
        "cut": content[:-10],
        "header": content[: len(content) // 3],
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
    Path("no_text").mkdir()
    Path("no_text/x").write_bytes(b"\0")
    save_file({"w": np.zeros(2)}, "foreign")
    LSTM(2, 2, seed=0).save("lstm")
    store.save("other", "Unknown", {}, {"w": np.zeros(2)})
    characters = LanguageModel(4, seed=0).fit("abc" * 50, steps=1, batch_size=2)
    characters.save("abc")

    cases = [
        (["train", "missing.txt"], "missing.txt: No such file or directory"),
        (["train", "empty"], "corpus: empty is empty; expected text"),
        (["train", "binary"], "corpus: binary is binary (zero byte at 4)"),
        (["train", "latin"], "corpus: latin is not UTF-8 (byte 0xe9 at 3)"),
        (["train", "short"], "corpus: the text has 5 characters; expected at least 200"),
        (["train", "no_text"], "folder no_text has 1 files, none of them text"),
        (["train", text, "--epochs", 1, "--steps", 1], "epochs and steps are given"),
        (["generate", "missing"], "missing: No such file or directory"),
        (["generate", "empty"], "'empty'"),
        (["generate", "cut"], "'cut'"),
        (["generate", "header"], "'header'"),
        (["generate", text], "a.txt'"),
        (["generate", "foreign"], "'foreign' holds no LSTM"),
        (["generate", "other"], "holds a 'Unknown'; expected one of LSTM, Sequential, "),
        (["generate", "lstm"], "lstm holds a LSTM; expected a LanguageModel"),
        (["generate", "no_text"], "folder 'no_text' holds no model.safetensors"),
        (["generate", "abc", "-p", "abX"], "prompt has characters that the model does not know"),
        (["generate", "abc", "--top-p", 2], "top_p is 2.0"),
        (["evaluate", "abc", text], "' ' (line 1, column 4)"),
        (["evaluate", model, "missing"], "missing: No such file or directory"),
        (["evaluate", model, "binary"], "binary is binary"),
        (["evaluate", "cut", text], "'cut'"),
        (["info", "missing"], "missing: No such file or directory"),
        (["info", "header"], "'header'"),
        (["info", "binary"], "'binary' is a picture; expected"),
        (["info", "empty"], "'empty' is empty; expected"),
        (["convert", "missing", "out.pt"], "missing: No such file or directory"),
        (["convert", "lstm", "out"], "'out' does not end in a format's name"),
        (["convert", "lstm", "out.h5"], "expected .keras"),
        (["convert", "lstm", "gone/out.pt"], "gone/out.pt: No such file or directory"),
        (["convert", "lstm", "out.pt", "--opset", 17], "opset is given"),
        (["convert", "lstm", "out.pt", "--prefix", "a"], "only with a state dict"),
        (["convert", "binary", "out.pt"], "'binary' is a picture"),
        (["convert", "foreign", "out.pt"], "'foreign' holds no LSTM"),
        (["info", "short"], "'short' is text that begins with 'hello'; expected"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in cases:
        assert message in assert_one_line(run(*arguments)), arguments
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written


def test_a_text_that_is_too_short_for_the_batch_leaves_no_folder_behind(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    result = run("train", "my.txt", "--batch-size", 10_000)
    assert result.exit_code == cli.BAD_INPUT
    assert "smaller batch_size" in result.output.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["my.txt"]


def test_a_folder_that_cannot_be_made_is_told_before_training(tmp_path):
    (tmp_path / "my.txt").write_text(WORDS)
    (tmp_path / "file").write_text("x")
    for output, message in {
        "file": "file: File exists",
        "file/deep": "file/deep: Not a directory",
        "/proc/nothing/here": "No such file or directory",
    }.items():
        result = run("train", "my.txt", "-o", output)
        assert result.exit_code == cli.BAD_INPUT
        assert message in result.output.splitlines()[-1]
        assert "step" not in result.output


def test_an_unwritable_folder_is_told_before_training(tmp_path, monkeypatch):
    (tmp_path / "my.txt").write_text(WORDS)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "check_writable", refuse)
    result = run("train", "my.txt", "-o", "out")
    assert result.exit_code == cli.BAD_INPUT
    last = result.output.splitlines()[-1]
    assert last == "lstmkit: out/model.safetensors: Permission denied"
    assert not (tmp_path / "out").exists()


def test_bad_input_in_a_real_process(tmp_path):
    Path("binary").write_bytes(b"\0\1\2")
    assert "missing: No such file" in assert_one_line(process("generate", "missing"))
    assert "binary is binary" in assert_one_line(process("train", "binary"))
    assert "'binary'" in assert_one_line(process("info", "binary"))


def test_too_little_memory_is_one_line(folder, monkeypatch):
    def fail(path):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(cli.loading, "load", fail)
    message = assert_one_line(run("generate", folder), cli.FAILED)
    assert "not enough memory (Unable to allocate 9 TiB)" in message


def test_ctrl_c_anywhere_is_one_line(folder, monkeypatch):
    def press(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.loading, "load", press)
    assert assert_one_line(run("generate", folder), cli.INTERRUPTED) == "lstmkit: stopped"


def test_force_keeps_the_old_model_until_a_new_one_is_whole(tmp_path, folder):
    """What cannot be started destroys nothing."""
    shutil.copytree(folder, "mine")
    shutil.copy(folder.parent / "my.txt", "my.txt")
    before = {path.name: path.read_bytes() for path in Path("mine").iterdir()}
    start = ["train", "my.txt", "-o", "mine", "--steps", 2]
    assert run(*start, "--force", "--batch-size", 100_000).exit_code == cli.BAD_INPUT
    message = assert_one_line(run(*start, "--force", "--resume"))
    assert "--resume and --force are given; expected one of them" in message
    assert {path.name: path.read_bytes() for path in Path("mine").iterdir()} == before


def test_resuming_on_another_text_or_in_another_way_is_refused(tmp_path):
    Path("my.txt").write_text(WORDS)
    start = ["train", "my.txt", "-o", "mine", *TINY]
    assert run(*start, "--steps", 2).exit_code == 0
    for other in (["--seconds", 1], ["--steps", 4, "--batch-size", 5]):
        result = run(*start, "--resume", *other)
        assert result.exit_code == cli.BAD_INPUT
        assert "is of another model or text, or of other settings" in result.output
    Path("my.txt").write_text(WORDS.upper())
    assert run(*start, "--steps", 4, "--resume").exit_code == cli.BAD_INPUT
    Path("my.txt").write_text(WORDS)
    assert run(*start, "--steps", 4, "--resume").exit_code == 0


def test_a_run_inside_the_text_does_not_become_part_of_it(tmp_path):
    Path("texts").mkdir()
    for k in range(4):
        Path(f"texts/{k}.txt").write_text(WORDS)
    start = ["train", "texts", "-o", "texts/run", *TINY]
    assert run(*start, "--steps", 2).exit_code == 0
    result = run(*start, "--steps", 4, "--resume")
    assert result.exit_code == 0, result.output


def test_evaluate_says_what_it_skipped(tmp_path, folder):
    Path("texts").mkdir()
    Path("texts/a.txt").write_text(WORDS)
    Path("texts/b").write_bytes(b"\0")
    result = run("evaluate", folder, "texts")
    assert result.exit_code == 0
    assert "skipped 1 file, the first: b is binary" in result.output


def test_a_model_larger_than_any_memory_is_one_line(tmp_path):
    Path("my.txt").write_text(WORDS)
    result = run("train", "my.txt", "--hidden-size", 10**17)
    assert result.exit_code == cli.BAD_INPUT
    assert result.output.endswith("hidden_size is 100000000000000000; expected at most 16777216\n")
