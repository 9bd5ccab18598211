"""Functions of gradients, parameters and modules, after torch.nn.utils, for a graph that is declared once.

grads = nn.utils.clip_grad_norm(optimizer.gradients(loss), 1.0)
train_step = gc.function([x, y], loss, updates=optimizer.updates(grads))
"""

from . import prune, rnn
from .gradients import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value,
    clip_grad_value_,
    clip_grads_with_norm,
    get_total_norm,
)
from .parameters import l1_penalty, l2_penalty, parameters_to_vector, vector_to_parameters
from .weight_norms import remove_weight_norm, weight_norm

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value",
    "clip_grad_value_",
    "clip_grads_with_norm",
    "get_total_norm",
    "l1_penalty",
    "l2_penalty",
    "parameters_to_vector",
    "prune",
    "remove_weight_norm",
    "rnn",
    "vector_to_parameters",
    "weight_norm",
]
