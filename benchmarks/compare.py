"""lstmkit beside PyTorch, ONNX Runtime, OpenVINO and JAX: `python benchmarks/compare.py`.

    pip install torch==2.13.0 onnx onnxruntime openvino jax     (what is missing is left out)

For every row of the grid, on the same weights and numbers:

1. Everybody's output is compared with that of lstmkit's NumPy twin in float64. Nothing is timed
   where one is wrong.
2. Each peer enters with several documented configurations and goes on with its fastest.
3. lstmkit and each peer are timed as neighbours, A B B A A B …; the ratio of a row is the median of
   the ratios of such pairs, so that a machine whose speed drifts favours nobody.
4. The ceiling of the machine for this row is measured in the same minute.

Two threads each, on two processors, float32.
"""

from __future__ import annotations

import os

THREADS = "2"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, THREADS)
if hasattr(os, "sched_setaffinity"):  # JAX takes its threads from here
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(THREADS)])

import argparse  # noqa: E402  (the thread counts must be set first)
import importlib  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402
from typing import Any  # noqa: E402

import ceilings  # noqa: E402
import numpy as np  # noqa: E402
import peers_lstmkit  # noqa: E402
import render  # noqa: E402
from grid import GRID, Disagreement, LeftOut, Problem, Row  # noqa: E402
from timing import Elsewhere, fastest, pairs  # noqa: E402

import lstmkit as lk  # noqa: E402

PEERS = {
    "pytorch": "PyTorch",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "jax": "JAX",
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_peers(wanted: list[str]) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Import the peers that are installed; name the others."""
    found, missing = {}, {}
    for name in wanted:
        try:
            module = importlib.import_module(f"peers_{name}")
        except ImportError as error:
            missing[PEERS[name]] = f"{error.name or name} is not installed"
            say(f"without {PEERS[name]}: {missing[PEERS[name]]}")
        else:
            found[module.NAME] = module
    return found, missing


def median(samples: Any) -> float:
    return float(np.median(samples))


def quartiles(samples: Any) -> list[float]:
    return [float(f"{q:.4g}") for q in np.quantile(samples, (0.25, 0.75))]


def measure(row: Row, peers: dict[str, ModuleType], options: argparse.Namespace) -> dict[str, Any]:
    """Check, then time, one row."""
    problem, left_out, entered = Problem(row.work), {}, {}
    native = peers_lstmkit.native(problem)
    errors = {"lstmkit": problem.check("lstmkit", native.outputs())}
    numpy = peers_lstmkit.numpy(problem)
    errors["numpy"] = problem.check("lstmkit with NumPy", numpy.outputs())
    for name, module in peers.items():
        try:
            contenders = module.contenders(problem)
        except LeftOut as reason:
            left_out[name] = str(reason)
            continue
        checked = [problem.check(f"{name} ({c.configuration})", c.outputs()) for c in contenders]
        errors[name] = max(checked)
        entered[name] = contenders

    elsewhere = Elsewhere()
    limit = ceilings.ceiling(row.work, problem.tokens)
    ours = fastest([native])
    found, all_ours = {}, []
    for name, contenders in entered.items():
        theirs = fastest(contenders)
        samples = pairs(ours, theirs, options.pairs)
        ratios = [b / a for a, b in samples]
        all_ours += [a for a, _ in samples]
        found[name] = {
            "configuration": theirs[0].configuration,
            "seconds": median([b for _, b in samples]),
            "ratio": median(ratios),
            "ratio_quartiles": quartiles(ratios),
            "error": errors[name],
            "samples": [[float(f"{s:.5g}") for s in pair] for pair in samples],
        }
    samples = pairs(ours, fastest([numpy]), max(3, options.pairs // 3))
    all_ours += [a for a, _ in samples]
    numpy_seconds = [b for _, b in samples]
    return {
        "name": row.name,
        "work": asdict(row.work),
        "bound": row.bound,
        "ours": {
            "configuration": native.configuration,
            "seconds": median(all_ours),
            "quartiles": quartiles(all_ours),
            "error": errors["lstmkit"],
        },
        "numpy": {
            "seconds": median(numpy_seconds),
            "error": errors["numpy"],
            "samples": [[float(f"{s:.5g}") for s in pair] for pair in samples],
        },
        "peers": found,
        "best": min(found, key=lambda name: found[name]["ratio"]) if found else None,
        "left_out": left_out,
        "ceiling": limit,
        "elsewhere": elsewhere.share(),
    }


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", action="append", help="only rows whose name holds this; repeatable"
    )
    parser.add_argument("--peers", help=f"of {','.join(PEERS)} (all)")
    parser.add_argument("--pairs", type=int, default=15, help="timings of each pair (15)")
    parser.add_argument("--quick", action="store_true", help="3 pairs, 20 s for torch.compile")
    parser.add_argument("--compile-seconds", type=float, help="a torch.compile may take (120)")
    parser.add_argument("--json", type=Path, help="also write all samples to this file")
    options = parser.parse_args()
    if options.quick:
        options.pairs = 3
    wanted = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := sorted(set(wanted) - set(PEERS)):
        parser.error(f"unknown peers {', '.join(unknown)}; known: {', '.join(PEERS)}")
    rows = [r for r in GRID if not options.rows or any(text in r.name for text in options.rows)]
    if not rows:
        parser.error(f"no row holds {options.rows}; they are:\n" + "\n".join(r.name for r in GRID))

    peers, missing = find_peers(wanted)
    if "torch.compile" in peers:
        seconds = options.compile_seconds or (20 if options.quick else 120)
        peers["torch.compile"].seconds = seconds
    versions = {"Python": platform.python_version(), "NumPy": np.__version__}
    versions["lstmkit"] = lk.__version__
    for module in peers.values():
        versions |= module.versions()
    results: dict[str, Any] = {
        "machine": {
            "processor": processor(),
            "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": versions,
        "backend": lk.backend(),
        "threads": int(THREADS),
        "pairs": options.pairs,
        "missing": missing,
        "rows": [],
    }
    for row in rows:
        try:
            found = measure(row, peers, options)
        except Disagreement as error:
            sys.exit(f"compare: {row.name}: {error}; nothing of this row was timed")
        results["rows"].append(found)
        best = found["peers"].get(found["best"])
        say(
            f"{row.name}: {render.duration(found['ours']['seconds'])}"
            + (f", {found['best']} ÷ lstmkit {best['ratio']:.2f}" if best else "")
            + (f" (at least {row.bound:g})" if row.bound else "")
        )
        if options.json:  # after every row: a long run that is stopped keeps what it has
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(render.report(results))


if __name__ == "__main__":
    main()
