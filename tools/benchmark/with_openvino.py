"""OpenVINO's side of the benchmark: one stream, float32, inputs and outputs that no call copies."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from .prepared import CHANNELS_LAST, Prepared
from .workloads import FREE, TO_FIRST, TO_LAST, Workload


def prepare(workload: Workload, threads: int, model: str, variant: str) -> Prepared:
    """Read and compile the model for latency. Without the hint, processors with AMX would compute in bfloat16."""
    last = workload.layout == FREE and variant == CHANNELS_LAST
    start = perf_counter()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_HYPER_THREADING": True,
    }
    core = ov.Core()
    network = core.read_model(model)
    if last:
        network = _with_channels_last(network)
    request = core.compile_model(network, "CPU", options).create_infer_request()
    seconds = perf_counter() - start
    for i, x in enumerate(workload.arrays()):
        request.set_tensor(f"x{i}", ov.Tensor(x.transpose(TO_LAST) if last else np.ascontiguousarray(x)))

    def results() -> list[np.ndarray]:
        request.infer()
        y = request.get_tensor("y").data.copy()
        return [y.transpose(TO_FIRST) if last else y]

    return Prepared(request.infer, results, seconds)


def _with_channels_last(model: ov.Model) -> ov.Model:
    """A model whose inputs and outputs are pictures, with the channels of each at the end."""
    steps = PrePostProcessor(model)
    for i in range(len(model.inputs)):
        steps.input(i).tensor().set_layout(ov.Layout("NHWC"))
        steps.input(i).model().set_layout(ov.Layout("NCHW"))
    for i in range(len(model.outputs)):
        steps.output(i).tensor().set_layout(ov.Layout("NHWC"))
        steps.output(i).model().set_layout(ov.Layout("NCHW"))
    return steps.build()
