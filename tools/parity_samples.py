"""PyTorch's own sample inputs of tensor functions, torch.nn.functional and torch.nn, as cases that both libraries can run.

In: `module_db` and `op_db` (torch.testing._internal; they need the package expecttest). Out: cases: what PyTorch computes,
and the same call with graphc's names on symbolic tensors. A case that has no meaning in a static graph says why. Nothing is
judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from parity_reasons import NAMESPACES, NO_MEANING, NOT_OFFERED, reason, sample_without_meaning
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

import graphc as gc
from graphc import nn

DOUBLE = torch.float64
SKIPPED_ARGUMENTS = (  # of PyTorch's engine room
    "options", "device", "dtype", "memory_format", "copy", "non_blocking", "layout", "pin_memory", "requires_grad",
)  # fmt: skip

LAYERS_WITHOUT_MEANING = {  # name -> why there is nothing to compare
    "fractional_max_pool2d": "random numbers differ; the modules are compared with given ones",
    "fractional_max_pool3d": "random numbers differ; the modules are compared with given ones",
    "silu/complex": "complex numbers: graphc has no such dtype",
} | {
    f"Lazy{name}{rank}d": "lazy layers take their sizes from a first batch; here sizes are static from the start"
    for name in ("Conv", "ConvTranspose")
    for rank in (1, 2, 3)
}


@dataclass
class Case:
    """One call. `ours` takes a function that makes symbolic tensors of PyTorch's; `owner`: its parameters differ too.

    check: how to compare, where that is not by values and gradients; it is told whether to compile.
    """

    theirs: Callable[[], Any] = lambda: None
    ours: Callable[[Callable[[Any], Any]], Any] = lambda convert: None
    skip: str = ""
    owner: tuple[Any, Any] | None = None  # (module of graphc, module of PyTorch)
    check: Callable[[bool], None] | None = None


@dataclass
class Entry:
    """A function or module, and its cases."""

    name: str
    kind: str
    skip: str = ""
    cases: Callable[[], Iterator[Case]] = field(default=lambda: iter(()))
    missing: str = ""  # what graphc does not offer, in words


def entries() -> list[Entry]:
    """Functions of tensors, of layers, then modules, in PyTorch's order."""
    layers = [op for op in op_db if op.name.startswith("nn.functional")]
    elsewhere = ("nn.functional", "_", "torch.", *NAMESPACES)
    tensors = [op for op in op_db if op.name.startswith("__") or not op.name.startswith(elsewhere)]
    return [*map(_tensor, tensors), *map(_function, layers), *map(_module, module_db)]


# ------------------------------------------------------------------------------------------------------------- tensors


# How PyTorch's samples of a function are called, where the samples hold its arguments in an order of their own.
CALLS: dict[str, Callable[..., Any]] = {
    "einsum": lambda operands, equation: gc.einsum(equation, *operands),
    "meshgrid": lambda *tensors, indexing="ij": gc.meshgrid(*tensors, indexing=indexing),
    "where": lambda a, condition, b: gc.where(condition, a, b),
}


def _tensor(op: Any) -> Entry:
    name = f"{op.name}/{op.variant_test_name}" if op.variant_test_name else op.name
    found = getattr(gc, op.name, None)
    ours = CALLS.get(op.name) or (found if callable(found) else getattr(gc.Tensor, op.name, None))
    skip, missing = reason(NO_MEANING, name), reason(NOT_OFFERED, name)
    assert ours or skip or missing, f"graphc has no {op.name}, and parity_reasons.py does not say why"
    return Entry(name, "tensor", skip, lambda: _tensor_samples(op, ours), missing=missing)


def _tensor_samples(op: Any, ours: Any) -> Iterator[Case]:
    kind = DOUBLE if DOUBLE in op.dtypes else torch.int64 if torch.int64 in op.dtypes else torch.bool
    for sample in op.sample_inputs("cpu", kind, requires_grad=kind is DOUBLE and op.supports_autograd):
        yield Case(
            lambda s=sample: op.op(s.input, *s.args, **s.kwargs),
            lambda convert, s=sample: _call(ours, s, convert),
            sample_without_meaning(op.name, sample),
        )


