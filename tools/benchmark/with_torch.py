"""PyTorch's side of the benchmark, eager and compiled; and the ONNX files that other frameworks read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import accumulate
from time import perf_counter

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from .prepared import CHANNELS_LAST, Prepared
from .workloads import FREE, LEARNING_RATE, MOMENTUM, TRAINED_STEPS, Workload, weights

OPSET = 18
Tensors = list[torch.Tensor]


def declare(workload: Workload) -> torch.nn.Module:
    """The module with the weights of the workload."""
    net = workload.build(torch)
    values = weights({name: tuple(value.shape) for name, value in net.state_dict().items()})
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()})
    return net.train(workload.training)


def prepare(workload: Workload, threads: int, model: str, variant: str, compiled: bool = False) -> Prepared:
    """Build; `compiled` also compiles, with the first call. Where the layout is not free, converting is part of a call."""
    torch.set_num_threads(threads)
    net, tensors = declare(workload), [torch.from_numpy(x) for x in workload.arrays()]
    start = perf_counter()
    inputs = _inputs(workload, tensors, net, variant)
    run = torch.compile(net) if compiled else net
    if workload.training:
        return _training(workload, net, run, inputs, start)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return workload.output(torch, run, inputs())

    if compiled:
        call()
    return Prepared(call, lambda: [call().numpy()], perf_counter() - start)


def _inputs(workload: Workload, tensors: Tensors, net: torch.nn.Module, variant: str) -> Callable[[], Tensors]:
    """What gives the inputs of a call, in the layout that the module is given here."""
    if variant == CHANNELS_LAST:
        net.to(memory_format=torch.channels_last)
        layout = torch.channels_last
    else:
        layout = torch.contiguous_format

    def converted() -> Tensors:
        return [x.contiguous(memory_format=layout) if x.ndim == 4 else x for x in tensors]

    if workload.layout != FREE and variant == CHANNELS_LAST:
        return converted
    ready = converted()
    return lambda: ready


def _training(
    workload: Workload, net: torch.nn.Module, run: torch.nn.Module, inputs: Callable[[], Tensors], start: float
) -> Prepared:
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses: list[float] = []

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = workload.output(torch, run, inputs())
        loss.backward()
        optimizer.step()
        return loss

    if run is not net:  # the first call compiles, and is the first of those that are compared
        losses.append(step().item())

    def results() -> list[np.ndarray]:
        losses.extend(step().item() for _ in range(TRAINED_STEPS - len(losses)))
        return [np.array(losses, np.float32), *(p.detach().numpy().copy() for p in net.parameters())]

    def scratch() -> int:
        optimizer.zero_grad()
        return peak_bytes(step)

    return Prepared(step, results, perf_counter() - start, scratch=scratch)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes of tensors that `call` has at a time, of those that it makes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0))


def export(workload: Workload, path: str) -> None:
    """Write the module as an ONNX file with inputs x0, x1 ... and the output y."""
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in workload.arrays())
    names = [f"x{i}" for i in range(len(tensors))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs nothing but torch is called old
        torch.onnx.export(
            declare(workload), tensors, path, dynamo=False, input_names=names, output_names=["y"], opset_version=OPSET
        )
