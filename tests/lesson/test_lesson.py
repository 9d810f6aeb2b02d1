"""The lesson: its exercises, what is checked, the workspace, and a walk through all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lstmkit
from lstmkit.lesson import check, notebook, record, session
from lstmkit.lesson.exercises import HINTS, exercises, find
from lstmkit.lesson.grading import grade
from lstmkit.lesson.program import Cell, Program
from lstmkit.lesson.session import Lesson, measure
from lstmkit.lesson.tiny import Tiny
from lstmkit.shapes import InputError
from lstmkit.textbook import LSTM, sigmoid

NAMES = [exercise.name for exercise in exercises()]
SOLUTIONS = {exercise.name: exercise.solution for exercise in exercises()}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lstmkit.__file__).resolve().parents[1])}


def namespace(*codes):
    names = {"np": np, "sigmoid": sigmoid, "LSTM": LSTM}
    for code in codes:
        exec(code, names)
    return names


def verdict(name, *replacements):
    """Of the reference solutions, one of them changed."""
    code = SOLUTIONS[name]
    for old, new in replacements:
        assert old in code, (old, code)
        code = code.replace(old, new)
    return grade(find(name), namespace(*(SOLUTIONS | {name: code}).values()))


@pytest.fixture
def folder(tmp_path):
    notebook.write(tmp_path / "ws")
    return tmp_path / "ws"


# --------------------------------------------------------------------------------- content


def test_the_exercises_are_those_of_the_lesson_in_its_order():
    assert NAMES == [
        "cell_step",
        "sequence",
        "output_layer",
        "loss",
        "backward_step",
        "bptt",
        "clipping",
        "training",
        "sampling",
        "basic_rnn",
        "transformers",
    ]


@pytest.mark.parametrize("exercise", exercises(), ids=NAMES)
def test_every_exercise_is_whole(exercise):
    assert len(exercise.questions) >= 2 or exercise.name == "loss"
    assert len(exercise.hints) == HINTS
    assert all([exercise.text, exercise.solution, exercise.explanation, *exercise.hints])
    assert f"def {exercise.function}(" in exercise.solution
    for text in (exercise.text, exercise.explanation, *exercise.hints):
        assert text.count("$$") % 2 == 0
        assert text.replace("$$", "").count("$") % 2 == 0
        assert "—" not in text
    assert "$$" in exercise.text or exercise.name == "bptt"  # an equation, set as one
    for question in exercise.questions:
        assert f"({question.letter})" in question.text
        assert question.why


@pytest.mark.parametrize("exercise", exercises(), ids=NAMES)
def test_every_answer_is_measured(exercise):
    for question in exercise.questions:
        assert measure(question.code)


def test_the_answers_are_what_is_measured():
    """Each figure that decides a question, taken from what the measurement prints."""

    def printed(name, number):
        return measure(find(name).questions[number - 1].code)

    def numbers(name, number):
        return [float(n) for n in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", printed(name, number))]

    assert numbers("cell_step", 1) == [0.5]
    assert numbers("cell_step", 2) == [10.0, 1.0]
    assert numbers("sequence", 1)[-1] < 1e-6
    assert numbers("sequence", 2) == [3.0, 3.0, 3.0]
    first, second = printed("output_layer", 1).split("] [")
    assert first.strip("[]") == second.strip("[]")
    changed, kept = numbers("output_layer", 2)
    assert changed > 0.1
    assert kept == 0
    assert numbers("loss", 1) == [4.1744]
    assert printed("loss", 2) == "True"
    assert numbers("backward_step", 1)[-3:] == [1, 2, 3]
    assert numbers("backward_step", 2)[-1] == 0.001
    assert min(numbers("bptt", 2)) > 0.01
    assert numbers("clipping", 1) == [0.6, 0.8, 5.0]
    good, bad = (
        [float(n) for n in re.findall(r"[\d.]+", line.split("[")[1])]
        for line in printed("training", 2).splitlines()
    )
    assert good == sorted(good, reverse=True)
    assert max(bad) > 10 * bad[0]
    fed, not_fed = (line.split(": ")[1].strip() for line in printed("sampling", 2).splitlines())
    assert fed.startswith("he cat sat on the mat")
    assert "mat" not in not_fed
    rnn, lstm = numbers("basic_rnn", 1)
    assert lstm > 1e5 * rnn
    of_rnn, of_lstm = (line.split() for line in printed("basic_rnn", 2).splitlines())
    assert float(of_rnn[3]) > 0.15
    assert float(of_lstm[2]) < 0.01
    norms = [float(line.split()[-1]) for line in printed("basic_rnn", 3).splitlines()]
    assert norms[2] > 10 * norms[0]
    assert numbers("transformers", 3) == [0, 0.5, 1, 1.5]


def test_the_tiny_models_gradients_are_the_textbooks():
    tiny = Tiny(seed=3)
    codes = [SOLUTIONS[name] for name in NAMES]
    train_step = namespace(*codes)["train_step"]
    before, loss = dict(tiny.params), tiny.step(0.3, limit=0.1)
    after, same = train_step(before, tiny.X, tiny.targets, 0.3, 0.1)
    assert loss == pytest.approx(same, rel=1e-12)
    for name, array in after.items():
        np.testing.assert_allclose(tiny.params[name], array, rtol=1e-9, atol=1e-12)


# --------------------------------------------------------------------------------- grading


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_solution_passes(name):
    result = verdict(name)
    assert result.passed, result.message


@pytest.mark.parametrize("exercise", exercises(), ids=NAMES)
def test_a_stub_fails_with_a_helpful_first_message(exercise):
    result = grade(exercise, namespace(exercise.stub))
    assert not result.passed
    assert result.message.startswith(f"{exercise.function} is not written yet: put your lines in")
    nothing = grade(exercise, {})
    assert nothing.message.startswith(f"there is no {exercise.function} yet; run the cell")
    number = grade(exercise, {exercise.function: 3})
    assert number.message == f"{exercise.function} is a int; expected a function"


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("cell_step", "f * c_prev + i * g", "i * c_prev + f * g", r"case: h_t at 0 is .*; exp"),
        ("cell_step", "o * np.tanh(c_t)", "o * c_t", "h_t at 0 is"),
        ("cell_step", 'sigmoid(params["Wf"]', '(lambda z: 1/(1+np.exp(-z)))(params["Wf"]', "overf"),
        ("cell_step", "return h_t, c_t", "return c_t, h_t", "h_t at 0"),
        ("cell_step", "return h_t, c_t", "return h_t", "returns ndarray; expected 2: h_t, c_t"),
        ("cell_step", "return h_t, c_t", "return h_t[:, None], c_t", r"shape \(5, 1\); expected"),
        ("cell_step", "return h_t, c_t", "return h_t * np.nan, c_t", "h_t has nan or inf"),
        ("cell_step", "c_t = f", "c_prev *= f; c_t = f", "it changes its arguments in place"),
        ("cell_step", "return h_t, c_t", "pass", "returns None: it is still to be written, or"),
        ("cell_step", '["Wf"]', '["W_f"]', r"raised KeyError: 'W_f' \(line \d+"),
        ("cell_step", "hx = ", "raise SystemExit('bye'); hx = ", "raised SystemExit: bye"),
        ("sequence", "append((h_t, c_t))", "append((h_t, h_t))", "c_t of step 0 at 0 is"),
        ("sequence", "X_seq:", "X_seq[1:]:", "the result has length 5; expected 6"),
        ("sequence", "h_t, c_t = h0, c0", "h_t, c_t = h0 * 0, c0", "h_t of step 0"),
        ("sequence", "X_seq:", "X_seq[::-1]:", "h_t of step 0 at 0"),
        ("output_layer", " + b_y", "", r"at \(0, 0\) is .*; expected"),
        ("output_layer", "W_hy.T", "W_hy", r"raised ValueError: .* \(line \d+"),
        ("loss", ".mean()", ".sum()", "the loss is"),
        ("loss", "/ len(targets)", "", r"dlogits at \(0, 0\)"),
        ("loss", "logits - logits.max(axis=1, keepdims=True)", "logits", "overflow"),
        ("backward_step", "dc_t + dh_t", "dh_t", "dx_t at 0"),
        ("backward_step", "dc * f, dparams", "dc, dparams", "dc_prev at 0"),
        ("backward_step", "* i * (1 - i)", "* i", "dx_t at 0"),
        ("backward_step", '{f"b{gate}": dz[gate]', '{f"b{gate}": dz["f"]', r"dparams\['bi'\] at 0"),
        ("backward_step", "dparams |=", "{} |", r"dparams has no bf bi bC bo; expected"),
        ("bptt", "dh[t] + dh_t", "dh[t]", "six steps: dX_seq"),
        ("bptt", "dparams[name] + step[name]", "step[name]", r"six .* dparams\['Wf'\] at \(0, 0\)"),
        ("bptt", "else dc_last", "else np.zeros_like(c0)", "one step: dX_seq"),
        ("clipping", "norm > limit", "norm > 0", "a small norm: the gradients"),
        ("clipping", "limit / norm if norm > limit else 1.0", "min(1, limit / norm)", None),
        ("clipping", ".sum()", ".max()", "a large norm"),
        ("training", "- rate *", "+ rate *", "the new params"),
        ("training", "limit)\n", "1e9)\n", "a clipped gradient"),
        ("sampling", "character = int(", "drawn = character = int(", None),
        ("sampling", "np.eye(V)[character]", "np.eye(V)[first]", r"step \d+ is \d; expected \d"),
        ("sampling", " / temperature", "", "temperature 0.5"),
        ("sampling", "rng.choice(V, p=e / e.sum())", "e.argmax()", "temperature 1"),
        ("basic_rnn", "F[t + 1]", "F[t]", "at "),
        ("basic_rnn", "reversed(range(len(F) - 1))", "range(len(F) - 1)", "at "),
        ("transformers", " / np.sqrt(d)", "", "six positions"),
        ("transformers", "-np.inf", "0.0", "six positions"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_and_placed(name, old, new, words):
    result = verdict(name, (old, new))
    if words is None:  # another way to write the same
        assert result.passed, result.message
        return
    assert not result.passed
    assert re.search(words, result.message), result.message
    assert "\n" not in result.message


def test_learners_may_write_lists_columns_are_told_and_ctrl_c_is_theirs():
    assert verdict("clipping", ("return {", "return [{"), ("}, norm", "}, norm]")).passed
    names = namespace("def lstm_output_layer(h_states, W_hy, b_y):\n    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        grade(find("output_layer"), names)


# ------------------------------------------------------------------------------- workspace


def test_the_notebook_and_the_script_hold_the_same(folder):
    content = json.loads((folder / "lesson.ipynb").read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"execution_count", "outputs"}
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
        assert set(cell) == wanted
    script = (folder / "lesson.py").read_text(encoding="utf-8")
    texts = ["".join(cell["source"]) for cell in content["cells"]]
    found = re.split(r"^# %%(?: \[markdown\])?\n", script, flags=re.MULTILINE)[1:]
    plain = ["\n".join(line.removeprefix("# ") for line in part.split("\n")) for part in found]
    for text, part, cell in zip(texts, found, content["cells"], strict=True):
        if cell["cell_type"] == "code":
            assert part.strip() == text.strip()
    assert [text.replace("\n\n", "\n").split()[:9] for text in texts] == [
        part.replace("#\n", "\n").split()[:9] for part in plain
    ]


@pytest.mark.lesson
def test_all_of_it_from_top_to_bottom_with_the_reference_solution(folder, capsys):
    """The notebook's own cells, in one namespace, every dots-answer replaced by the right one."""
    content = json.loads(notebook.notebook(notebook.cells(SOLUTIONS)))
    names = {"__file__": str(folder / "lesson.py")}
    for number, cell in enumerate(content["cells"]):
        if cell["cell_type"] != "code":
            continue
        code = "".join(cell["source"])
        if (asked := re.match(r'lesson\.predict\("(\w+)", (\d), \.\.\.\)', code)) is not None:
            letter = find(asked[1]).questions[int(asked[2]) - 1].letter
            code = code.replace("...", f'"{letter}"')
        exec(compile(code, f"cell {number}", "exec"), names)
    shown = capsys.readouterr().out
    assert shown.count("That is right.") == sum(len(e.questions) for e in exercises())
    assert shown.count("✓ ") == shown.count("One way to write it:") == len(NAMES)
    assert "✗" not in shown
    assert shown.rstrip().endswith(f"all {len(NAMES)} exercises passed")
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["flow.png", "gates.png"]
    loss = re.search(r"loss (\d\.\d\d) -> (\d\.\d\d)", shown)
    assert float(loss[2]) < 0.1 * float(loss[1])
    assert "temperature 0.3: 'he cat sat on the mat" in shown


