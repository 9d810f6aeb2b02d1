"""The watch over the readers: what it must see is seen. `nox -s fuzz` runs the readers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# In a process of its own: an audit hook cannot be taken off, and it costs the other tests time.
CHECK = """
import sys, time, tracemalloc
sys.path.insert(0, {folder!r})
import numpy as np
import watch as limits
from watch import Watch
from lstmkit.shapes import InputError
limits.SECONDS = 0.2
watch = Watch()
tracemalloc.start()
import os

def says(text):
    def call():
        raise InputError(text)
    return call

def raises():
    raise KeyError("x")

def slow():
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass

path = {path!r}
for call in (
    lambda: np.zeros(3), says("one line"), says("two\\nlines"), says("long" * 200), raises, slow,
    lambda: os.system("true"), lambda: eval("1"), lambda: open(path, "w").close(),
    lambda: open("/etc/hostname").close(), lambda: open(path).close(),
    lambda: len(bytes(2**23)), lambda: np.zeros(2**23, np.uint8),
):
    print(watch.judge(call, 1000, path))
"""
SEEN = (
    "Verdict(problem='', refusal='')",
    "Verdict(problem='', refusal='one line')",
    "no clear line",
    "no clear line",
    "KeyError at",
    "took 0.5 s",
    "did os.system",
    "did compile",
    "did open",
    "did open '/etc/hostname'",
    "Verdict(problem='', refusal='')",
    "took 83",
    "Verdict(problem='', refusal='')",  # the weights count
)


def test_the_watch_sees_what_a_reader_must_not_do(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"x")
    script = CHECK.format(folder=str(FOLDER), path=str(path))
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = shown.stdout.splitlines()
    assert len(lines) == len(SEEN), shown.stderr
    for line, expected in zip(lines, SEEN, strict=True):
        assert expected in line
    assert path.read_bytes() == b""  # it watches, and prevents nothing
