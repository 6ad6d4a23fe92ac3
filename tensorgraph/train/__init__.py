"""Training: the run itself, measures of a classifier, and models as files."""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.train import metrics
from tensorgraph.train.callbacks import EarlyStop, Training
from tensorgraph.train.class_weights import class_weights
from tensorgraph.train.evaluate import evaluate, predict
from tensorgraph.train.fit import fit
from tensorgraph.train.history import History
from tensorgraph.train.loop import NonFiniteLossError
from tensorgraph.train.predictor import Prediction, Predictor
from tensorgraph.train.run import Run, RunBusyError
from tensorgraph.train.saving import load, load_model, save

__all__ = [
    "EarlyStop",
    "History",
    "NonFiniteLossError",
    "Prediction",
    "Predictor",
    "Run",
    "RunBusyError",
    "Training",
    "class_weights",
    "evaluate",
    "fit",
    "load",
    "load_model",
    "metrics",
    "predict",
    "save",
]

__getattr__ = _getter(__name__, __all__)
