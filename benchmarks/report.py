"""The table and the JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import GROUPS, PEERS


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us" if seconds < 1e-4 else f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1e-1 else f"{seconds:.2f} s"


def verdict(targets: dict[str, float], ratios: dict[str, Any]) -> str:
    """Whether a case reaches its targets: each target, then yes, NO or n/a."""
    if not targets:
        return ""
    shown = []
    for limit in sorted(set(targets.values())):
        peers = [p for p, t in targets.items() if t == limit]
        known = [p for p in peers if p in ratios]
        if not known:
            shown.append(f"<= {limit:g}: n/a")
        else:
            late = [p for p in known if ratios[p]["ratio"] > limit]
            missing = [p for p in peers if p not in ratios]
            answer = f"NO ({', '.join(late)})" if late else "yes"
            shown.append(f"<= {limit:g}: {answer}" + (f" ({', '.join(missing)} n/a)" if missing else ""))
    return "; ".join(shown)


def align(rows: list[list[str]]) -> list[str]:
    """Rows as lines with columns of equal width, the first and the last left-aligned, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *middle, last = (c.rjust(w) for c, w in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *middle, row[-1].ljust(len(last))]).rstrip())
    return lines


def table(results: dict[str, Any]) -> str:
    """The whole report as plain text."""
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}, Python {machine['python']}",
        ", ".join(
            f"{name} {about['version']}" + (f" ({about['threads']} threads)" if about.get("threads", 1) > 1 else "")
            for name, about in results["libraries"].items()
        ),
        "time: median; ratio: tensorgraph's median over the peer's, in brackets the quartiles over the rounds",
    ]
    if machine["load"] > machine["processors"] / 2:
        lines.append(f"the machine was busy (load {machine['load']}): do not believe what runs on several threads")
    for group, title in GROUPS.items():
        cases = [c for c in results["cases"] if c["group"] == group]
        if not cases:
            continue
        peers = [p for p in PEERS if any(p in c["times"] or p in c["targets"] for c in cases)]
        rows = [["", "tensorgraph", *[cell for p in peers for cell in (p, "ratio")], "target"]]
        for case in cases:
            row = [case["label"], case["times"].get("tensorgraph", "n/a")]
            row[1] = row[1] if isinstance(row[1], str) else duration(row[1])
            for peer in peers:
                row.append(duration(case["times"][peer]) if peer in case["times"] else "n/a")
                ratio = case["ratios"].get(peer)
                row.append(f"{ratio['ratio']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio else "")
            rows.append([*row, verdict(case["targets"], case["ratios"])])
        lines += ["", title, *align(rows)]
    if "imports" in results:
        rows = [["import, seconds", "after numpy", "quartiles", "numpy itself", "target"]]
        for package, t in results["imports"].items():
            reached = f"<= 0.1: {'yes' if t['after_numpy'] <= 0.1 else 'NO'}" if package == "tensorgraph" else ""
            rows.append(
                [package, f"{t['after_numpy']:.3f}", f"{t['low']:.3f}-{t['high']:.3f}", f"{t['numpy']:.3f}", reached]
            )
        lines += ["", *align(rows)]
    if "first_calls" in results:
        rows = [["first call, forward+backward", *results["first_calls"], ""]]
        for op in next(iter(results["first_calls"].values())):
            rows.append([op, *[duration(took[op]) for took in results["first_calls"].values()], ""])
        lines += ["", *align(rows)]
    if results["notes"]:
        lines += ["", *results["notes"]]
    if results["wrong"]:
        lines += ["", "RESULTS DISAGREE:", *results["wrong"]]
    return "\n".join(lines)


def summarise(outcome: dict[str, Any]) -> dict[str, Any]:
    """What is written down of a case: medians in place of all samples."""
    return {
        "times": {library: median(samples) for library, samples in outcome["times"].items() if samples},
        "ratios": outcome["ratios"],
        "checks": outcome["checks"],
    }


def write(results: dict[str, Any], path: Path) -> None:
    """The results as JSON, seconds throughout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
