# ruff: noqa: E501  (a line a defect)
"""Seeded defects: each is written into a copy of the package, and a test must fail there.

`python tests/conformance/mutations.py` tries all of them, `… NAME` those whose names hold a word.
A text that is no longer found once is an error: then the table here is out of date. The kernels in
C++ are not among them; their twin is held against them elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
NODE = ("tests/formats/test_onnx_node.py", "tests/conformance/test_onnx_runtime.py")
WRITER = ("tests/conformance/test_onnx_writer.py",)
TORCH = ("tests/formats/test_pytorch.py", "tests/formats/test_pickles.py")
KERAS = ("tests/formats/test_keras.py", "tests/conformance/test_keras_models.py")
CHAIN = ("tests/test_sequential.py",)
FAILED, LONGEST = 1, 600.0  # pytest's exit code for tests that failed; seconds of one run


class Defect(NamedTuple):
    """A text of a file, which stands there once, and what is written in its place."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _node(name: str, old: str, new: str) -> Defect:
    return Defect(f"ONNX node: {name}", "formats/onnx/node.py", old, new, NODE)


def _keras(name: str, old: str, new: str, file: str = "translate") -> Defect:
    return Defect(f"Keras: {name}", f"formats/keras/{file}.py", old, new, KERAS)


def _torch(name: str, old: str, new: str, file: str = "statedicts") -> Defect:
    return Defect(f"PyTorch: {name}", f"formats/{file}.py", old, new, TORCH)


def _writer(name: str, old: str, new: str, file: str = "steps") -> Defect:
    return Defect(f"ONNX writer: {name}", f"formats/onnx/{file}.py", old, new, WRITER)


def _chain(name: str, old: str, new: str, file: str = "recurrent") -> Defect:
    return Defect(f"chain: {name}", f"layers/{file}.py", old, new, CHAIN)


DEFECTS = (
    _node("gate order", "GATES, COUPLED_GATES = (0, 2, 3, 1)", "GATES, COUPLED_GATES = (0, 1, 2, 3)"),
    _node("gate order of a coupled cell", "(0, 2, 3, 1), (0, 3, 1)", "(0, 2, 3, 1), (0, 1, 3)"),
    _node("peephole order", "PEEPHOLES, COUPLED_PEEPHOLES = (0, 2, 1)", "PEEPHOLES, COUPLED_PEEPHOLES = (0, 1, 2)"),
    _node("peepholes left out", "peepholes=P is not None,", "peepholes=False,"),
    _node("second half of the bias", "B[d, : 4 * hidden] + B[d, 4 * hidden :]", "B[d, : 4 * hidden]"),
    _node("transposed R", '"weight_hh": _blocks(R[d], gates)', '"weight_hh": _blocks(R[d].reshape(4, hidden, hidden).swapaxes(1, 2).reshape(4 * hidden, hidden), gates)'),
    _node("second direction's W", "_blocks(W[d], gates)", "_blocks(W[0], gates)"),
    _node("second direction's peepholes", "P[d].reshape(3, hidden)", "P[0].reshape(3, hidden)"),
    _node("lengths", 'if given["sequence_lens"] is not None:', "if False:"),
    _node("reversed padding", "seen = packing.mirror(packed) if", "seen = packing.pack(x[:, ::-1]) if"),
    _node("order of a reversed output", "packing.unpack(packing.mirror(y) if way.backwards else y)", "packing.unpack(y)"),
    _node("length 0 with a state, h", "    Y_h[:, lengths == 0] = 0\n", ""),
    _node("length 0 with a state, c", "    Y_c[:, lengths == 0] = 0\n", ""),
    _node("initial states of the second direction", "packing.sort(h[d]), packing.sort(c[d])", "packing.sort(h[0]), packing.sort(c[0])"),
    _node("initial c", 'for name in ("initial_h", "initial_c")', 'for name in ("initial_h", "initial_h")'),
    _node("clip", "return float(clip)", "return None"),
    _node("input_forget", 'attributes.get("input_forget", 0), (0, 1)', "0, (0, 1)"),
    _node("order of the activations", "tuple(functions[3 * d : 3 * d + 3])", "tuple(functions[3 * d : 3 * d + 3][::-1])"),
    _node("the second direction's activations", "tuple(functions[3 * d : 3 * d + 3])", "tuple(functions[:3])"),
    _node("alpha and beta of the activations", "float(next(source, default))", "float(default)"),
    _node("a function's default", '("hard_sigmoid", 0.2, 0.5)', '("hard_sigmoid", 1 / 6, 0.5)'),
    _node("layout of the states", "        Y_h, Y_c = Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)\n", "        pass\n"),
    _keras("unit_forget_bias added again", '        weights["bias_l0"] = arrays[2]\n', '        weights["bias_l0"] = arrays[2] + np.repeat([0, 1, 0, 0], units).astype(dtype)\n'),
    _keras("hard sigmoid of Keras 3", 'return KERAS_3_HARD_SIGMOID if version >= 3 else "hard_sigmoid"', 'return "hard_sigmoid"'),
    _keras("hard sigmoid of older ones", 'return KERAS_3_HARD_SIGMOID if version >= 3 else "hard_sigmoid"', "return KERAS_3_HARD_SIGMOID"),
    _keras("order of go_backwards", '"turned": backwards and not inside', '"turned": False'),
    _keras("go_backwards left out", 'backwards = bool(config.get("go_backwards"))', "backwards = False"),
    _keras("which activation is whose", '"activations": [gates, candidate, candidate]', '"activations": [candidate, gates, candidate]'),
    _keras("masked steps", '"repeat": not zeros', '"repeat": False'),
    _keras("mask_zero", 'if config.get("mask_zero") else []', "if False else []"),
    _keras("merge_mode", 'options: dict[str, Any] = {"merge": merge}', 'options: dict[str, Any] = {"merge": "concat"}'),
    _torch("bias_hh", "return first if not second.any() else first + second", "return first"),
    _torch("the other direction's weights", '(names[f"weight_hh{theirs}"],)', '(names[f"weight_hh{ends[0]}"],)'),
    _torch("the other direction's projection", '(names[f"weight_hr{theirs}"],)', '(names[f"weight_hr{ends[0]}"],)'),
    _torch("bfloat16", "        wide <<= 16\n", ""),
    _torch("strides", "if tensor.strides == _dense(tensor.shape):", "if True:", "torchfiles"),
    _torch("where in its storage a tensor begins", "tensor.offset * itemsize", "0", "torchfiles"),
    _torch("both biases written in full", 'np.zeros_like(array) if piece == "bias_hh" else array', "array", "pytorch"),
    _writer("gate order", "places: Sequence[int] = COUPLED_GATES if cell.coupled_gates else GATES", "places: Sequence[int] = COUPLED_GATES if cell.coupled_gates else (0, 1, 2, 3)"),
    _writer("peephole order", "places = COUPLED_PEEPHOLES if cell.coupled_gates else PEEPHOLES", "places = COUPLED_PEEPHOLES if cell.coupled_gates else (0, 1, 2)"),
    _writer("input_forget", 'attributes["input_forget"] = 1', 'attributes["input_forget"] = 0'),
    _writer("learned initial states", "elif cells[0].learn_initial_state:", "elif False:", "writer"),
    _writer("the last step", "return y, ends[-1][0]", "return y, ends[0][0]", "writer"),
    _keras("candidate and output, written", '"activation": NAMES[candidate]', '"activation": NAMES[gates]', "writer"),
    _chain("order of what is read backwards", "if self.backwards and not self.turned:", "if self.backwards:"),
    _chain("the mask of what is read backwards", "None if mask is None else mask[:, ::-1]", "mask"),
    _chain("the last step of both directions", "h = end[0][-directions:]", "h = end[0][:directions]"),
    _chain("masked steps repeated", "y = _spread(y, mask, self.repeat)", "y = _spread(y, mask, False)"),
)  # fmt: skip


