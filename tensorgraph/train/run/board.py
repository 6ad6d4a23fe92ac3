"""TensorBoard's event files of a run: loss, measures and what changes of the hyperparameters, a run there a branch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tensorgraph.files import MissingExtraError

__all__ = ["Board"]


class Board:
    """Writes TensorBoard's event files.

    Parameters
    ----------
    folder : Path
        Each branch has a folder in it.

    Raises
    ------
    MissingExtraError
        If tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tensorboardX
        except ImportError as error:
            raise MissingExtraError(
                "event files for TensorBoard need tensorboardX: install it with "
                '`pip install "tensorgraph-engine[tensorboard]"`'
            ) from error
        self._open = tensorboardX.SummaryWriter
        self.folder = folder
        self._branch = -1
        self._writer: Any = None

    def tell(self, record: dict[str, Any]) -> None:
        """Take what an event of the run says."""
        kind, step = record["event"], record["step"]
        if kind == "step":
            self._add(record, {"step/loss": record["loss"], **_under("hyperparameters", record["hyperparameters"])})
        elif kind == "epoch":
            self._add(record, _under("epoch", record["measures"]))
        elif self._writer is not None:
            self._writer.flush()
        if kind == "resume" or kind == "rollback":
            self._begin(record["branch"], step)

    def _begin(self, branch: int, step: int) -> None:
        """What was told of later steps of this branch is no more: they are made again."""
        self.close()
        self._branch = branch
        folder = self.folder / f"branch{branch}"
        # the names are of the second else, and a file of the same second would be overwritten
        suffix = f".{sum(1 for _ in folder.glob('events.*')):06d}"
        self._writer = self._open(logdir=str(folder), purge_step=step + 1, flush_secs=10, filename_suffix=suffix)

    def _add(self, record: dict[str, Any], values: dict[str, float]) -> None:
        if self._branch != record["branch"]:
            self._begin(record["branch"], record["step"] - 1)
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, global_step=record["step"], walltime=record["time"])

    def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _under(where: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{where}/{name}": float(value) for name, value in values.items()}
