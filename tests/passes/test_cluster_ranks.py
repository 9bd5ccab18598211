"""Ranks of clusters: searches find the paths that there are, merge after merge."""

from __future__ import annotations

from random import Random

import networkx as nx
import pytest

from graphc.passes.cluster import LOOPS, Cluster
from graphc.passes.ranks import Ranks


def random_graph(rng: Random, count: int) -> nx.DiGraph[Cluster]:
    """Edges join clusters that are near each other, in an order that is not that of their numbers."""
    clusters = [Cluster(LOOPS, n, ()) for n in range(count)]
    rng.shuffle(clusters)
    dag: nx.DiGraph[Cluster] = nx.DiGraph()
    dag.add_nodes_from(clusters)
    dag.add_edges_from((a, b) for n, a in enumerate(clusters) for b in clusters[n + 1 : n + 9] if rng.random() < 0.3)
    return dag


def contract(dag: nx.DiGraph[Cluster], cluster: Cluster, user: Cluster, merged: Cluster) -> None:
    before = {c for old in (cluster, user) for c in dag.predecessors(old)} - {cluster}
    after = {c for old in (cluster, user) for c in dag.successors(old)} - {user}
    dag.remove_nodes_from((cluster, user))
    dag.add_node(merged)
    dag.add_edges_from([*((c, merged) for c in before), *((merged, c) for c in after)])


@pytest.mark.parametrize("seed", range(5))
def test_ranks_find_the_paths_that_there_are_while_clusters_are_merged(seed: int) -> None:
    rng = Random(seed)
    dag = random_graph(rng, 40)
    ranks = Ranks(dag)
    while dag.number_of_edges():
        for a, b in ((rng.choice(list(dag)), rng.choice(list(dag))) for _ in range(20)):
            others = [c for c in dag.successors(a) if c is not b]
            assert ranks.reaches(others, b) is any(nx.has_path(dag, other, b) for other in others)
        lone = [(a, b) for a, b in dag.edges if not ranks.reaches((c for c in dag.successors(a) if c is not b), b)]
        cluster, user = rng.choice(lone)
        merged = Cluster(LOOPS, user.number, ())
        ranks.merge(cluster, user, merged)
        contract(dag, cluster, user, merged)
        assert set(ranks.rank) == set(dag) and len(set(ranks.rank.values())) == len(dag)
        assert all(ranks.rank[a] < ranks.rank[b] for a, b in dag.edges)
