"""ONNX Runtime's side of the benchmark. Inputs and outputs are bound once, so that no call copies or allocates them."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import onnxruntime as ort

from .prepared import Prepared
from .workloads import Workload


def prepare(workload: Workload, threads: int, model: str, variant: str) -> Prepared:
    """Load the model, optimised as far as it goes."""
    start = perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    seconds = perf_counter() - start
    binding = session.io_binding()
    values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x)) for x in workload.arrays()]
    for i, value in enumerate(values):
        binding.bind_ortvalue_input(f"x{i}", value)
    binding.bind_output("y", "cpu")
    session.run_with_iobinding(binding)
    binding.bind_ortvalue_output("y", binding.get_outputs()[0])

    def results() -> list[object]:
        session.run_with_iobinding(binding)
        return [binding.get_outputs()[0].numpy()]

    return Prepared(lambda: session.run_with_iobinding(binding), results, seconds)
