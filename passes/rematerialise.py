"""Rematerialisation: values that the last part of a program would find in memory are computed there anew, from others that
are kept for it anyway.

In: a fused graph. Out: the fused form of an equal graph that needs less memory where it needs the most; the identical
object where nothing pays. Normalised activations, results of relu and gelu, and the like then leave memory with their
first readers: the backward pass makes them again from the inputs of their layer.

    y = f(x); early(y); ...; late(y, z)   ->   y = f(x); early(y); ...; late(f(after(x, z)), z)

Only elementwise chains, views, padding and products whose sums are not long are computed twice, only what frees memory at the
peak, and only as much as a part of the estimated time allows; the cheapest bytes go first. Reductions and other products are
never repeated. What packing takes is not counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product

from graphc.ir.graph import Graph
from graphc.ir.location import located
from graphc.ir.op import Contraction, Elementwise
from graphc.ir.values import Value, make, splat
from graphc.ops.shape import after

from .cluster import HEAVY, Cluster
from .element import is_heavy, is_view, storage
from .fuse import FusedGraph, fuse

ROUNDS = 3  # each lowers the peak that the last one left
WORTH = 1 << 20  # bytes: below such a peak there is nothing to win
LARGE = 1 << 16  # bytes of values worth looking at
MORE_TIME = 0.115  # of the estimated time that may be added
LESS_MEMORY = 0.9  # of the peak, at most, that has to be left
FLOPS, BYTES, LANES = 64.0, 8.0, 16.0  # a cycle: of products, moved, of light elementwise words; only their ratios matter
LONGEST = 24  # words of one chain
SHORT = 2.0  # cycles of a product, for each byte of its result, that may be repeated


def rematerialise(fused: FusedGraph) -> FusedGraph:
    """Compute anew what costs more memory than time."""
    first = best = _Lives(fused)
    budget = MORE_TIME * first.time()
    for _ in range(ROUNDS):
        chosen = best.choose(budget) if best.peak_bytes >= WORTH else []
        if best.peak_after(chosen) >= best.peak_bytes:
            break
        later = _Lives(fuse(_Rewriting(best, chosen).graph()))
        if later.peak_bytes >= best.peak_bytes:
            break
        budget -= sum(chain.cycles for chain in chosen)
        best = later
    return best.fused if best.peak_bytes <= LESS_MEMORY * first.peak_bytes else fused


@dataclass(frozen=True, eq=False)
class _Chain:
    """What it takes to have anew what lies in the memory of a value: words to compute, from leaves; the readers that take it,
    and what they wait for."""

    value: Value
    late: frozenset[Value]  # of what lies there, what they read
    words: frozenset[Value]
    leaves: frozenset[Value]
    readers: frozenset[Cluster]
    event: Value
    saved: int
    cycles: float


@dataclass
class _Search:
    """A chain in the making, to have anew what lies in `host`."""

    host: Value
    words: set[Value] = field(default_factory=set)
    leaves: set[Value] = field(default_factory=set)
    kept: int = 0  # bytes of leaves that would otherwise be gone at the peak
    longer: int = 0  # and of those that would be gone behind it


class _Lives:
    """When the stored values of a fused graph are alive, and where most of them are."""

    def __init__(self, fused: FusedGraph) -> None:
        self.fused = fused
        self.order = {cluster: n for n, cluster in enumerate(fused.clusters)}
        self.number = {value: n for n, value in enumerate(fused.graph.values())}
        self.readers: dict[Value, list[int]] = {}
        self.makers: dict[Value, set[Cluster]] = {}  # more than one, where a value is computed again
        for n, cluster in enumerate(fused.clusters):
            for member in cluster.inside:
                self.makers.setdefault(member, set()).add(cluster)
            for leaf in cluster.sources - cluster.inside:
                self.readers.setdefault(leaf, []).append(n)
        results = {storage(root) for root in fused.graph.roots}
        held = [v for v in fused.graph.values() if v in fused.stored and v not in results and v in self.readers]
        self.inside: dict[Value, list[Value]] = {}  # what has memory of its own -> what lies in it
        for value in held:
            self.inside.setdefault(self._host(value), []).append(value)
        self.span = {
            host: (min(self.order[fused.home[v]] for v in values), max(self.readers[v][-1] for v in values))
            for host, values in self.inside.items()
        }
        alive = self._alive(self.span)
        self.peak_bytes = max(alive)
        self.peak = alive.index(self.peak_bytes)

    def _alive(self, span: Mapping[Value, tuple[int, int]]) -> list[int]:
        """Bytes that are alive at each cluster."""
        changes = [0] * (len(self.fused.clusters) + 1)
        for value, (first, last) in span.items():
            changes[first] += value.type.nbytes
            changes[last + 1] -= value.type.nbytes
        return list(accumulate(changes))

    def peak_after(self, chosen: Iterable[_Chain]) -> int:
        """The peak, if these chains were computed anew in the order that is: products for all their readers at once, all else
        in registers."""
        span, again = dict(self.span), {}
        for chain in chosen:
            early = [n for v in self.inside[chain.value] for n in self.readers[v] if n <= self.peak]
            span[chain.value] = self.span[chain.value][0], max(early, default=self.span[chain.value][0])
            late = [self.order[reader] for reader in chain.readers]
            for host in {self._host(leaf) for leaf in chain.leaves} & span.keys():
                span[host] = span[host][0], max(span[host][1], *late)
            if any(isinstance(word.op.lower, Contraction) for word in chain.words):
                again[chain.value] = min(late), max(late)
        return max(map(sum, zip(self._alive(span), self._alive(again), strict=True)))

    def _host(self, value: Value) -> Value:
        """What a stored value has its memory from: itself, or the padded one around it."""
        inset = self.fused.insets.get(value)
        return inset.host if inset is not None else value

    def time(self) -> float:
        """Estimated cycles of a call."""
        cycles = 0.0
        for cluster in self.fused.clusters:
            moved = sum(v.type.nbytes for v in cluster.sources - cluster.inside)
            cycles += (moved + sum(v.type.nbytes for v in cluster.members if v in self.fused.stored)) / BYTES
            cycles += sum(_work(value) for value in cluster.members)
        return cycles

    def choose(self, budget: float) -> list[_Chain]:
        """Chains that free memory at the peak, the cheapest for each byte first; none takes what another one needs."""
        chains = sorted(self._chains(), key=lambda c: (c.cycles / c.saved, self.span[c.value]))
        chosen: list[_Chain] = []
        gone: set[Value] = set()
        needed: set[Value] = set()
        for chain in chains:
            leaves = {self._host(leaf) for leaf in chain.leaves}
            if chain.value in needed or not gone.isdisjoint(leaves) or chain.cycles > budget:
                continue
            budget -= chain.cycles
            gone.add(chain.value)
            needed |= leaves
            chosen.append(chain)
        return chosen

    def _chains(self) -> Iterator[_Chain]:
        for host, (first, last) in self.span.items():
            if first <= self.peak < last and host.type.nbytes >= LARGE:
                late = {v: [n for n in self.readers[v] if n > self.peak] for v in self.inside[host]}
                chain = self._chain(host, {v: numbers for v, numbers in late.items() if numbers})
                if chain is not None and chain.saved > 0:
                    yield chain

    def _chain(self, host: Value, late: Mapping[Value, list[int]]) -> _Chain | None:
        """How to have anew what lies in `host`, for the readers behind the peak."""
        if not all(map(_is_repeatable, late)):
            return None
        clusters = [self.fused.clusters[n] for n in sorted(set().union(*late.values()))]
        event = self._event(host, clusters[0])
        search = _Search(host)
        for value in late:
            self._search(value, search)
        elsewhere = any(self.makers[m] - set(clusters) for c in clusters for v in late for m in _readers(c, v))
        if event is None or elsewhere or len(search.words) > LONGEST or search.longer > host.type.nbytes:
            return None
        moved = 2 * host.type.nbytes + sum(leaf.type.nbytes for leaf in search.leaves)
        cycles = sum(map(_work, search.words)) + moved / BYTES
        saved = host.type.nbytes - search.kept
        words, leaves = frozenset(search.words), frozenset(search.leaves - search.words)
        return _Chain(host, frozenset(late), words, leaves, frozenset(clusters), event, saved, cycles)

    def _search(self, value: Value, found: _Search) -> None:
        """Go back from a value to what is in memory at the peak anyway, or must not be computed twice."""
        found.words.add(value)
        for operand in value.operands:
            for leaf in self._leaves(operand):
                if leaf in found.words or leaf in found.leaves:
                    continue
                stays = leaf not in self.fused.home or (self._stays(leaf) and self._host(leaf) is not found.host)
                if not stays and _is_repeatable(leaf) and len(found.words) < LONGEST:
                    self._search(leaf, found)
                else:
                    found.leaves.add(leaf)
                    found.kept += 0 if stays else leaf.type.nbytes
                    found.longer += leaf.type.nbytes if stays and self._last(leaf) == self.peak else 0

    def _stays(self, leaf: Value) -> bool:
        return leaf in self.fused.stored and self._last(leaf) >= self.peak

    def _last(self, leaf: Value) -> int:
        """The last cluster that needs the memory of a leaf; results and what is given are there for good."""
        host = self._host(leaf)
        return self.span[host][1] if host in self.span else len(self.fused.clusters)

    def _leaves(self, operand: Value) -> Iterator[Value]:
        """What an operand reads through views."""
        if splat(operand) is not None:
            return
        if operand in self.fused.home or not is_view(operand):
            yield operand
            return
        for below in operand.operands:
            yield from self._leaves(below)

    def _event(self, host: Value, reader: Cluster) -> Value | None:
        """The latest of what the first late reader waits for in any case, if it is made at the peak or behind it."""
        awaited = (event for member in reader.reads for event in self.fused.awaited.get(member, ()))
        others = ((self._host(v), v) for v in {*reader.sources, *awaited} - reader.inside)
        made = [(self.span[h][0], v.type.nbytes, self.number[v], v) for h, v in others if h in self.span and h is not host]
        latest = max(made, key=lambda entry: entry[:3], default=None)
        return latest[3] if latest is not None and latest[0] >= self.peak else None


def _is_repeatable(value: Value) -> bool:
    """Whether computing a value twice may be worth it: products only where their sums are not long."""
    if isinstance(value.op.lower, Contraction):
        return _work(value) <= SHORT * value.type.nbytes
    return isinstance(value.op.lower, Elementwise) or is_view(value)


def _work(value: Value) -> float:
    """Estimated cycles for computing a value."""
    lower = value.op.lower
    if isinstance(lower, Contraction):
        terms = 1
        for axis in lower.spec(value).reduced:
            terms *= axis.extent
        return 2.0 * value.type.size * terms / FLOPS
    return (HEAVY if is_heavy(value) else 1) * value.type.size / LANES


class _Rewriting:
    """The graph with chains computed anew, each at its readers."""

    def __init__(self, lives: _Lives, chains: Iterable[_Chain]) -> None:
        self.lives = lives
        self.mapped: dict[Value, Value] = {}
        self.fresh: dict[tuple[_Chain, Value], Value] = {}
        self.taken: dict[Value, dict[Value, _Chain]] = {}  # reading member -> value -> how it is had anew
        for chain in chains:
            for cluster, value in product(chain.readers, chain.late):
                for member in _readers(cluster, value):
                    self.taken.setdefault(member, {})[value] = chain

    def graph(self) -> Graph:
        """The same results from other values."""
        graph = self.lives.fused.graph
        stack = list(graph.roots)
        while stack:
            value = stack[-1]
            waiting = [v for v in self._before(value) if v not in self.mapped] if value not in self.mapped else []
            stack += waiting
            if not waiting:
                stack.pop()
                if value not in self.mapped:
                    self.mapped[value] = self._made(value)
        return graph.with_roots(tuple(self.mapped[root] for root in graph.roots))

    def _before(self, value: Value) -> Iterator[Value]:
        """What must have been mapped before a value is."""
        yield from value.operands
        for chain in self.taken.get(value, {}).values():
            yield chain.event
            for word in chain.words:
                yield from (v for v in word.operands if v not in chain.words)

    def _made(self, value: Value) -> Value:
        with located(value.location):
            operands = tuple(self._seen(v, self.taken.get(value, {})) for v in value.operands)
            return value if operands == value.operands else make(value.op.name, *operands, **value.attrs)

    def _seen(self, operand: Value, taken: dict[Value, _Chain]) -> Value:
        """An operand with what is computed anew in it, also behind views."""
        if operand in taken:
            return self._anew(operand, taken[operand])
        if not taken or operand in self.lives.fused.home or not is_view(operand):
            return self.mapped[operand]
        below = tuple(self._seen(v, taken) for v in operand.operands)
        return make(operand.op.name, *below, **operand.attrs)

    def _anew(self, value: Value, chain: _Chain) -> Value:
        """One word of a chain, or a view of it, or a leaf that has to wait."""
        key = chain, value
        if key not in self.fresh:
            if value in chain.leaves:
                self.fresh[key] = after(self.mapped[value], self.mapped[chain.event])
            elif splat(value) is not None or not value.operands:
                self.fresh[key] = value
            else:
                operands = tuple(self._anew(v, chain) for v in value.operands)
                with located(value.location):
                    self.fresh[key] = make(value.op.name, *operands, **value.attrs)
        return self.fresh[key]


def _readers(cluster: Cluster, value: Value) -> Iterator[Value]:
    """The members, also of prologues, that read a value."""
    for part in (cluster, *cluster.prologues.values()):
        yield from (member for member, reads in part.reads.items() if any(leaf is value for leaf, _, _ in reads))
