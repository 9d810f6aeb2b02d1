"""Whatever a learner's code does, an answer comes in time and is one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from lstmkit.lesson.child import Other, pack, unpack
from lstmkit.lesson.program import Cell, Program
from lstmkit.lesson.runner import Learner, Stopped, plain
from lstmkit.shapes import InputError

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")

LOOP = "def f(x):\n    k = 0\n    while True:\n        k += 1\n"


def ask(source, *, seconds=5.0, megabytes=1024, arguments=None, name="f"):
    program = Program("p", (Cell("my.py", source),))
    with Learner(program, seconds, megabytes) as learner:
        inventory = learner.load()
        if not inventory.things:
            return inventory.failures[0][1], learner
        call = {"name": name, "args": arguments or [np.ones(3)], "named": {}}
        (outcome,) = learner.call([call])
        return outcome, learner


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import sys\ndef f(x):\n    sys.exit(3)",
            "SystemExit: your code called exit() (my.py, line 3: sys.",
        ),
        ("def f(x):\n    return f(x)", "RecursionError: a function calls itself without end (my"),
        ("def f(x):\n    return input('?')", "RuntimeError: input() was called; there is nobody"),
        (
            "def f(x):\n    while True:\n        print('x' * 99)",
            "more than 1,000,000 characters printed; is there a print in a loop? (my.py, line",
        ),
        (
            "import numpy as np\ndef f(x):\n    return np.ones(10**12)",
            "MemoryError: your code asked for more memory than the limit (my.py, line 3: return",
        ),
        ("def f(x):\n    raise ValueError('two\\nlines')", "ValueError: two lines (my.py, line 2"),
        ("def f(x):\n    return {}['Wq']", "KeyError: Wq (my.py, line 2: return {}['Wq'])"),
    ],
)
def test_an_error_is_one_line_with_their_own_line(source, message):
    outcome, _ = ask(source)
    assert str(outcome.failure).startswith(message)
    assert "\n" not in str(outcome.failure)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit may not be kept")
def test_memory_that_grows_ends_at_the_limit():
    source = "def f(x):\n    kept = []\n    while True:\n        kept.append('a' * 10**8)\n"
    outcome, _ = ask(source, megabytes=384, seconds=60)
    assert outcome.failure.kind == "MemoryError"


@pytest.mark.samples
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            LOOP,
            "your code did not finish within 0.5 s in f; is there a loop without end? (my.py, line",
        ),
        (
            "import os\ndef f(x):\n    os._exit(3)\n",
            "your code ended the process in f (exit code 3)",
        ),
        pytest.param(
            "import os\ndef f(x):\n    os.abort()\n",
            "your code ended the process in f: SIGABRT (my.py, line 3: os.abort())",
            marks=posix,
        ),
    ],
)
def test_a_process_that_hangs_or_ends_is_told_with_its_line(source, message):
    began = time.monotonic()
    with pytest.raises(Stopped) as caught:
        ask(source, seconds=0.5)
    assert str(caught.value).startswith(message)
    assert time.monotonic() - began < 20


def test_a_loop_at_the_top_level():
    with pytest.raises(Stopped, match="while it was loaded; is there a loop without end"):
        ask("while True:\n    pass\n", seconds=0.3)


@pytest.mark.lesson
@posix
def test_nothing_of_theirs_is_left_running():
    source = "import os, time\ndef f(x):\n    if os.fork() == 0:\n        time.sleep(60)\n"
    source += "    return os.getpgid(0)\n"
    outcome, _ = ask(source)
    group = int(outcome.value)
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process group {group} is still there")


def test_what_is_printed_is_kept_apart():
    outcome, learner = ask("def f(x):\n    print('hello')\n    return x\n")
    assert outcome.value.tolist() == [1, 1, 1]
    assert learner.printed == "hello\n"


def test_stdout_is_one_as_programs_expect_it():
    source = """
