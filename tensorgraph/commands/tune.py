"""``tensorgraph tune``: run, show and zoom studies. A configuration is data; what runs is named on the command line."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tensorgraph.arguments.near import near
from tensorgraph.commands.config import Section, read_config
from tensorgraph.commands.errors import CommandError

__all__ = ["add_tune"]

EXAMPLE = """the configuration, search.toml
  [study]
  folder = "runs/search"        # from which it goes on
  trials = 25
  workers = 2                   # seed, direction, sampler ("random", "tpe", "grid"), points, pruner ("median"),
                                # engine ("serial", "loky", "dask", "dask:tcp://HOST:PORT", "ray", ...) too
  batch = 1                     # of tune.TrainingObjective so many trials are trained as one batched step
  [space]
  lr = { log = [1e-4, 1] }
  rule = { choice = ["sgd", "momentum"] }
  beta = { ewa = [0.9, 0.999], when = { rule = "momentum" } }
  layers = { int = [1, 4] }
  units = { log_int = [16, 256], each = "layers" }
  batch = { pow2 = [16, 256] }
the objective, a function of a trial that returns a score, in search.py
  tensorgraph tune run search.toml --objective search:objective
"""
CODES = """exit codes
  0 done: every trial has ended, complete or with its reason   2 it could not be done or was not understood: what
  ended is kept   130 interrupted by Ctrl-C: what ended is kept, and the same command goes on"""


def add_tune(commands: Any) -> None:
    """Add it to the grammar."""
    raw = argparse.RawDescriptionHelpFormatter
    tune = commands.add_parser(
        "tune", help="search hyperparameters: run, show, zoom", formatter_class=raw, epilog=CODES
    )  # fmt: skip
    verbs = tune.add_subparsers(title="commands", metavar="command", required=True)
    run = verbs.add_parser(
        "run", help="run a study, or go on with it", formatter_class=raw,
        description="Runs the trials that have not ended yet. Ctrl-C keeps what ended; the same command goes on.",
        epilog=EXAMPLE + CODES,
    )  # fmt: skip
    run.add_argument("config", help="a TOML file, see below")
    run.add_argument("--report", metavar="PAGE", help="write this page of HTML at the end")
    run.set_defaults(command=run_run)

    show = verbs.add_parser("show", help="what came of a study, also while it runs")
    show.add_argument("folder", help="the study's folder")
    show.add_argument("--rows", type=int, default=30, help="the most trials to show (%(default)s)")
    show.add_argument("--plot", metavar="PICTURE", help="save the picture, such as study.png")
    show.add_argument("--report", metavar="PAGE", help="write the page of HTML")
    show.set_defaults(command=run_show)

    zoom = verbs.add_parser("zoom", help="coarse to fine: a study of the region of the best trials")
    zoom.add_argument("folder", help="the coarse study's folder")
    zoom.add_argument("-o", "--output", metavar="FOLDER", help="of the finer study (zoom in the coarse one's)")
    zoom.set_defaults(command=run_zoom)

    for verb in (run, zoom):
        verb.add_argument("--objective", required=verb is run, metavar="MODULE:FUNCTION",
                          help="what is run for each trial; modules of this folder too")  # fmt: skip
        verb.add_argument("--trials", type=int, help="how many the study has in the end")
        verb.add_argument("--workers", type=int, help="how many run at the same time")
        verb.add_argument("--engine", type=_engine, metavar="NAME",
                          help="where they run: serial, loky, dask, dask:ADDRESS, ray or ray:ADDRESS (this process for "
                          "one worker, loky for several)")  # fmt: skip


def run_run(options: argparse.Namespace) -> int:
    """``tensorgraph tune run``"""
    from tensorgraph.arguments import Count
    from tensorgraph.tune import Study
    from tensorgraph.tune.engines import EngineChoice

    config = read_config(options.config)
    settings = config.section("study")
    described = _study(config, settings)
    trials = settings.take("trials", Count, 25 if described["sampler"] != "grid" else None)
    workers = settings.take("workers", Count, 1)
    engine = settings.take("engine", EngineChoice, None)
    config.close()
    trials = trials if options.trials is None else options.trials
    workers = workers if options.workers is None else options.workers
    objective = _function(options.objective)  # before the study makes its folder, which a mistake would leave
    return _run(Study(**described), objective, options, trials, workers, options.engine or engine)


def _engine(said: str) -> str:
    """The name of an engine, with the address of a cluster."""
    from tensorgraph.arguments import Unfit, kind_of
    from tensorgraph.tune.engines import EngineChoice

    try:
        return str(kind_of(EngineChoice)(said))
    except Unfit as unfit:
        raise argparse.ArgumentTypeError(unfit.sentence("NAME")) from None


def _study(config: Section, settings: Section) -> dict[str, Any]:
    """What a configuration says of its study, as arguments of `Study`."""
    from tensorgraph.arguments import Count, Natural

    return dict(
        space=_space(config.section("space")),
        folder=settings.file_of("folder"),
        seed=settings.take("seed", Natural, 0),
        direction=settings.choose("direction", ["minimize", "maximize"], "minimize"),
        sampler=settings.choose("sampler", ["random", "tpe", "grid"], "random"),
        pruner=settings.choose("pruner", ["median"], None),
        points=settings.take("points", Count, 5),
        batch=settings.take("batch", Count, 1),
    )


def _space(said: Section) -> Any:
    """The hyperparameters in the order of the file, after those that they ask for: a table's keys may be in any."""
    from tensorgraph import tune

    scales = {name: _scale(said.section(name)) for name in said}
    ordered: dict[str, Any] = {}

    def put(name: str, asking: tuple[str, ...] = ()) -> None:
        if name in asking:
            said.refuse(name, f"{' asks for '.join((*asking, name))}: one of them must be there without the others")
        if name in ordered:
            return
        for other in scales[name].asks:
            if other not in scales:
                meant = near(other, scales)
                hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(scales)}"
                said.refuse(name, f"{said.told(name)} asks for {other!r}; {hint}")
            put(other, (*asking, name))
        ordered[name] = scales[name]

    for name in scales:
        put(name)
        try:
            tune.Space(ordered)
        except (TypeError, ValueError) as error:
            said.refuse(name, str(error))
    return tune.Space(ordered)


