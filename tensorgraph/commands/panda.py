"""``tensorgraph panda``: watch a run and steer it, from any terminal or a browser."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorgraph.commands.errors import CommandError

__all__ = ["add_panda"]

EXAMPLES = """\
a run is a folder that fit(..., run="runs/first") trains in; from another terminal
  tensorgraph panda runs/first watch                curves, speed and commands, until the run ends
  tensorgraph panda runs/first set lr 0.001         from the next step on; "log" lists what was done
  tensorgraph panda runs/first pause
  tensorgraph panda runs/first resume
  tensorgraph panda runs/first checkpoint --name good
  tensorgraph panda runs/first rollback good        go back, on a new branch; without a name, to the last one
  tensorgraph panda runs/first stop                 fit ends as it does after all epochs
  tensorgraph panda runs/first watch --web          the same in a browser on this machine
  tensorgraph panda runs/first report run.html      one file to keep or to send
exit codes
  0 done   1 the run refused it   2 it could not be done or was not understood: there is no run, or nobody trains it"""
STATES = {
    "new": "no run was begun there yet",
    "interrupted": "it was interrupted; run the same again, and it goes on",
    "finished": "it is finished",
    "diverged": "it diverged; with --no-wait, roll it back and set what made it so, then call fit with it again",
}


def add_panda(commands: Any) -> None:
    """Add it to the grammar."""
    raw = argparse.RawDescriptionHelpFormatter
    panda = commands.add_parser(
        "panda", help="watch a run, and steer it while it trains", formatter_class=raw, epilog=EXAMPLES,
        description="Babysits one model: shows a run while it trains and changes it between two steps.",
    )  # fmt: skip
    panda.add_argument("run", metavar="RUN", help="the run's folder, such as runs/first")
    what = panda.add_subparsers(title="what to do", metavar="WHAT", required=True)

    watch = what.add_parser("watch", help="curves until the run ends, or all of a run that has ended")
    watch.add_argument("--lines", action="store_true", help="a line an event, in place of curves")
    watch.add_argument("--web", action="store_true", help="in a browser, by a page that only this user can open")
    watch.add_argument("--port", type=int, default=0, help="of the page on 127.0.0.1 (a free one)")
    watch.add_argument("--open", action="store_true", help="open the page in the browser of this desktop")
    watch.set_defaults(command=run_watch)

    setting = _sent(what, "set", "give a hyperparameter another value", run_set)
    setting.add_argument("name", metavar="NAME", help="one of those that the run has; a wrong one lists them")
    setting.add_argument("value", metavar="VALUE", type=float, help="a number; it takes the place of a schedule")
    _sent(what, "pause", "let the run wait", lambda run, options: run.pause())
    _sent(what, "resume", "let it go on", lambda run, options: run.resume())
    kept = _sent(what, "checkpoint", "keep the state as it is now", lambda run, options: run.checkpoint(options.name))
    kept.add_argument("--name", help="a checkpoint with a name stays, and can be gone back to by it")
    back = _sent(what, "rollback", "go back to a checkpoint, on a new branch", run_rollback)
    back.add_argument("to", metavar="TO", nargs="?", type=str, help="its number or its name (the last one)")
    _sent(what, "stop", "end the run after the present step", lambda run, options: run.stop())

    log = what.add_parser("log", help="what was commanded, and what came of it")
    log.add_argument("--all", action="store_true", help="epochs and checkpoints too")
    log.set_defaults(command=run_log)
    report = what.add_parser("report", help="write a page with curves, commands, settings and every epoch")
    report.add_argument("file", metavar="FILE", nargs="?", help="where (report.html in the run's folder)")
    report.set_defaults(command=run_report)


def _sent(what: Any, name: str, told: str, send: Callable[[Any, argparse.Namespace], str]) -> argparse.ArgumentParser:
    """A command that goes to the run."""
    made: argparse.ArgumentParser = what.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
    made.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for the answer (%(default)s)")
    made.add_argument("--no-wait", action="store_true",
                      help="leave it for the run, also for one that goes on later, and wait for no answer")  # fmt: skip
    made.set_defaults(command=lambda options: run_sent(options, send))
    return made


def run_set(run: Any, options: argparse.Namespace) -> str:
    return str(run.set(options.name, int(options.value) if options.value.is_integer() else options.value))


def run_rollback(run: Any, options: argparse.Namespace) -> str:
    to = options.to
    return str(run.rollback(int(to) if to is not None and to.isdecimal() else to))


def _run(options: argparse.Namespace, *, begun: bool = False) -> Any:
    """The run of a folder that is there; where it is to have `begun`, one that holds a run."""
    from tensorgraph.train import Run

    if not Path(options.run).is_dir():
        raise CommandError(f"there is no run {options.run!r}: give the folder that fit(..., run=...) trains in")
    run = Run(options.run)
    if Path(options.run, "study.json").is_file() and not run.folder.described.exists():
        raise CommandError(
            f"{options.run!r} holds a study: `tensorgraph tune show {options.run}` shows it, and a trial that keeps "
            f"its run is watched by its folder, such as {str(Path(options.run, 'slot-0000'))!r}"
        )
    if begun and run.status == "new":
        raise CommandError(f"no run was begun in {options.run!r} yet: fit(..., run={options.run!r}) begins it")
    return run


def run_sent(options: argparse.Namespace, send: Callable[[Any, argparse.Namespace], str]) -> int:
    """Send a command and wait for the answer: 1 where it is refused."""
    from tensorgraph.train.run.control import status_at_once
    from tensorgraph.train.watch.story import told

    run = _run(options)
    status = status_at_once(run.folder)
    if status not in ("running", "paused") and not options.no_wait:
        raise CommandError(
            f"nobody trains in {options.run!r}: {STATES[status]} (--no-wait leaves the command for later)"
        )
    id = send(run, options)
    if options.no_wait:
        print(f"left for the run, as {id}")
        return 0
    try:
        answer = run.wait(id, options.timeout)
    except TimeoutError:
        raise CommandError(
            f"no answer within {options.timeout:g} s: the run is {run.status}, and takes the command between two steps "
            f"({options.run!r} log tells when it did)"
        ) from None
    if answer["event"] == "refused":
        print(f"tensorgraph: {told(answer)}", file=sys.stderr)
        return 1
    print(f"step {answer['step']:,}: {told(answer)}")
    return 0


def run_watch(options: argparse.Namespace) -> int:
    """``tensorgraph panda RUN watch``"""
    from tensorgraph.train.watch.terminal import watch

    run = _run(options)
    if not options.web:
        watch(run, plain=True if options.lines else None)
        return 0
    from tensorgraph.train.watch.server import served

    try:
        with served(run, options.port) as (server, file):
            print(f"{options.run} is at http://127.0.0.1:{server.server_address[1]}/")
            print(f"open {file}: it holds the key (Ctrl-C ends the page, not the run)", flush=True)
            if options.open:
                webbrowser.open(file.resolve().as_uri())  # an address without the key, which arguments would show
            server.wait()
    except KeyboardInterrupt:
        print("the page has ended")
    return 0


def run_log(options: argparse.Namespace) -> int:
    """``tensorgraph panda RUN log``"""
    from tensorgraph.train.run.log import CHECKPOINT
    from tensorgraph.train.watch.report import clock
    from tensorgraph.train.watch.story import number, told

    quiet = {"step"} if options.all else {"step", "epoch", CHECKPOINT}
    for event in _run(options, begun=True).events():
        if event.get("event") not in quiet:
            when, branch = clock(number(event.get("time"))), event.get("branch", 0)
            print(f"{when}  step {event.get('step', 0):>8,}  branch {branch}  {told(event)}")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """``tensorgraph panda RUN report``"""
    file = Path(options.run, "report.html") if options.file is None else Path(options.file)
    _run(options, begun=True).report(file)
    print(f"written to {file}")
    return 0
