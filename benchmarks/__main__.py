"""``python -m benchmarks``: measure, print one table, write one JSON file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine, report, startup
from benchmarks.cases import GROUPS, Case, every_case
from benchmarks.processes import Worker, WorkerError, run_case

PEER_LIBRARIES = ("torch", "jax", "autograd", "pytensor")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed of tensorgraph beside its peers.")
    parser.add_argument("what", nargs="?", default="all",
                        choices=["all", "examples", "floors", "growth", "kernels", "ranks", "tune", "waiting"],
                        help="in place of all else, examples: how long each takes; floors: how far compiled steps are "
                             "from what the processor could do; growth: how times grow with a graph's size; kernels: "
                             "which ops compiled plans run as machine code; ranks: a step by one process and by two; "
                             "tune: what a trial of a search costs; waiting: first steps of compiled "
                             "training")  # fmt: skip
    parser.add_argument("--setup-peers", action="store_true", help="make .venv-peers with PyTorch, JAX and autograd")
    parser.add_argument("--python", metavar="PATH", default=sys.executable,
                        help="the interpreter that has tensorgraph (the one that runs this)")  # fmt: skip
    parser.add_argument("--peers-python", metavar="PATH", help="an interpreter that has the peers")
    parser.add_argument("--only", metavar="WORD", action="append", default=[],
                        help=f"what has this in its name: {', '.join(GROUPS)}, startup, softmax, ...")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=11, help="rounds a case (11)")
    parser.add_argument("--seconds", type=float, default=0.1, help="seconds a library's turn in a round (0.1)")
    parser.add_argument("--output", type=Path, default=machine.ROOT / "bench-output" / "benchmarks.json",
                        help="where the JSON file goes, and beside it the picture, as .svg")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed too")
    options = parser.parse_args(arguments)
    if options.peers_python is not None:  # workers start in other folders; a link stays one, an environment's is
        options.peers_python = os.path.abspath(options.peers_python)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds must be at least 1 and --seconds positive")
    return options


def start_workers(python: str, peers: str | None, notes: list[str]) -> dict[str, Worker]:
    """One process a library; those that cannot be had are noted with the remedy."""
    workers = {library: Worker(library, python) for library in ("tensorgraph", "eager", "numpy")}
    workers["short path"] = Worker("short", python)
    if peers is None:
        notes.append(f"n/a: no environment with the peers; make it with: {machine.REMEDY}")
        return workers
    for name, library, threads in (
        ("torch", "torch", None),
        ("torch, one thread", "torch", 1),
        ("torch.compile", "torch_compiled", None),
        ("jax", "jax", None),
        ("pytensor", "pytensor", None),
        ("onnxruntime", "onnxruntime", None),
        ("autograd", "autograd", None),
    ):
        try:
            workers[name] = Worker(library, peers, threads)
        except (WorkerError, OSError) as error:
            notes.append(f"n/a: {name}: {error}; remake the environment with: {machine.REMEDY}")
    return workers


def taking_part(case: Case, workers: dict[str, Worker]) -> dict[str, Worker]:
    """The workers of a case, by library: PyTorch's with the threads that the case wants."""
    which, other = ("torch, one thread", "torch") if case.single_thread else ("torch", "torch, one thread")
    chosen = {name: worker for name, worker in workers.items() if name not in (which, other)}
    return {**chosen, "torch": workers[which]} if which in workers else chosen


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the command line asks for."""

    def wanted(name: str) -> bool:
        return not options.only or any(word in name for word in options.only)

    peers = machine.peers_python(options.peers_python)
    results: dict[str, Any] = {
        "machine": machine.describe_machine(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "libraries": {},
        "cases": [],
        "notes": [],
        "wrong": [],
    }
    cases = [case for case in every_case() if wanted(f"{case.group} {case.label}")]
    if cases:
        workers = start_workers(options.python, peers, results["notes"])
        try:
            results["libraries"] = {name: worker.ask("describe") for name, worker in workers.items()}
            for case in cases:
                print(f"\r\033[K{case.group} {case.label} ...", end="", file=sys.stderr, flush=True)
                outcome = run_case(case, taking_part(case, workers), options.rounds, options.seconds)
                results["cases"].append({**asdict(case), **report.summarise(outcome)})
                results["wrong"] += outcome["wrong"]
                results["notes"] += [f"n/a: {case.group} {case.label}: {why}" for why in outcome["absent"].values()]
        finally:
            for worker in workers.values():
                worker.close()
    if wanted("startup import"):
        print("\r\033[Kimports ...", end="", file=sys.stderr, flush=True)
        pythons = {"tensorgraph": options.python}
        if peers is not None:
            pythons |= {p: peers for p in PEER_LIBRARIES if p in results["libraries"]}
        results["imports"] = startup.import_times(pythons, max(3, options.rounds))
    if wanted("startup first calls"):
        print("\r\033[Kfirst calls ...", end="", file=sys.stderr, flush=True)
        results["first_calls"] = startup.first_calls(options.python)
    print("\r\033[K", end="", file=sys.stderr, flush=True)
    return results


def pictured(results: dict[str, Any], path: Path) -> str:
    """What the last line says of the picture, which needs matplotlib."""
    try:
        from benchmarks import plot

        return f", drawn in {path}" if plot.draw(results, path) else ""
    except ImportError as error:
        return f"; not drawn: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Run; 1 where results disagree or tensorgraph could not do a case, with ``--strict`` where a target is missed."""
    options = parse(arguments)
    if options.setup_peers:
        machine.setup_peers()
        return 0
    if options.what == "examples":
        from benchmarks import examples

        taken = examples.measure(
            options.python, only=options.only,
            told=lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr, flush=True),
        )  # fmt: skip
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(examples.table(taken))
        wrong = [what for name, times in taken.items() for what in examples.late(name, times)]
        return int(any("error" in times for times in taken.values()) or (options.strict and bool(wrong)))
    if options.what == "floors":
        from benchmarks import floors

        reached = floors.measure(
            machine.peers_python(options.peers_python), options.only,
            lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr, flush=True),
        )  # fmt: skip
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(floors.table(reached))
        return 0
    if options.what == "growth":
        from benchmarks import growth  # which needs tensorgraph in this very process

        grown = growth.measure(told=lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr, flush=True))
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(growth.table(grown))
        return int(options.strict and any(e > growth.LARGEST for e in growth.exponents(grown).values()))
    if options.what == "kernels":
        from benchmarks import kernels

        planned = kernels.measure(options.only, lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr))
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(kernels.table(planned))
        return 0
    if options.what == "ranks":
        from benchmarks import ranks

        print(ranks.table(ranks.measure()))
        return 0
    if options.what == "tune":
        from benchmarks import tuning

        searched = tuning.measure(told=lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr, flush=True))
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(tuning.table(searched))
        return int(options.strict and any(searched[name]["over"] > tuning.MOST for name in tuning.OURS))
    if options.what == "waiting":
        from benchmarks import first_steps

        waited = first_steps.measure(
            options.python, machine.peers_python(options.peers_python),
            told=lambda line: print(f"\r\033[K{line} ...", end="", file=sys.stderr, flush=True),
        )  # fmt: skip
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(first_steps.table(waited))
        return 0
    results = measure(options)
    report.write(results, options.output)
    print(report.table(results))
    print(f"\nwritten to {options.output}{pictured(results, options.output.with_suffix('.svg'))}")
    failed = bool(results["wrong"]) or any("tensorgraph" not in c["times"] for c in results["cases"])
    late = any(c["ratios"].get(p, {"ratio": 0})["ratio"] > t for c in results["cases"] for p, t in c["targets"].items())
    return int(failed or (options.strict and late))


if __name__ == "__main__":
    raise SystemExit(main())