def _scale(said: Section) -> Any:
    """A scale of ``{ log = [1e-4, 1] }``, with ``when`` and ``each``."""
    from tensorgraph import tune
    from tensorgraph.tune import words

    known = [word for word in words.__all__ if word in said]
    if len(known) != 1:
        listed = ", ".join(sorted(words.__all__))
        raise CommandError(f"{said.place()}: {said.told('')[:-1]} needs one of {listed}, such as {{ log = [1e-4, 1] }}")
    (word,) = known
    values = said.take(word, list)
    try:
        scale = getattr(tune, word)(*values)
        if "when" in said:
            scale = scale.when(**said.section("when").rest())
        if "each" in said:
            scale = scale.each(said.take("each", str))
    except (TypeError, ValueError) as error:
        said.refuse(word, str(error))
    return scale


def _run(
    study: Any, objective: Any, options: argparse.Namespace, trials: int | None, workers: int, engine: str | None
) -> int:
    """Run a study and show it; 130 after Ctrl-C, as any command."""
    study.run(objective, trials=trials, workers=workers, engine=engine)
    print(study.table())
    if getattr(options, "report", None):
        study.report(options.report)
    return 130 if study.stopped == "interrupted" else 0


def _function(named: str) -> Any:
    """The function that was named on the command line, MODULE:FUNCTION."""
    module, colon, name = named.partition(":")
    if not (module and colon and name):
        raise CommandError(f"--objective is MODULE:FUNCTION, such as search:objective; got {named!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise CommandError(f"there is no module {module!r} here or installed; --objective names one") from None
    if not hasattr(found, name):
        raise CommandError(f"the module {module!r} has no {name!r}; --objective names a function in it")
    return getattr(found, name)


def run_show(options: argparse.Namespace) -> int:
    """``tensorgraph tune show``"""
    from tensorgraph.tune import Study

    study = Study.open(options.folder)
    print(study.table(rows=options.rows))
    if options.plot:
        study.plot(options.plot)
    if options.report:
        study.report(options.report)
    return 0


def run_zoom(options: argparse.Namespace) -> int:
    """``tensorgraph tune zoom``"""
    from tensorgraph.tune import Study

    objective = None if options.objective is None else _function(options.objective)
    finer = Study.open(options.folder).zoom(folder=None if options.output is None else Path(options.output))
    print(f"{finer.folder}\n{finer.space}")
    if objective is None:
        return 0
    trials = 25 if options.trials is None else options.trials
    return _run(finer, objective, options, trials, 1 if options.workers is None else options.workers, options.engine)
