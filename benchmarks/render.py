"""From the numbers to the tables: `python benchmarks/render.py` writes them into the page.

`docs/performance.md` holds them between marks, and nobody edits them there; `--check` fails where
the page is not what the numbers say. The numbers are the JSON files that compare.py and beside.py
wrote: results.json and beside.json in this folder.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
NUMBERS = Path(__file__).parent
MARKED = re.compile(
    r"(<!-- (\w+): written by benchmarks/render.py -->\n).*?(<!-- end -->)", re.DOTALL
)


def duration(seconds: float) -> str:
    if seconds >= 1e-3:
        return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
    return f"{1e6 * seconds:.3g} µs"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join([_line(head), _line(["---"] * len(head)), *map(_line, rows)]) + "\n"


def verdict(row: dict[str, Any]) -> str:
    if row["bound"] is None or row["best"] is None:
        return ""
    ratio = row["peers"][row["best"]]["ratio"]
    return "yes" if ratio >= row["bound"] else f"no: {100 * (1 - ratio / row['bound']):.0f} % short"


def ceiling(row: dict[str, Any]) -> tuple[str, str]:
    """Return the ceiling of a row in words, and lstmkit's share of it."""
    found = row["ceiling"]
    if found is None:
        return "", ""
    share = f"{100 * found['seconds'] / row['ours']['seconds']:.0f} %"
    if found["kind"] == "weights":
        size = f"{found['bytes'] / 1024:.0f} KiB of weights a step"
        return f"{size} at {found['bytes_a_second'] / 1e9:.0f} GB/s", share
    return f"products at {found['flops_a_second'] / 1e9:.0f} GFLOP/s", share


def grid(results: dict[str, Any]) -> str:
    """Return ratios, bounds and ceilings."""
    rows = []
    for row in results["rows"]:
        best = row["peers"].get(row["best"])
        ratio = ""
        if best:
            low, high = best["ratio_quartiles"]
            ratio = f"**{best['ratio']:.2f}** ({low:.2f}–{high:.2f})"
        rows.append(
            [
                row["name"],
                duration(row["ours"]["seconds"]),
                f"{row['best']}, {duration(best['seconds'])}" if best else "",
                ratio,
                "stated" if row["bound"] is None else f"{row['bound']:g}",
                verdict(row),
                *ceiling(row),
            ]
        )
    head = [
        "work", "lstmkit", "best peer", "best peer ÷ lstmkit (quartiles)", "at least", "met",
        "ceiling", "share of it",
    ]  # fmt: skip
    return _table(head, rows)


def times(results: dict[str, Any]) -> str:
    """Return every system's time for every row."""
    systems = list(dict.fromkeys(name for row in results["rows"] for name in row["peers"]))
    rows = [
        [
            row["name"],
            duration(row["ours"]["seconds"]),
            duration(row["numpy"]["seconds"]) if row["numpy"] else "",
            *(duration(row["peers"][s]["seconds"]) if s in row["peers"] else "–" for s in systems),
        ]
        for row in results["rows"]
    ]
    return _table(["work", "lstmkit", "its NumPy twin", *systems], rows)


def configurations(results: dict[str, Any]) -> str:
    """Return the configuration in which each peer was fastest, and what each left out."""
    lines = []
    for row in results["rows"]:
        used = [f"{name}: {peer['configuration']}" for name, peer in row["peers"].items()]
        lines.append(f"- {row['name']}: {'; '.join(used) or 'no peer'}.")
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in results["rows"]:
        for name, reason in row["left_out"].items():
            reasons.setdefault((name, reason), []).append(row["name"])
    lines += ["", *(f"- Without {name}: {why}." for name, why in results["missing"].items())]
    for (name, reason), names in reasons.items():
        where = "every row" if len(names) == len(results["rows"]) else "; ".join(names)
        lines.append(f"- Without {name} ({reason}): {where}.")
    return "\n".join(lines) + "\n"


