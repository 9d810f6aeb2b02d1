"""The page of the laboratory: `python experiments/laboratory.py` measures and writes it again.

It runs `lstmkit lesson gradients` into docs/laboratory, fills the tables of docs/laboratory.md and
the figures that the lesson quotes. With `--render` the numbers that are there are used.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from lstmkit.lesson import laboratory

ROOT = Path(__file__).resolve().parents[1]
FOLDER, PAGE = ROOT / "docs" / "laboratory", ROOT / "docs" / "laboratory.md"
MEASURED = ROOT / "src" / "lstmkit" / "lesson" / "content" / "measured.json"
DISTANCES = (10, 50, 99)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def errors(numbers: dict) -> list[list]:
    rows = []
    for network, runs in laboratory.best_runs(numbers).items():
        found = [run["error"] for run in runs]
        solved = sum(error <= numbers["about"]["solved"] for error in found)
        middle = float(np.median(found))
        rows.append([network, middle, min(found), max(found), f"{solved} of {len(found)}"])
    return rows


def blocks(numbers: dict) -> dict[str, str]:
    """The page's tables, by the names of their places."""
    about = numbers["about"]
    rows = [[n, f"{m:.4f}", f"{a:.4f} to {b:.4f}", s] for n, m, a, b, s in errors(numbers)]
    adding = table(["network", "error, median", "least to most", "solved"], rows)
    trained = sum(run["seconds"] for run in numbers["adding"])
    rates = " and ".join(f"{rate:g}" for rate in about["rnn_rates"])
    adding += (
        f"\n\n{about['hidden_size']} units, {about['training']['steps']} steps of "
        f"{about['training']['batch_size']} sequences, seeds 0 to {about['seeds'] - 1}; Adam at "
        f"{about['training']['learning_rate']:g}, the basic RNN at {rates}, of which the better "
        f"run of each seed counts. These trainings took {trained:.0f} seconds, everything on this "
        f"page {about['seconds']:.0f}, by {about['engine']} on two cores."
    )

    rows = []
    for when in (laboratory.START, laboratory.END):
        for network in laboratory.NETWORKS:
            of_it = [f for f in numbers["flows"] if (f["network"], f["when"]) == (network, when)]
            flow = laboratory.mean_flows(of_it)
            for name, values in (("‖∂L/∂h‖", flow.dh), ("‖∂L/∂c‖", flow.dc), ("∏ f", flow.kept)):
                if values is not None:
                    rows.append([network, when, name, *(share(values[k]) for k in DISTANCES)])
            if flow.kept_most is not None:
                most = [share(flow.kept_most[k]) for k in DISTANCES]
                rows.append([network, when, "∏ f, the most lasting unit", *most])
    flows = table(["network", "", "", *(f"{k} steps back" for k in DISTANCES)], rows)

    rows = []
    for bias in about["forget_biases"]:
        flow = laboratory.mean_flows([f for f in numbers["sweep"] if f["forget_bias"] == bias])
        last = (flow.dh, flow.dc, flow.kept, flow.kept_most)
        rows.append([f"{bias:g}", *(share(values[DISTANCES[-1]]) for values in last)])
    head = ["forget bias", "‖∂L/∂h‖", "‖∂L/∂c‖", "∏ f, mean", "∏ f, the most lasting unit"]
    return {"adding": adding, "flows": flows, "sweep": table(head, rows)}


def filled(page: str, numbers: dict) -> str:
    for name, text in blocks(numbers).items():
        pattern = rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)"
        page, count = re.subn(
            pattern, lambda m, t=text: f"{m[1]}{t}\n{m[2]}", page, flags=re.DOTALL
        )
        assert count == 1, f"{PAGE.name} has no place for {name}"
    return page


def quoted(numbers: dict) -> str:
    """What the lesson quotes, as its file."""
    rows = [[n, *(float(f"{e:.4f}") for e in (m, a, b)), s] for n, m, a, b, s in errors(numbers)]
    lines = ",\n ".join(json.dumps(row) for row in rows)
    return f'{{"adding": [\n {lines}\n]}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.render:
        command = [sys.executable, "-m", "lstmkit", "lesson", "gradients", "--force"]
        subprocess.run([*command, "-o", str(FOLDER)], check=True)
        (FOLDER / "lstm.safetensors").unlink()  # the trained model: the page does not use it
    numbers = json.loads((FOLDER / "gradients.json").read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), numbers), encoding="utf-8")
    MEASURED.write_text(quoted(numbers), encoding="utf-8")


if __name__ == "__main__":
    main()