def test_the_workspace_as_written_runs_and_says_what_is_open(folder):
    """As a learner runs it: python lesson.py, nothing written yet."""
    command = [sys.executable, "-W", "error", "lesson.py"]
    options = {"cwd": folder, "capture_output": True, "text": True, "env": ENVIRONMENT}
    done = subprocess.run(command, timeout=60, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("is not written yet") == len(NAMES)
    assert done.stdout.count("predict first") == sum(len(e.questions) for e in exercises())
    assert done.stdout.rstrip().endswith("0 of 11 exercises passed; next: cell_step")
    options["env"] = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}  # no ✗ there
    done = subprocess.run(command, timeout=60, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("? sampling: sample is not written yet") == 1


def test_nothing_is_overwritten_without_force(folder):
    mine = folder / "lesson.py"
    mine.write_text("my work")
    with pytest.raises(InputError, match=r"already holds lesson\.ipynb; expected another folder"):
        notebook.write(folder)
    (folder / "lesson.ipynb").unlink()
    with pytest.raises(InputError, match=r"already holds lesson\.py"):
        notebook.write(folder)
    assert mine.read_text() == "my work"
    notebook.write(folder, force=True)
    assert mine.read_text() != "my work"


# -------------------------------------------------------------------------------- progress


def test_all_passed_is_said_only_when_nothing_is_open():
    done = record.new()
    for name in NAMES:
        lines = record.summary(done)
        assert lines[-1] == f"{NAMES.index(name)} of 11 exercises passed; next: {name}"
        assert "all" not in lines[-1]
        done[name] = record.Entry(passed=True, solved=True)
    assert record.summary(done)[-1] == "all 11 exercises passed"
    done["bptt"] = record.Entry(passed=False, solved=True)  # broken again later
    assert record.summary(done)[-1] == "10 of 11 exercises passed; next: bptt"
    assert "open again" in record.summary(done)[5]


def test_a_pass_opens_the_solution_and_a_later_break_opens_the_exercise(folder, capsys):
    names = namespace(SOLUTIONS["cell_step"])
    lesson = Lesson(names, folder)
    lesson.solution("cell_step")
    assert "opens when its check has passed" in capsys.readouterr().out
    lesson.check("cell_step")
    assert find("cell_step").explanation in capsys.readouterr().out
    assert lesson.passed("cell_step")
    names["lstm_cell_step"] = lambda *arguments: None
    lesson.check("cell_step")
    assert "✗ cell_step" in capsys.readouterr().out
    assert not lesson.passed("cell_step")
    lesson.solution("cell_step")
    assert find("cell_step").explanation in capsys.readouterr().out
    assert record.read(folder)["cell_step"].tries == 2


def test_the_checker_names_the_mistake_where_it_knows_the_function(folder, capsys, monkeypatch):
    asked = []

    def check(names):
        asked.append(names)
        other = SimpleNamespace(part="lstm_forward", text="something else")
        gates = SimpleNamespace(part="lstm_cell_step", text="i and f are swapped")
        return SimpleNamespace(mistakes=[other, gates])

    fake = SimpleNamespace(check=check)
    monkeypatch.setitem(sys.modules, "lstmkit.lesson.checker", fake)
    names = namespace(SOLUTIONS["cell_step"].replace("f * c_prev + i", "i * c_prev + f"))
    lesson = Lesson(names, folder)
    lesson.check("cell_step")
    assert "It looks like this: i and f are swapped." in capsys.readouterr().out
    assert asked == [names]
    names |= namespace(find("sequence").stub, SOLUTIONS["clipping"].replace("norm > limit", "True"))
    for name in ("sequence", "clipping"):  # not written yet; not one that it knows
        lesson.check(name)
        assert "It looks like this" not in capsys.readouterr().out
    assert len(asked) == 1
    fake.check = lambda names: (_ for _ in ()).throw(InputError("check: no"))
    names["lstm_cell_step"] = lambda *arguments: 3
    lesson.check("cell_step")
    shown = capsys.readouterr().out
    assert "✗ cell_step: lstm_cell_step, a random case: it returns int; expected 2" in shown
    assert "It looks" not in shown


def test_hints_come_one_after_the_other(folder):
    texts = find("cell_step").hints
    for shown in (1, 2, 3, 3):
        page = session.hint(folder)
        assert [text in page for text in texts] == [k < shown for k in range(3)]
    assert record.read(folder)["cell_step"].hints == 3
    record.change(folder, "cell_step", passed=True)
    assert find("sequence").hints[0] in session.hint(folder)
    for name in NAMES:
        record.change(folder, name, passed=True)
    assert session.hint(folder) == "Every exercise is passed; there is nothing to hint at."


def test_the_first_prediction_counts(folder, capsys):
    lesson = Lesson({}, folder)
    for answer in (..., "z", 1):
        lesson.predict("cell_step", 1, answer)
        assert "predict first" in capsys.readouterr().out
    assert record.read(folder)["cell_step"].predictions == {}
    lesson.predict("cell_step", 1, "a")
    shown = capsys.readouterr().out
    assert "memory after the step: 0.5" in shown
    assert "It is (b)." in shown
    lesson.predict("cell_step", 1, "b")
    assert "That is right." in capsys.readouterr().out
    assert record.read(folder)["cell_step"].predictions == {"1": "a"}
    assert "predicted 1 of 2, 0 right" in record.summary(record.read(folder))[0]


def test_a_picture_that_cannot_be_drawn_is_told(folder, capsys):
    def draw():
        raise InputError("plots: matplotlib is missing")

    Lesson({}, folder).show("gates", draw)
    assert capsys.readouterr().out == "No picture: plots: matplotlib is missing\n"
    assert not (folder / "figures").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"exercises": 3}',
        '{"exercises": {"bptt": {"tries": "x"}}}',
        '{"exercises": {"bptt": {"tries": -1}}}',
        '{"exercises": {"bptt": {"hints": 4}}}',
        '{"exercises": {"bptt": {"passed": 1}}}',
        '{"exercises": {"bptt": {"predictions": {"1": 2}}}}',
        "\x00",
    ],
)
def test_a_damaged_record_is_told_in_one_line(folder, content):
    (folder / "progress.json").write_text(content)
    with pytest.raises(InputError, match=r"progress\.json is damaged; .* begins anew"):
        record.read(folder)