def _call(ours: Any, sample: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(ours, property):
        return ours.fget(convert(sample.input))
    kwargs = {k: convert(v) for k, v in sample.kwargs.items() if k not in SKIPPED_ARGUMENTS or isinstance(v, torch.dtype)}
    args = [convert(a) for a in sample.args if not isinstance(a, torch.device) and a != "cpu"]
    return ours(convert(sample.input), *args, **kwargs)


# ----------------------------------------------------------------------------------------------------------- functions


def _function(op: Any) -> Entry:
    short = op.name.removeprefix("nn.functional.")
    name = f"{short}/{op.variant_test_name}" if op.variant_test_name else short
    return Entry(name, "functional", LAYERS_WITHOUT_MEANING.get(name, ""), lambda: _samples(op, short))


def _samples(op: Any, short: str) -> Iterator[Case]:
    kind = torch.int64 if set(op.dtypes) == {torch.int64} else DOUBLE
    for sample in op.sample_inputs("cpu", kind, requires_grad=kind is DOUBLE):
        if "attention" in short:  # what surrounds dropout can be compared
            sample.kwargs |= {"dropout_p": 0.0} if "dropout_p" in sample.kwargs else {}
            sample.args = tuple(0.0 if i == 9 and short.startswith("multi") else a for i, a in enumerate(sample.args))
        yield Case(
            lambda s=sample: _theirs(op, short, s),
            lambda convert, s=sample: _ours(short, s, convert),
            _without_meaning(short, sample),
        )


def _theirs(op: Any, short: str, sample: Any) -> Any:
    x = sample.input.log_softmax(-1) if short == "ctc_loss" else sample.input
    return op.op(x, *sample.args, **sample.kwargs)


def _ours(short: str, sample: Any, convert: Callable[[Any], Any]) -> Any:
    """The function of the same name. PyTorch's gradient of ctc_loss holds for log probabilities only, so both get them."""
    function = getattr(nn.functional, short)
    kwargs = {k: convert(v) for k, v in sample.kwargs.items() if k not in SKIPPED_ARGUMENTS or isinstance(v, torch.dtype)}
    if short in ("embedding", "embedding_bag"):  # the weight is what PyTorch's samples begin with
        return function(convert(sample.args[0]), convert(sample.input), *map(convert, sample.args[1:]), **kwargs)
    x = convert(sample.input)
    x = x.log_softmax(-1) if short == "ctc_loss" else x
    return function(x, *map(convert, sample.args), **kwargs)


def _argument(sample: Any, name: str, place: int, default: Any) -> Any:
    return sample.kwargs.get(name, sample.args[place] if len(sample.args) > place else default)


def _without_meaning(short: str, sample: Any) -> str:
    """Why a sample cannot be compared, or ""."""
    if "dropout" in short:
        default = "alpha" not in short
        p, training = _argument(sample, "p", 0, 0.5), _argument(sample, "training", 1, default)
        return "random numbers differ" if training and p not in (0.0, 1.0) else ""
    if short == "rrelu" and _argument(sample, "training", 2, False):
        return "random numbers differ"
    if short == "one_hot" and _argument(sample, "num_classes", 0, -1) == -1:
        return "the shape of the result depends on the labels"
    if short.startswith("max_unpool") and _repeated(sample.args[0].flatten(-int(short[-2]))):
        return "an index occurs twice: PyTorch leaves open which element stays"
    if short in ("embedding", "embedding_bag") and sample.kwargs.get("max_norm") is not None:
        return "max_norm changes the weight in place"
    if short in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") and sample.input.shape != sample.args[0].shape:
        return "graphc refuses to broadcast a target"
    return ""


def _repeated(indices: torch.Tensor) -> bool:
    ordered = indices.sort(-1).values
    return bool((ordered[..., 1:] == ordered[..., :-1]).any())


# ------------------------------------------------------------------------------------------------------------- modules


def _module(info: Any) -> Entry:
    name = info.name.removeprefix("nn.")
    return Entry(name, "module", LAYERS_WITHOUT_MEANING.get(name, ""), lambda: _inputs(info, name))


def _inputs(info: Any, name: str) -> Iterator[Case]:
    for training in (True, False) if info.train_and_eval_differ else (True,):
        options = {"device": "cpu", "dtype": DOUBLE, "requires_grad": True, "training": training}
        for given in info.module_inputs_func(info, **options):
            if given.forward_input is not None:
                yield _module_case(info, name, given, training)


def _module_case(info: Any, name: str, given: Any, training: bool) -> Case:
    made = given.constructor_input
    torch.manual_seed(0)
    theirs = info.module_cls(*made.args, **made.kwargs).to(DOUBLE).train(training)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    _without_dropout(theirs)
    build = getattr(nn, name)
    kwargs = {k: _plain(v) for k, v in made.kwargs.items() if k not in SKIPPED_ARGUMENTS}
    ours = build(*map(_plain, made.args), **kwargs).to("float64").train(training)
    ours.load_state_dict(theirs.state_dict())
    _without_dropout(ours)
    call = given.forward_input

    def run_ours(convert: Callable[[Any], Any]) -> Any:
        args = [*map(convert, call.args)]
        return ours(*_scores(name, args), **{k: convert(v) for k, v in call.kwargs.items()})

    return Case(lambda: theirs(*_scores(name, call.args), **call.kwargs), run_ours, owner=(ours, theirs))


def _scores(name: str, args: Any) -> Any:
    """CTCLoss gets log probabilities, as its function does."""
    return [args[0].log_softmax(-1), *args[1:]] if name == "CTCLoss" else args


def _without_dropout(module: Any) -> None:
    """Random numbers cannot be compared, what surrounds them can."""
    for part in module.modules():
        if type(part).__name__.endswith("Dropout"):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0


def _plain(value: Any) -> Any:
    """A constructor's argument, with arrays in place of tensors, and graphc's functions in place of PyTorch's."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, torch.nn.Module):
        return _twin(value)
    if callable(value) and getattr(value, "__module__", "").startswith("torch"):
        return getattr(nn.functional, value.__name__)
    return value


def _twin(layer: Any) -> Any:
    """graphc's layer for one of PyTorch's transformer layers, given as an argument."""
    attention = layer.self_attn
    return getattr(nn, type(layer).__name__)(
        attention.embed_dim,
        attention.num_heads,
        layer.linear1.out_features,
        activation=_plain(layer.activation),
        batch_first=attention.batch_first,
        norm_first=layer.norm_first,
        bias=layer.linear1.bias is not None,
    )


def as_function(value: Any) -> Any:
    """graphc's function or module for one of PyTorch's."""
    if isinstance(value, torch.nn.Module):
        options = {k: v for k, v in vars(value).items() if not k.startswith("_") and k != "training"}
        options["p"] = options.pop("norm", 2.0)
        return getattr(nn, type(value).__name__)(**options)
    return getattr(nn.functional, value.__name__)


def as_dtype(kind: torch.dtype) -> Any:
    """graphc's dtype of that name."""
    return getattr(gc, str(kind).removeprefix("torch.").replace("bool", "bool_"))
