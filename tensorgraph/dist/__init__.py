"""One model trained by many processes, each with a part of every batch: data parallel over MPI."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.dist.parallel import DataParallel
from tensorgraph.dist.ranks import RanksError

__all__ = ["DataParallel", "RanksError"]

__getattr__ = _getter(__name__, __all__)