def test_a_folder_that_is_no_workspace_and_an_unknown_exercise_are_told(tmp_path):
    with pytest.raises(InputError, match=r"is no workspace of the lesson"):
        Lesson({}, tmp_path)
    with pytest.raises(InputError, match="exercise is 'x'; expected one of cell_step, sequence"):
        find("x")
    assert find("3").name == find("output-layer").name == "output_layer"


# ------------------------------------------------------------- the lesson meets the checker


@pytest.mark.parametrize("name", ["lesson.py", "lesson.ipynb"])
def test_checking_the_workspace_changes_nothing_in_it(folder, name):
    made = notebook.cells({"cell_step": SOLUTIONS["cell_step"]})
    made.append(notebook.Cell("code", "import lstmkit.lesson\nlstmkit.lesson.check(globals())"))
    (folder / "lesson.py").write_text(notebook.script(made))
    (folder / "lesson.ipynb").write_text(notebook.notebook(made))
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    report = check(folder / name)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before
    assert "✓ lstm_cell_step" in report.text()
    assert "left out" not in report.text()  # every cell ran
    assert report.printed == ""


@pytest.mark.lesson
def test_stubs_are_open_and_no_mistakes(folder):
    report = check(folder / "lesson.py")
    functions = re.findall(r"^def (\w+)", "\n".join(e.stub for e in exercises()), re.MULTILINE)
    assert [(f.kind, f.part, f.text) for f in report.findings] == [
        ("open", function, "not written yet") for function in functions
    ]
    assert report.verdict() == f"nothing passed yet; still open: {', '.join(functions)}"
    done = {name: SOLUTIONS[name] for name in NAMES[:3]}
    (folder / "lesson.py").write_text(notebook.script(notebook.cells(done)))
    report = check(folder / "lesson.py")
    assert not report.mistakes
    assert report.verdict() == f"no mistake found; still open: {', '.join(functions[3:])}"


