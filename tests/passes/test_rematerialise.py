"""Values that are made anew instead of kept: memory falls, products are not repeated, numbers stay to the bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from programs import check_kernels, random_array

import graphc as gc
from graphc import nn, optim
from graphc.driver import Stages
from graphc.interp.graph import run
from graphc.ir.graph import Graph
from graphc.passes.buffers import plan_buffers
from graphc.passes.fuse import FusedGraph, fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.rematerialise import _Lives, _Rewriting, rematerialise


class Block(nn.Module):
    def __init__(self, width: int, activation: Callable[[gc.Tensor], gc.Tensor]) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation = activation

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return x + self.down(self.activation(self.up(self.norm(x))))


def training(rows: int, width: int, activation: Callable[[gc.Tensor], gc.Tensor], blocks: int = 4) -> Graph:
    """A training step of residual blocks, after all graph passes."""
    gc.manual_seed(1)
    net = nn.Sequential(*(Block(width, activation) for _ in range(blocks)))
    x = gc.placeholder((rows, width), gc.float32, name="x")
    loss = (net(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    return Stages({"step": step}).steps["step"][-1].after


class Pictures(nn.Module):
    """Convolutions with a residual: what they read lies inside its padded form."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(4))

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        for n, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            y = norm(layer(x))
            x = gc.relu(x + y if n % 2 else y)
        return x


