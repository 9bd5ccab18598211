"""OpenVINO's side of the benchmark: one stream, float32, inputs and outputs that no call copies."""

from __future__ import annotations

from time import perf_counter

import openvino as ov

from .prepared import Prepared
from .workloads import Workload


def prepare(workload: Workload, threads: int, model: str) -> Prepared:
    """Read and compile the model for latency. Without the hint, processors with AMX would compute in bfloat16."""
    start = perf_counter()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_HYPER_THREADING": True,
    }
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    seconds = perf_counter() - start
    for i, x in enumerate(workload.arrays()):
        request.set_tensor(f"x{i}", ov.Tensor(x))

    def results() -> list[object]:
        request.infer()
        return [request.get_tensor("y").data.copy()]

    return Prepared(request.infer, results, seconds)