def test_what_needs_a_stub_is_open_too(folder):
    done = {"sequence": SOLUTIONS["sequence"], "bptt": SOLUTIONS["bptt"]}
    (folder / "lesson.py").write_text(notebook.script(notebook.cells(done)))
    report = check(folder / "lesson.py")
    assert {finding.kind for finding in report.findings} == {"open"}
    assert "○ lstm_forward: needs lstm_cell_step, not written yet" in report.text()
    assert "○ lstm_backward: needs lstm_cell_step_backward, not written yet" in report.text()


@pytest.mark.parametrize(
    ("body", "stub"),
    [
        ("'''Why.'''; ...", True),
        ("h = []; ...; return h", True),
        ("h, c = h0, c0; h: list = []; ...; return list()", True),
        ("Wf = params['Wf']; ...", True),
        ("...; return None", True),
        ("pass", False),
        ("'''Why.'''", False),
        ("h = h0; ...; return h", False),
        ("h = []; h = h0; ...; return h", False),
        ("...; return params['Wf'] @ x", False),
        ("...; h = []; h.append(x); return h", False),
    ],
)
def test_what_counts_as_a_stub(body, stub):
    for source, name in (
        (f"def f(x):\n    {body}", "f"),
        (f"class A:\n  def f(self):\n    {body}", "A.f"),
    ):
        program = Program("p", (Cell("a", source),))
        assert program.unwritten() == ([name] if stub else [])
    twice = Program("p", (Cell("a", "def f(x):\n    ..."), Cell("b", "def f(x):\n    return x")))
    assert twice.unwritten() == []


