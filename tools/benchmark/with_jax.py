"""JAX's side of the benchmark: one jitted function. JAX has no setting for threads, so the process gets processors."""

from __future__ import annotations

import os
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .jax_layers import torch_like
from .prepared import CHANNELS_LAST, Prepared
from .workloads import FREE, LEARNING_RATE, MOMENTUM, TO_FIRST, TO_LAST, TRAINED_STEPS, Workload, weights

Values = dict[str, Any]


def prepare(workload: Workload, threads: int, model: str, variant: str) -> Prepared:
    """Trace and compile."""
    if hasattr(os, "sched_setaffinity"):  # before XLA counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    net = workload.build(torch_like)
    net.train(workload.training)
    shapes = {name: getattr(owner, attribute).shape for owner, attribute, name in net.variables()}
    values = {name: jnp.asarray(value) for name, value in weights(shapes).items()}
    last = workload.layout == FREE and variant == CHANNELS_LAST
    inputs = [jnp.asarray(x.transpose(TO_LAST) if last else np.ascontiguousarray(x)) for x in workload.arrays()]

    def output(values: Values, *inputs: Any) -> Any:
        net.load(values)
        if not last:
            return workload.output(torch_like, net, inputs)
        return workload.output(torch_like, net, [x.transpose(TO_FIRST) for x in inputs]).transpose(TO_LAST)

    start = perf_counter()
    if workload.training:
        return _training(output, values, inputs, start)
    run = jax.jit(output).lower(values, *inputs).compile()
    seconds = perf_counter() - start

    def call() -> Any:
        return run(values, *inputs).block_until_ready()

    def results() -> list[np.ndarray]:
        y = np.asarray(call())
        return [y.transpose(TO_FIRST) if last else y]

    return Prepared(call, results, seconds)


def _training(output: Any, values: Values, inputs: list[Any], start: float) -> Prepared:
    def step(values: Values, moments: Values, *inputs: Any) -> tuple[Any, Values, Values]:
        loss, gradients = jax.value_and_grad(output)(values, *inputs)
        moments = jax.tree.map(lambda m, g: MOMENTUM * m + g, moments, gradients)
        return loss, jax.tree.map(lambda v, m: v - LEARNING_RATE * m, values, moments), moments

    state = (values, jax.tree.map(jnp.zeros_like, values))
    run = jax.jit(step, donate_argnums=(0, 1)).lower(*state, *inputs).compile()
    seconds = perf_counter() - start

    def call() -> Any:
        nonlocal state
        loss, *rest = run(*state, *inputs)
        state = (rest[0], rest[1])
        return loss.block_until_ready()

    def results() -> list[np.ndarray]:
        losses = np.array([call() for _ in range(TRAINED_STEPS)])
        trained = (name for name in values if not name.rpartition(".")[2].startswith("running_"))
        return [losses, *(np.array(state[0][name]) for name in trained)]

    return Prepared(call, results, seconds, scratch=lambda: run.memory_analysis().temp_size_in_bytes)