import os, sys
sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
def f(x):
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        stream.buffer.write("h\u00e9llo ".encode())
        stream.writelines(["a", "b\\n"])
        stream.flush()
        stream.close()
        os.write(stream.fileno(), b"nowhere")
    return stream.writable(), stream.closed, stream.isatty(), stream.encoding
"""
    outcome, learner = ask(source)
    assert outcome.value == (True, False, False, "utf-8"), outcome.failure
    assert learner.printed == "h\u00e9llo ab\n" * 3


def test_changed_and_shared_arguments_are_seen():
    outcome, _ = ask("def f(x):\n    x += 1\n    return x, x * 2\n")
    assert outcome.changed == (".0.0",)
    assert (".0", "argument.0.0") in outcome.shared


def test_warnings_come_with_their_line():
    outcome, _ = ask("import numpy as np\ndef f(x):\n    return np.exp(x * 1e4)\n")
    ((message, line, text),) = outcome.warnings
    assert "overflow" in message
    assert (line, text) == ("3", "return np.exp(x * 1e4)")


def test_frames_carry_numbers_and_nothing_else():
    value = {"a": [np.arange(6.0).reshape(2, 3), (1, 2.5, None, "x")], "b": np.array(3)}
    frame = pack(value)
    sizes = [int.from_bytes(frame[k : k + 8], "little") for k in (0, 8)]
    head, body = frame[16 : 16 + sizes[0]], frame[16 + sizes[0] :]
    back = unpack(head, body)
    assert back["a"][1] == (1, 2.5, None, "x")
    assert np.array_equal(back["a"][0], value["a"][0])
    assert back["b"].shape == ()
    rng = np.random.default_rng(3)
    frame = pack(rng)
    assert unpack(frame[16:], b"").random(5).tolist() == rng.random(5).tolist()
    for odd in (object(), np.random.Generator(np.random.MT19937(0)), np.array([object()]), 10**30):
        frame = pack(odd)
        size = int.from_bytes(frame[:8], "little")
        assert isinstance(unpack(frame[16 : 16 + size], b""), Other)
    with pytest.raises(ValueError, match="a frame holds dtype object"):
        unpack(b'{"tree": {"a": 0}, "arrays": [["|O", [1]]]}', b"x" * 8)


def test_lists_of_numbers_become_arrays_and_nothing_else_does():
    vector, matrix = plain([1, 2.5, np.array(3.0)]), plain([[1, 2], [3, 4]])
    assert (vector.tolist(), matrix.tolist()) == ([1, 2.5, 3], [[1.0, 2.0], [3.0, 4.0]])
    for same in ([], [[]], [True, 1], ["a"], [[1, "a"]], (1, 2), {"a": (1, [])}, None, [(1, 2)]):
        assert plain(same) == same
    kept = plain([np.ones(2), np.ones(2)])
    assert isinstance(kept, list)
    ragged = plain({"W": [[1], [2, 3]]})["W"]
    assert [row.tolist() for row in ragged] == [[1], [2, 3]]


def test_bad_limits_are_refused():
    program = Program("p", (Cell("my.py", "x = 1"),))
    with pytest.raises(InputError, match=r"check: seconds is 0; expected at least 0\.1"):
        Learner(program, 0)
    with pytest.raises(InputError, match="check: megabytes is 5; expected at least 128"):
        Learner(program, 1.0, 5)
    for seconds in (1e12, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"expected at least 0\.1 and at most 86400$"):
            Learner(program, seconds)
    with pytest.raises(InputError, match=r"is 99999999999999; .* 128 and at most 1048576$"):
        Learner(program, 1.0, 99999999999999)


def test_the_child_needs_numpy_alone():
    """It is a script: a learner's process imports nothing of lstmkit."""
    from lstmkit.lesson import child

    code = f"import runpy, sys; runpy.run_path({child.__file__!r}); print('lstmkit' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "False\n"