def training_of_pictures(batch: int, width: int, size: int) -> Graph:
    gc.manual_seed(1)
    net = Pictures(width)
    x = gc.placeholder((batch, width, size, size + 1), gc.float32, name="x")
    loss = (net(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    return Stages({"step": step}, winograd=False).steps["step"][-1].after


class Attention(nn.Module):
    """Attention of four heads, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        batch, tokens, width = x.shape
        q, k, v = (part.reshape(batch, tokens, 4, width // 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        chosen = (q @ k.transpose(2, 3) / 3).softmax(-1)
        return x + self.out((chosen @ v).transpose(1, 2).reshape(batch, tokens, width))


def training_of_attention(batch: int, tokens: int, width: int) -> Graph:
    gc.manual_seed(1)
    net = nn.Sequential(*(Attention(width) for _ in range(3)))
    x = gc.placeholder((batch, tokens, width), gc.float32, name="x")
    loss = (net(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    return Stages({"step": step}).steps["step"][-1].after


def training_of_words(batch: int, words: int, classes: int) -> Graph:
    """A training step that holds the most where it makes the exponentials of its scores."""
    gc.manual_seed(1)
    net = nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, classes))
    x, labels = (gc.placeholder((batch, words), gc.int64, name=name) for name in ("x", "labels"))
    loss = nn.functional.cross_entropy(net(x).reshape(-1, classes), labels.reshape(-1))
    step = gc.function([x, labels], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    return Stages({"step": step}).steps["step"][-1].after


def training_of_steps(steps: int) -> Graph:
    """Recurrent: each step backwards reads a part of the product of all inputs, which all of them need at once."""
    gc.manual_seed(1)
    net = nn.LSTM(32, 64, batch_first=True)
    x = gc.placeholder((16, steps, 32), gc.float32, name="x")
    loss = (net(x)[0][:, -1] ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    return Stages({"step": step}).steps["step"][-1].after


def ops(graph: Graph) -> Counter[str]:
    return Counter(value.op.name for value in graph.values())


def arena(fused: FusedGraph) -> int:
    return plan_buffers(lower([fused], Machine()), Machine()).arena_size


@pytest.mark.parametrize("activation", [gc.relu, gc.gelu, gc.sigmoid], ids=["relu", "gelu", "sigmoid"])
def test_activations_are_made_anew_and_products_are_not(activation: Callable[[gc.Tensor], gc.Tensor]) -> None:
    graph = training(768, 264, activation)
    before = fuse(graph)
    later = rematerialise(before)
    assert arena(later) < 0.9 * arena(before)
    assert ops(later.graph)["after"] > 0
    for name in ("dot_general", "reduce_sum"):
        assert ops(later.graph)[name] == ops(graph)[name]


def test_padded_values_are_made_anew_with_their_borders() -> None:
    graph = training_of_pictures(8, 16, 32)
    before = fuse(graph)
    later = rematerialise(before)
    assert before.insets and arena(later) < 0.8 * arena(before)
    assert ops(later.graph)["pad"] > ops(graph)["pad"]
    assert ops(later.graph)["conv_general"] == ops(graph)["conv_general"]


def test_products_in_attention_are_made_anew_and_long_sums_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough: small networks have little else to do."""
    monkeypatch.setattr("graphc.passes.rematerialise.MORE_TIME", 1.0)
    graph = training_of_attention(4, 128, 264)
    before = fuse(graph)
    later = rematerialise(before)
    assert arena(later) < 0.8 * arena(before)
    again = ops(later.graph)["dot_general"] - ops(graph)["dot_general"]
    assert 3 < again <= 6  # of the three products of queries and keys, and what they choose
    assert ops(later.graph)["reduce_sum"] == ops(graph)["reduce_sum"]
    graph = training_of_attention(1, 264, 4 * 264)
    assert ops(rematerialise(fuse(graph)).graph)["dot_general"] == ops(graph)["dot_general"]


@pytest.mark.parametrize("graph", [training(512, 64, gc.gelu), training_of_attention(4, 128, 128)], ids=["gelu", "attention"])
def test_numbers_stay_to_the_bit(graph: Graph) -> None:
    later = rematerialise(fuse(graph)).graph
    assert later is not graph and [v for v, _ in later.updates] == [v for v, _ in graph.updates]
    rng = np.random.default_rng(0)
    arrays = [random_array(rng, x) for x in graph.inputs]
    states = [{v: v.attrs["info"].initial for v in graph.variables()} for _ in range(2)]
    results = [run(g, arrays, state) for g, state in zip((graph, later), states, strict=True)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    for variable in graph.variables():
        np.testing.assert_array_equal(states[0][variable], states[1][variable])


def test_small_programs_are_left_alone() -> None:
    fused = fuse(training(32, 8, gc.gelu))
    assert rematerialise(fused) is fused


def test_a_little_memory_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.passes.rematerialise.LESS_MEMORY", 0.1)
    fused = fuse(training(512, 64, gc.gelu))
    assert rematerialise(fused) is fused


def test_inference_is_left_alone() -> None:
    net = Block(64, gc.gelu).eval()
    x = gc.placeholder((2048, 64), gc.float32, name="x")
    fused = fuse(Stages({"f": gc.function([x], net(x))}).steps["f"][-1].after)
    assert rematerialise(fused) is fused


def test_kernels_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small enough for the interpreter of kernels, and taken for large."""
    monkeypatch.setattr("graphc.passes.rematerialise.WORTH", 1)
    monkeypatch.setattr("graphc.passes.rematerialise.LARGE", 1)
    monkeypatch.setattr("graphc.passes.rematerialise.LESS_MEMORY", 1)
    graphs = [training(12, 5, activation, blocks=3) for activation in (gc.relu, gc.gelu)]
    for graph in (*graphs, training_of_pictures(2, 3, 5), training_of_attention(2, 5, 8)):
        later = rematerialise(fuse(graph))
        assert ops(later.graph)["after"] > 0
        check_kernels(later.graph, calls=2)


def test_nothing_is_made_anew_without_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.passes.rematerialise.MORE_TIME", 0.0)
    fused = fuse(training(512, 64, gc.gelu))
    assert rematerialise(fused) is fused


def test_what_would_not_lower_the_peak_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = _Lives(fuse(training_of_steps(100)))
    chosen = lives.choose(float("inf"))
    assert chosen and lives.peak_after(chosen) >= lives.peak_bytes
    monkeypatch.setattr("graphc.passes.rematerialise.fuse", None)
    assert rematerialise(lives.fused) is lives.fused
    lives = _Lives(fuse(training(512, 64, gc.gelu)))
    assert lives.peak_after(()) == lives.peak_bytes > lives.peak_after(lives.choose(float("inf")))


def test_every_chain_waits_for_something_behind_the_peak() -> None:
    lives = _Lives(fuse(training(512, 64, gc.gelu)))
    chains = lives.choose(float("inf"))
    assert chains
    for chain in chains:
        first, last = lives.span[chain.value]
        assert first <= lives.peak < last
        made = lives.span[chain.event][0]
        assert lives.peak <= made < min(lives.order[reader] for reader in chain.readers)


def test_what_is_made_at_the_peak_is_made_anew_from_what_is_read_there() -> None:
    lives = _Lives(fuse(training_of_words(8, 64, 1024)))
    (chain,) = lives.choose(float("inf"))
    assert lives.span[chain.value][0] == lives.peak and Counter(w.op.name for w in chain.words) == {"exp": 1, "sub": 1}
    scores, largest = sorted(chain.leaves, key=lambda leaf: -leaf.type.nbytes)
    assert lives.span[scores][1] == lives.peak and scores.type.nbytes == chain.value.type.nbytes
    assert chain.saved == scores.type.nbytes - largest.type.nbytes


def test_kernels_compute_the_same_from_what_is_read_at_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.passes.rematerialise.LARGE", 1)
    lives = _Lives(fuse(training_of_words(4, 32, 129)))
    chains = [chain for chain in lives.choose(float("inf")) if lives.span[chain.value][0] == lives.peak]
    assert chains
    check_kernels(_Rewriting(lives, chains).graph(), calls=1)
