"""The README's table of speed, from what `make bench` measured."""

from __future__ import annotations

import re
from typing import Any

BEGIN = "<!-- speed: written by `make readme-bench` from docs/speed.json; do not edit -->"
END = "<!-- end of speed -->"
PICTURE = "docs/pictures/speed.svg"  # of the compiled steps
PEERS = {"torch": "PyTorch", "jax": "JAX"}
# of steps that are compiled: beside the others those that compile too, where they were there
COMPILERS = {"torch": "PyTorch", "torch.compile": "torch.compile", "jax": "JAX", "pytensor": "PyTensor",
             "onnxruntime": "ONNX Runtime"}  # fmt: skip
COMPILED = ("compiled", "inference")  # groups of what is
GROUPS = {
    "compiled": "{}",
    "inference": "{}",
    "step": "Step of an MLP with batch norm, {}",
    "eager": "50 × (product, tanh) on 8 numbers, {}",
    "fused": "{}",
    "ops": "{}",
}
STEPS = {"S": "64 × 64-32-10", "M": "64 × 784-256-128-10", "L": "256 × 1024-1024-1024-10"}
# left out of the short table, which shows each op at its middle size
OTHER_SIZES = ("64x50000", "64x10", "64x64", "512x1024", "4096x1024")


def kept(results: dict[str, Any]) -> dict[str, Any]:
    """What of the measurements is kept in the repository; refuses what does not support a table.

    Raises
    ------
    ValueError
        Where a group or a peer is missing, or libraries disagreed on a result.
    """
    missing = [g for g in GROUPS if g not in {case["group"] for case in results["cases"]}]
    missing += [part for part in ("imports", "first_calls") if part not in results]
    missing += [name for name in ("tensorgraph", *PEERS) if name not in results["libraries"]]
    if missing:
        raise ValueError(
            f"it lacks {', '.join(missing)}: make the peers once with `make bench ARGS=--setup-peers`, then measure "
            "everything with `make bench`"
        )
    if results["wrong"]:
        raise ValueError(f"libraries disagreed, so the times mean nothing: {results['wrong'][0]}")
    system = results["machine"]["system"].split()
    return {
        "machine": {**results["machine"], "system": f"{system[0]} {system[-1]}"},
        "date": results["date"],
        "libraries": results["libraries"],
        "cases": [
            {
                "group": case["group"],
                "label": case["label"],
                "single_thread": case["single_thread"],
                "microseconds": {
                    name: float(f"{1e6 * case['times'][name]:.4g}")
                    for name in ("tensorgraph", *(COMPILERS if case["group"] in COMPILED else PEERS))
                    if name in case["times"]
                },
            }
            for case in results["cases"]
        ],
        "imports": {name: round(t["after_numpy"], 3) for name, t in results["imports"].items()},
        "first_calls": {
            cache: {op: round(seconds, 4) for op, seconds in took.items()}
            for cache, took in results["first_calls"].items()
        },
    }


def duration(microseconds: float) -> str:
    """Three digits and a unit."""
    if microseconds >= 1e5:
        return f"{microseconds / 1e6:.2f} s"
    if microseconds >= 1e3:
        return f"{microseconds / 1e3:.{1 if microseconds >= 1e4 else 2}f} ms"
    return f"{microseconds:.0f} µs" if microseconds >= 100 else f"{microseconds:.1f} µs"


def label(case: dict[str, Any]) -> str:
    """What a row says it is."""
    text = STEPS.get(case["label"], case["label"]) if case["group"] == "step" else case["label"]
    if case["group"] == "fused":
        name, _, size = text.rpartition(" ")
        rows, _, columns = size.partition("x")
        text = f"`{name}` {int(rows):,} × {int(columns):,}"
    return GROUPS[case["group"]].format(text.replace("+", " + "))