def throughput(results: dict[str, Any]) -> str:
    """Return steps a second of the row with many streams, and what the ceiling would allow."""
    for row in results["rows"]:
        work = row["work"]
        if work["kind"] == "step" and work["batch"] > 1:
            ours, limit = row["ours"]["seconds"], row["ceiling"]["seconds"]
            return (
                f"{row['name']}: {work['batch'] / ours / 1e6:.2f} million steps a second "
                f"({duration(ours)} for all); the ceiling is {work['batch'] / limit / 1e6:.2f} "
                "million.\n"
            )
    return ""


def short(results: dict[str, Any]) -> str:
    """Return the rows whose bound is not met, and by how much."""
    lines = [
        f"- {row['name']}: {row['peers'][row['best']]['ratio']:.2f} of {row['bound']:g} "
        f"({row['best']}); {verdict(row)[4:]}."
        for row in results["rows"]
        if verdict(row).startswith("no")
    ]
    return "\n".join(lines or ["Nowhere: every bound is met."]) + "\n"


def machine(results: dict[str, Any]) -> str:
    """Return one paragraph: where, with what, and how quiet it was."""
    about = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    shares = [row["elsewhere"] for row in results["rows"] if row["elsewhere"] is not None]
    quiet = (
        f" Other programs used at most {100 * max(shares):.0f} % of the processors."
        if shares
        else ""
    )
    return (
        f"{about['processor']}, {about['processors']} processors, {about['system']}; "
        f"lstmkit {results['backend']}; {results['threads']} threads each, float32, "
        f"{results['pairs']} pairs a peer.{quiet} Versions: {versions}.\n"
    )


def bfloat16(results: dict[str, Any]) -> str:
    """Return the error of bfloat16 weights and what a step gains."""
    rows = [
        [
            f"I=H={row['size']}",
            f"{row['largest']:.1e}",
            f"{row['typical']:.1e}",
            duration(row["step_float32"]),
            duration(row["step_bfloat16"]),
        ]
        for row in results["bfloat16"]
    ]
    head = [
        "layer", "largest error of y ÷ largest y", "root mean square", "step, B=1, float32",
        "bfloat16",
    ]  # fmt: skip
    return _table(head, rows)


def costs(results: dict[str, Any]) -> str:
    """Return the small costs around the kernels."""
    ragged, imports = results["ragged_seconds_a_step"], results["import"]
    more = imports["lstmkit"] - imports["numpy"]
    rows = [
        ["`stream.step` with one unit, so that nothing is left but the call",
         duration(results["empty_step"])],
        ["training, a real step of a ragged batch ÷ a step of a full one (lengths 10…200, H=128)",
         f"{ragged['ragged'] / ragged['full']:.2f}"],
        ["`import lstmkit`, more than `import numpy`", duration(more)],
        ["the installed package, beside NumPy", f"{results['package_bytes'] / 1e6:.2f} MB"],
    ]  # fmt: skip
    return _table(["what", "measured"], rows)


OF_GRID = {
    "machine": machine,
    "grid": grid,
    "short": short,
    "times": times,
    "configurations": configurations,
    "throughput": throughput,
}
OF_BESIDE = {"bfloat16": bfloat16, "costs": costs}


def fill(page: str, folder: Path) -> str:
    """Replace what stands between the marks; what was not measured yet is left as it is."""
    parts: dict[str, str] = {}
    for name, makers in (("results.json", OF_GRID), ("beside.json", OF_BESIDE)):
        if (folder / name).is_file():
            results = json.loads((folder / name).read_text(encoding="utf-8"))
            parts |= {part: make(results) for part, make in makers.items()}
    return MARKED.sub(lambda m: f"{m[1]}\n{parts[m[2]]}\n{m[3]}" if m[2] in parts else m[0], page)


def report(results: dict[str, Any]) -> str:
    """Return what compare.py prints."""
    parts = [machine(results), grid(results), times(results), throughput(results)]
    return "\n".join([*filter(None, parts), configurations(results)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", type=Path, default=NUMBERS, help="folder of the JSON files")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it would")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    filled = fill(page, options.numbers)
    if not options.check:
        PAGE.write_text(filled, encoding="utf-8")
    elif filled != page:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what was measured: run benchmarks/render.py")


if __name__ == "__main__":
    main()
