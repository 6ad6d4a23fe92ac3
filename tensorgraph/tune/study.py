"""A study: trials of one objective over one space, kept in a folder from which it goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tensorgraph.arguments import Count, Natural, PathLike, checked
from tensorgraph.files import atomic_write
from tensorgraph.tune.engines import EngineChoice
from tensorgraph.tune.locks import lock
from tensorgraph.tune.results import Result
from tensorgraph.tune.settings import read_settings, settle
from tensorgraph.tune.slots import Outcome, Slot
from tensorgraph.tune.space import Space
from tensorgraph.tune.training import TrainingObjective
from tensorgraph.tune.trial import Objective, check_direction

__all__ = ["Direction", "Study"]

Direction: TypeAlias = Literal["minimize", "maximize"]
Sampler: TypeAlias = Literal["random", "tpe", "grid"]


class Study:
    """Trials of one objective over one space.

    What has ended is on the disk by then, each trial in a folder of its own (its slot), so that a study goes on after
    anything: make it again with the same arguments and run it again.

    Parameters
    ----------
    space : Space
        What is searched.
    folder : path-like, optional
        Where it is kept; it is made, or gone on with if it holds the same study. A temporary one unless given, which
        goes with the study.
    seed : int
        Random values are of the seed, the slot and the name alone, so they are the same with any number of workers and
        on any engine. By TPE they depend on which trials ended before.
    direction : {"minimize", "maximize"}
        Whether a smaller score is better.
    sampler : {"random", "tpe", "grid"}
        How values are chosen.
    pruner : {"median"}, optional
        Ends a trial whose report is worse than the median of the others at the same step. Which are ended depends on
        the order in which reports arrive.
    points : int
        Of a grid, the number of values of each hyperparameter.
    batch : int
        How many slots run at once, where the objective is a `tensorgraph.tune.TrainingObjective`: slots 0 to 31 with
        ``batch=32``, whose networks are trained as one batched step wherever their shapes are equal. Scores are the
        same whatever it is.

    Raises
    ------
    ValueError
        If the folder holds another study; the message says in what they differ.
    FileFormatError
        If the folder holds something else, or a study of another version.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> study = tune.Study(tune.Space(lr=tune.log(1e-4, 1)), seed=0)
    >>> study.run(lambda trial: abs(trial["lr"] - 0.01), trials=20, progress=False).best.values["lr"] < 0.1
    True
    """

    @checked
    def __init__(
        self,
        space: Space,
        *,
        folder: PathLike | None = None,
        seed: Natural = 0,
        direction: Direction = "minimize",
        sampler: Sampler = "random",
        pruner: Literal["median"] | None = None,
        points: Count = 5,
        batch: Count = 1,
    ) -> None:
        self._begin(space, folder, seed, direction, sampler, pruner, points, None)
        self.batch = batch

    def _begin(
        self, space: Space, folder: Any, seed: int, direction: Any, sampler: Any, pruner: Any, points: int, parent: Any
    ) -> None:
        self.space, self.seed, self.direction = space, seed, direction
        self.sampler, self.pruner, self.points = sampler, pruner, points if sampler == "grid" else None
        self.parent: dict[str, Any] | None = parent
        self.batch = 1
        self.stopped = ""  # why the last run ended: "trials" or "interrupted"
        self.notes: list[str] = []
        self.kept = folder is not None
        self._grid = space.shuffled(points, seed) if sampler == "grid" else []
        self._objective: Any = None
        self._results: dict[int, Result] = {}
        self._ended: dict[int, Outcome] = {}
        if folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="tensorgraph-study-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        else:
            self.folder = Path(folder)
            if self.folder.exists() and not self.folder.is_dir():
                raise ValueError(f"folder must be a folder, and {os.fspath(folder)!r} is a file")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settle()
        self.refresh()

    @classmethod
    @checked
    def open(cls, folder: PathLike) -> Study:
        """Open the study that a folder holds.

        Raises
        ------
        FileNotFoundError
            If it holds none.
        FileFormatError
            If its study.json is damaged, or of another version.

        Examples
        --------
        >>> import tempfile
        >>> from tensorgraph import tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = tune.Study(tune.Space(lr=tune.log(1e-4, 1)), folder=folder, seed=7)
        ...     print(tune.Study.open(folder).seed, tune.Study.open(folder).space)
        7 lr log(0.0001, 1.0)
        """
        said = read_settings(Path(folder))
        if said is None:
            raise FileNotFoundError(f"{os.fspath(folder)!r} holds no study: it has no study.json")
        study = cls.__new__(cls)
        study._begin(
            Space.from_json(said["space"]), folder, said["seed"], said["direction"], said["sampler"], said["pruner"],
            said["points"] or 1, said["parent"],
        )  # fmt: skip
        return study

    def _settle(self) -> None:
        """Write study.json, or compare with the one that is there."""
        settle(
            self.folder, self.space, seed=self.seed, direction=self.direction, sampler=self.sampler, pruner=self.pruner,
            points=self.points, parent=self.parent,
        )  # fmt: skip

    # what there is ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look again which trials have ended, where another process runs the study."""
        for path in sorted(self.folder.glob("slot-*/outcome.json")):
            number = path.parent.name.removeprefix("slot-")
            if number.isdigit() and int(number) not in self._results:
                slot = Slot(path.parent, int(number))
                outcome, values = slot.outcome(), slot.config()
                if outcome is not None and values is not None:
                    self._take(outcome, values)

    def _take(self, outcome: Outcome, values: Mapping[str, Any]) -> None:
        """Keep how a trial ended."""
        self._ended[outcome.slot] = outcome
        self._results[outcome.slot] = Result(
            outcome.slot, self._fitted(values), outcome.state, outcome.score, outcome.reason, outcome.seconds,
            Slot.of(self.folder, outcome.slot).folder, outcome.traceback,
        )  # fmt: skip

    def _fitted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the objective gets them, of what JSON made of them."""
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    @property
    def trials(self) -> list[Result]:
        """What has ended, in the order of the slots."""
        return [self._results[slot] for slot in sorted(self._results)]

    @property
    def ranked(self) -> list[Result]:
        """Those with a score, the best first; equal ones in the order of the slots."""
        sign = 1.0 if self.direction == "minimize" else -1.0
        scored = [result for result in self.trials if result.state == "complete" and result.score is not None]
        return sorted(scored, key=lambda result: (sign * (result.score or 0.0), result.slot))

    @property
    def best(self) -> Result:
        """The trial with the best score.

        Raises
        ------
        ValueError
            If none is complete; the message says how they ended.
        """
        ranked = self.ranked
        if not ranked:
            told = "; ".join(f"slot {r.slot} {r.state}: {r.reason}" for r in self.trials[:2]) or "none has run"
            raise ValueError(f"no trial of this study is complete, so none is the best ({told})")
        return ranked[0]

    @checked
    def table(self, rows: Count | None = 30) -> str:
        """The trials as text, the best first; equal studies have equal tables, since no times are in it.

        Parameters
        ----------
        rows : int, optional
            The most to show; None shows all.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> space = tune.Space(x=tune.uniform(0, 1))
        >>> print(tune.random(space, lambda trial: round(trial["x"], 3), trials=3, progress=False).table())
        slot  score        x
           0  0.027  0.02683
           1  0.699   0.6991
           2   0.89   0.8904
        3 trials: 3 complete
        """
        from tensorgraph.tune.tables import table

        return table(self, rows)

    def __len__(self) -> int:
        """How many trials have ended."""
        return len(self._results)

    def __repr__(self) -> str:
        return f"Study({len(self)} trials, {self.sampler}, seed={self.seed}, folder={os.fspath(self.folder)!r})"

    # running ---------------------------------------------------------------------------------------------------------

    @checked
    def run(
        self,
        objective: Objective,
        *,
        trials: Count | None = None,
        workers: Count = 1,
        engine: EngineChoice = None,
        retries: Natural = 3,
        threads: Count | None = None,
        progress: bool = True,
    ) -> Study:
        """Run trials until so many have ended; those that have are not run again.

        Parameters
        ----------
        objective : callable
            ``objective(trial)`` gives a score, such as the loss on the dev set. One that is nan or infinite, or a
            FloatingPointError (`tensorgraph.train.NonFiniteLossError` is one), is divergence: told, and the study goes
            on. So it does after any other error, which the trial keeps.
        trials : int, optional
            How many the study has in the end, those before counted; of a grid all its points unless given.
        workers : int
            How many run at the same time.
        engine : str or Engine, optional
            Where: ``"serial"``, in this process; ``"loky"``, in others of this machine, as for several workers unless
            given; on a cluster ``"dask"``, ``"dask:tcp://10.0.0.1:8786"``, ``"ray"`` or ``"ray:auto"``.
        retries : int
            How often a trial whose process was lost is run again, from its checkpoint where it keeps one.
        threads : int, optional
            Of each worker process; the processors shared out among them unless given.
        progress : bool
            Whether to show the trials as they run (on a terminal, with rich) or a line a trial, on standard error.

        Returns
        -------
        Study
            Itself. After Ctrl-C too, with ``stopped == "interrupted"``: the same call goes on.

        Raises
        ------
        LockedError
            If another process runs this study.
        StudyError
            If it cannot go on: a full disk, an objective that cannot reach the workers.
        ValueError
            If `trials` is not given, or more than a grid has points; or `direction` is wrong for a measure.
        """
        from tensorgraph.tune.driver import drive

        if self.sampler == "grid":
            trials = len(self._grid) if trials is None else trials
            if trials > len(self._grid):
                raise ValueError(f"trials is at most {len(self._grid)}, the points of this grid, got {trials}")
        if trials is None:
            raise ValueError("trials says how many trials the study has in the end: trials=25")
        if isinstance(objective, TrainingObjective):
            check_direction(objective.monitor, self.direction)
        elif self.batch > 1:
            raise TypeError(
                f"batch={self.batch} trains networks side by side, so the objective must be a tune.TrainingObjective, "
                f"got {type(objective).__name__}; leave batch out for any function of a trial"
            )
        self._objective = objective
        named = engine or ("serial" if workers == 1 else "loky")
        if named == "serial" and workers > 1:
            raise ValueError(f"engine 'serial' runs one trial at a time, got workers={workers}; use engine='loky'")
        drive(self, objective, trials, named, workers, retries, threads, progress)
        return self

    @checked
    def retry(self) -> int:
        """Forget how the trials that failed have ended, so that the next run tries them again, with the same values.

        Returns
        -------
        int
            How many they are.

        Raises
        ------
        LockedError
            If another process runs this study.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> study = tune.Study(tune.Space(x=tune.uniform(0, 1)))
        >>> _ = study.run(lambda trial: trial["x"] if trial.slot else 1 / 0, trials=5, progress=False)
        >>> study.retry()
        1
        >>> len(study.run(lambda trial: trial["x"], trials=5, progress=False).ranked)
        5
        """
        with lock(self.folder / "study.lock", f"the study {os.fspath(self.folder)!r}"):
            failed = [Slot.of(self.folder, result.slot) for result in self.trials if result.state == "failed"]
            for slot in failed:
                if (now := slot.outcome()) is not None and now.state == "failed":  # else it has run again since
                    slot.forget()
                del self._results[slot.number], self._ended[slot.number]
            self.refresh()
        return len(failed)

    @checked
    def zoom(
        self,
        objective: Objective | None = None,
        *,
        trials: Count | None = None,
        workers: Count = 1,
        folder: PathLike | None = None,
        engine: EngineChoice = None,
        progress: bool = True,
    ) -> Study:
        """Search more finely where the best trials lie: coarse to fine.

        Of each hyperparameter the span of the best fifth of the trials (five at least), on its own scale, a little
        wider at both ends, is the scale of a new study. On smooth scores it usually beats as many more random trials;
        TPE (``Study(sampler="tpe")``) usually does better still.

        Parameters
        ----------
        objective : callable, optional
            The one that this study ran last unless given.
        trials : int, optional
            How many to run; the study is only made where it is left out.
        folder : path-like, optional
            Of the new study; ``zoom`` in this one's folder unless given, where this one is kept.
        workers, engine, progress
            As for `run`.

        Returns
        -------
        Study
            The finer one; its `parent` says of which study and slots it is.

        Raises
        ------
        ValueError
            If fewer than five trials are complete, or no objective is known.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> space = tune.Space(lr=tune.log(1e-4, 1), act=tune.choice("relu", "tanh"))
        >>> coarse = tune.random(space, lambda trial: abs(trial["lr"] - 0.01), trials=25, progress=False)
        >>> fine = coarse.zoom(trials=25, progress=False)
        >>> fine.space["lr"].high < 0.1, fine.best.score < coarse.best.score
        (True, True)
        """
        from tensorgraph.tune.zoom import child

        used = objective or self._objective
        if trials is not None and used is None:
            raise ValueError("this study has not run here, so its objective is not known: pass zoom(objective, ...)")
        finer: Study = child(self, folder)
        options: dict[str, Any] = dict(workers=workers, engine=engine, progress=progress)
        return finer if trials is None else finer.run(used, trials=trials, **options)

    def importance(self) -> dict[str, float]:
        """How much of the variation of the scores' ranks each hyperparameter explains by itself, the largest first.

        0 is what chance would do, 1 that it decides alone. Trials that diverged count as the worst. What
        hyperparameters do only together is not seen.

        Raises
        ------
        ValueError
            If fewer than eight trials have a score or diverged.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> space = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999))
        >>> study = tune.random(space, lambda trial: abs(trial["lr"] - 0.01), trials=50, progress=False)
        >>> list(study.importance())
        ['lr', 'beta']
        """
        from tensorgraph.tune.importance import importance

        return importance(self)

    @checked
    def plot(self, path: PathLike | None = None) -> Any:
        """Draw the study: every trial as a line over all hyperparameters, each of them against the score on its own
        scale, the best score so far, and importance.

        Parameters
        ----------
        path : path-like, optional
            Where to save the picture, its format by the suffix; whole or not at all.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        ValueError
            If no trial is complete.
        """
        from tensorgraph.train.plots import save_figure
        from tensorgraph.tune.plots import overview

        figure = overview(self)
        if path is not None:
            save_figure(figure, path)
        return figure

    @checked
    def report(self, path: PathLike) -> None:
        """Write the study as one page of HTML that needs nothing else, light and dark: pictures, space, every trial.

        Parameters
        ----------
        path : path-like
            Where; whole or not at all.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        from tensorgraph.tune.report import page

        atomic_write(path, page(self).encode())

    def optuna(self) -> Any:
        """The trials that ended as an Optuna study in memory, for Optuna's own tools.

        Returns
        -------
        optuna.study.Study

        Raises
        ------
        MissingExtraError
            If Optuna is not installed.
        """
        from tensorgraph.tune.record import Record

        record = Record(self.space, self.direction, self.seed, self.pruner)
        for slot, outcome in sorted(self._ended.items()):
            reports = Slot.of(self.folder, slot).reports()
            record.add(slot, self._results[slot].values, outcome, reports)
        return record.study

    @checked
    def values(self, slot: Natural) -> dict[str, Any]:
        """The values of a slot that the sampler gives without knowing of any other.

        Parameters
        ----------
        slot : int
            Its number.
        """
        if self.sampler == "grid":
            if slot >= len(self._grid):
                raise ValueError(f"slot is at most {len(self._grid) - 1}, the last point of this grid, got {slot}")
            return dict(self._grid[slot])
        return self.space.draw(seed=self.seed, slot=slot)