def table(cases: list[dict[str, Any]], peers: dict[str, str] = PEERS) -> list[str]:
    """Times side by side, the least in bold."""
    lines = [f"| | tensorgraph | {' | '.join(peers.values())} |", "|---|--:|" + "--:|" * len(peers)]
    for case in cases:
        times = case["microseconds"]
        cells = []
        for name in ("tensorgraph", *peers):
            text = duration(times[name]) if name in times else ""
            cells.append(f"**{text}**" if name in times and times[name] == min(times.values()) else text)
        lines.append(f"| {label(case)} | {' | '.join(cells)} |")
    return lines


def ordered(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases in the order of GROUPS."""
    return [case for group in GROUPS for case in results["cases"] if case["group"] == group]


def block(results: dict[str, Any]) -> str:
    """All that stands between BEGIN and END."""
    every = ordered(results)
    steps, predictions = ([case for case in every if case["group"] == group] for group in COMPILED)
    cases = [case for case in every if case["group"] not in COMPILED]
    short = [case for case in cases if case["group"] != "ops" and not case["label"].endswith(OTHER_SIZES)]
    won, won_steps, won_predictions = (
        sum(case["microseconds"]["tensorgraph"] <= min(case["microseconds"].values()) for case in some)
        for some in (cases, steps, predictions)
    )
    compilers, predictors = (
        {k: name for k, name in COMPILERS.items() if any(k in c["microseconds"] for c in some)}
        for some in (steps, predictions)
    )
    machine, about = results["machine"], results["libraries"]
    others = [
        f"{name} {about[k]['version']}" for k, name in (compilers | predictors).items() if k in about and k not in PEERS
    ]
    ours = about["tensorgraph"]
    threads = about["torch"].get("threads", 1)
    versions = (
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}, Python {machine['python']}; "
        f"tensorgraph {ours['version']} with NumPy {ours['numpy']} and Numba {ours['numba']}, PyTorch "
        f"{about['torch']['version']} ({threads} threads; one for the chain of small ops), "
        f"JAX {about['jax']['version']}; {results['date'][:10]}"
    )
    imports = results["imports"]
    empty, filled = results["first_calls"]["empty cache"], results["first_calls"]["filled cache"]
    compiled = [op for op, seconds in empty.items() if seconds >= 0.1]
    predicted = [] if not predictions else [
        "",
        "Predictions of one example and of a batch, by `model.compile()` and by the others:",
        "",
        *table(predictions, predictors),
        "",
        f"tensorgraph is the fastest in {won_predictions} of these {len(predictions)} rows.",
    ]  # fmt: skip
    first = [
        "Median times of training steps compiled by `tg.compile` and by the others, and of PyTorch's eager one; with "
        "Adam, and the loss is read; the least in bold.",
        "",
        *table(steps, compilers),
        "",
        f'<img src="{PICTURE}" width="820" alt="Of each step the time of every other library as a multiple of '
        "tensorgraph's, on a logarithmic scale, with the quartiles of the rounds\">",
        "",
        f"tensorgraph is the fastest in {won_steps} of these {len(steps)} rows.",
        *predicted,
        "",
        "Eager:",
        "",
    ]
    lines = [
        BEGIN,
        *(first if steps else []),
        *table(short),
        "",
        f"{versions}{', ' + ', '.join(others) if others else ''}. Eager, tensorgraph is the fastest in {won} of all "
        f"{len(cases)} rows.",
        "",
        f"Importing tensorgraph takes {imports['tensorgraph']:.2f} s beyond NumPy (PyTorch {imports['torch']:.2f} s, "
        f"JAX {imports['jax']:.2f} s). A kernel is compiled when it is first called "
        f"({min(empty[op] for op in compiled):.1f} to {max(empty[op] for op in compiled):.1f} s); later processes find "
        f"it on disk ({min(filled[op] for op in compiled):.2f} to {max(filled[op] for op in compiled):.2f} s).",
        "",
        "<details><summary>All rows, the slower ones too</summary>",
        "",
        *table(cases),
        "",
        "</details>",
        END,
    ]
    return "\n".join(lines)


def replaced(readme: str, text: str) -> str:
    """The README with this block in place of the one it has."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.S)
    if len(pattern.findall(readme)) != 1:
        raise ValueError(f"README.md must hold one block from {BEGIN!r} to {END!r}")
    return pattern.sub(lambda _: text, readme)