def try_one(defect: Defect, package: Path) -> str:
    """Write a defect into a copy; tell what is wrong: a test that fails is right."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lstmkit"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / defect.file
        text = path.read_text(encoding="utf-8")
        if text.count(defect.old) != 1:
            return f"the text stands {text.count(defect.old)} times in {defect.file}"
        path.write_text(text.replace(defect.old, defect.new), encoding="utf-8")
        code, said = run(defect.tests, folder)
    if code == FAILED:
        return ""
    return "no test fails" if code == 0 else f"pytest ended with {code}: {said[-400:]}"


def run(tests: tuple[str, ...], folder: str) -> tuple[int, str]:
    """Run tests on the package in a folder, as far as the first that fails."""
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--no-header"]
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def sound(package: Path, defects: list[Defect]) -> str:
    """Tell what is wrong with the package as it is; an empty text if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lstmkit"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        ask = "import lstmkit; print(lstmkit.__file__)"
        found = subprocess.check_output(
            [sys.executable, "-c", ask], env={**os.environ, "PYTHONPATH": folder}, text=True
        )
        if not found.startswith(folder):
            return f"the tests would be those of {found.strip()}, not of the copy"
        tests = {test: None for defect in defects for test in defect.tests}
        code, said = run(tuple(tests), folder)
    return "" if code == 0 else f"without a defect pytest ends with {code}: {said[-2000:]}"


def main() -> None:
    """Try the defects, as many at a time as there are processors."""
    import lstmkit

    words = sys.argv[1:]
    chosen = [defect for defect in DEFECTS if all(word in defect.name for word in words)]
    package = Path(lstmkit.__file__).parent
    began = time.monotonic()
    if wrong := sound(package, chosen):
        raise SystemExit(wrong)
    problems = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda defect: try_one(defect, package), chosen)
        for defect, problem in zip(chosen, results, strict=True):
            problems += bool(problem)
            print(f"{'NOT CAUGHT' if problem else 'caught':<10} {defect.name}", flush=True)
            if problem:
                print(f"           {problem}", flush=True)
    caught, seconds = len(chosen) - problems, time.monotonic() - began
    print(f"{caught} of {len(chosen)} caught, in {seconds:.0f} s")
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