@pytest.mark.lesson
def test_a_loop_without_end_is_told_and_hangs_nobody(folder):
    """As a learner runs it; the functions after the one with the loop are still tried."""
    loop = SOLUTIONS["clipping"].replace("    norm =", "    while limit:\n        pass\n    norm =")
    storm = "def forget_product(F):\n    while True:\n        print('F' * 99)\n"
    assert loop != SOLUTIONS["clipping"]
    endless = "def sample(params, first, length, temperature, rng):\n    while rng:\n        pass\n"
    done = {"clipping": loop, "basic_rnn": storm, "loss": SOLUTIONS["loss"], "sampling": endless}
    done["output_layer"] = "def lstm_output_layer(h, W, b):\n    while True:\n        pass\n"
    (folder / "lesson.py").write_text(notebook.script(notebook.cells(done)))
    code = "from lstmkit.lesson import grading; grading.SECONDS = 1.0; import runpy; "
    code += "runpy.run_path('lesson.py', run_name='__main__')"
    command = [sys.executable, "-c", code]
    options = {"cwd": folder, "capture_output": True, "text": True, "env": ENVIRONMENT}
    shown = subprocess.run(command, timeout=60, **options).stdout
    assert (
        "✗ clipping: clip_gradients: your code did not finish within 1 s in clip_gradients; is "
        "there a loop without end? (clip_gradients, line "
    ) in shown
    assert "✗ basic_rnn: forget_product: more than 1,000,000 characters printed; is" in shown
    assert "✗ sampling: sample: your code did not finish within 1 s in sample; is there" in shown
    assert shown.count("your code did not finish within 1 s in lstm_output_layer") == 1
    assert "✓ loss passed" in shown


