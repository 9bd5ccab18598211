"""Optimisers, learning rates and averages of weights, with the names, options and steps of torch.optim."""

from . import lr_scheduler, swa_utils
from .accumulation import Accumulation
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adafactor, Adagrad, RMSprop
from .muon import Muon
from .optimizer import Optimizer
from .sgd import ASGD, SGD
from .signs import Lion, Rprop

__all__ = [
    "ASGD",
    "SGD",
    "Accumulation",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
