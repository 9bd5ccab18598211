"""PyTorch's side of the benchmark, eager and compiled; and the ONNX files that other frameworks read."""

from __future__ import annotations

import warnings
from time import perf_counter

import numpy as np
import torch

from .prepared import Prepared
from .workloads import LEARNING_RATE, MOMENTUM, TRAINED_STEPS, Workload, weights

OPSET = 18


def declare(workload: Workload) -> torch.nn.Module:
    """The module with the weights of the workload."""
    net = workload.build(torch)
    values = weights({name: tuple(value.shape) for name, value in net.state_dict().items()})
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()})
    return net.train(workload.training)


def prepare(workload: Workload, threads: int, model: str, compiled: bool = False) -> Prepared:
    """Build; `compiled` also compiles, with the first call."""
    torch.set_num_threads(threads)
    net = declare(workload)
    start = perf_counter()
    run = torch.compile(net) if compiled else net
    tensors = [torch.from_numpy(x) for x in workload.arrays()]
    if workload.training:
        return _training(workload, net, run, tensors, start)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return workload.output(torch, run, tensors)

    if compiled:
        call()
    return Prepared(call, lambda: [call().numpy()], perf_counter() - start)


def _training(
    workload: Workload, net: torch.nn.Module, run: torch.nn.Module, tensors: list[torch.Tensor], start: float
) -> Prepared:
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses: list[float] = []

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = workload.output(torch, run, tensors)
        loss.backward()
        optimizer.step()
        return loss

    if run is not net:  # the first call compiles, and is the first of those that are compared
        losses.append(step().item())

    def results() -> list[np.ndarray]:
        losses.extend(step().item() for _ in range(TRAINED_STEPS - len(losses)))
        return [np.array(losses, np.float32), *(p.detach().numpy().copy() for p in net.parameters())]

    return Prepared(step, results, perf_counter() - start)


def export(workload: Workload, path: str) -> None:
    """Write the module as an ONNX file with inputs x0, x1 ... and the output y."""
    tensors = tuple(torch.from_numpy(x) for x in workload.arrays())
    names = [f"x{i}" for i in range(len(tensors))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs nothing but torch is called old
        torch.onnx.export(
            declare(workload), tensors, path, dynamo=False, input_names=names, output_names=["y"], opset_version=OPSET
        )