@pytest.mark.lesson
def test_what_does_not_come_along_does_not_hide_the_mistake(folder, capsys):
    source = SOLUTIONS["cell_step"].replace("o * np.tanh(c_t)", "one() * o * c_t")
    names = namespace(f"one = type('One', (), {{'__call__': lambda self: 1}})()\n{source}")
    names |= {"In": [source], "__name__": "__main__"}
    Lesson(names, folder).check("cell_step")
    shown = capsys.readouterr().out
    assert "✗ cell_step: lstm_cell_step, a random case: h_t at 0 is" in shown
    assert "NameError" not in shown


def test_outside_of_its_workspace_the_script_ends_in_one_line(folder, tmp_path):
    (tmp_path / "lesson.py").write_bytes((folder / "lesson.py").read_bytes())
    command = [sys.executable, str(tmp_path / "lesson.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"lstmkit: folder .* is no workspace of the lesson .*\n", done.stderr)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("predict", "cell_step", 5, "a"), "number is 5; expected a question of cell_step, 1 to 2"),
        (("predict", "cell_step", 0, "a"), "number is 0; expected a question of cell_step, 1 to 2"),
        (("predict", "cell_step", "1", "a"), "number is '1'; expected a question of cell_step, 1"),
        (("predict", "nope", 1, "a"), "exercise is 'nope'; expected one of cell_step, sequence"),
        (("check", "nope"), "exercise is 'nope'; expected one of cell_step, sequence"),
        (("check", 50), "exercise is 50; expected one of cell_step, sequence"),
        (("hint", "nope"), "exercise is 'nope'; expected one of cell_step, sequence"),
        (("solution", "nope"), "exercise is 'nope'; expected one of cell_step, sequence"),
    ],
)
def test_what_cannot_be_in_a_cell_is_said_in_one_line(folder, capsys, call, message):
    method, *arguments = call
    getattr(Lesson({}, folder), method)(*arguments)
    shown = capsys.readouterr().out
    assert shown.startswith(f"lesson: {message}")
    assert shown.count("\n") == 1
    assert record.read(folder) == record.new()
