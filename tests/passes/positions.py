"""What the rules of positions must do (algebra.py): POSITION_CASES and POSITION_NEIGHBOURS."""

from __future__ import annotations

from algebra import a, f, t

from graphc.dtype import bool_, int64
from graphc.ir.values import Value, full, like, make
from graphc.ops.index import gather, scatter
from graphc.ops.shape import broadcast, iota, reshape, transpose

asked = t("asked", 3, 5, dtype=int64)
own, lanes = (iota(int64, (3, 5), axis) for axis in (0, 1))


def flipped(x: Value) -> Value:
    return transpose(x, (1, 0))


POSITION_CASES: list[tuple[str, Value, Value]] = [
    ("iota < c -> false", make("lt", own, like(own, 0)), full(own.type.with_dtype(bool_), False)),
    ("max(iota, c) -> iota", make("max", own, like(own, 0)), own),
    ("min(iota, c) -> iota", make("min", lanes, like(own, 4)), lanes),
    ("x[iota, i] -> x[:, i]", gather(f, own, asked, axes=(0, 1)), gather(f, asked, axes=(1,), batch=1)),
    (
        "x[iota, i] -> x[:, i]",
        gather(reshape(a, (3, 5, 2)), asked, lanes, own, axes=(2, 1, 0)),
        gather(reshape(a, (3, 5, 2)), asked, axes=(2,), batch=2),
    ),
    (
        "x[iota, i] -> x[:, i]",
        scatter(f, t("new", 3, 5), broadcast(iota(int64, (3,), 0), (3, 5), (0,)), asked, axes=(0, 1), mode="add"),
        scatter(f, t("new", 3, 5), asked, axes=(1,), mode="add", batch=1),
    ),
    (
        "x[i, iota] = new -> transpose(x)[:, i] = transpose(new)",
        scatter(t("x", 4, 5), t("new", 3, 5), asked, lanes, axes=(0, 1), mode="max"),
        transpose(
            scatter(flipped(t("x", 4, 5)), flipped(t("new", 3, 5)), flipped(asked), axes=(1,), mode="max", batch=1), (1, 0)
        ),
    ),
]

POSITION_NEIGHBOURS: list[tuple[str, Value]] = [
    ("iota < c -> false", make("lt", own, like(own, 1))),
    ("max(iota, c) -> iota", make("max", own, like(own, 1))),
    ("min(iota, c) -> iota", make("min", own, like(own, 1))),
    ("x[iota, i] -> x[:, i]", gather(f, asked, axes=(0,))),
    (
        "x[i, iota] = new -> transpose(x)[:, i] = transpose(new)",
        scatter(t("x", 7, 5), t("new", 3, 5), asked, lanes, axes=(0, 1)),
    ),
    (
        "x[i, iota] = new -> transpose(x)[:, i] = transpose(new)",
        scatter(t("x", 4, 3), t("new", 3, 5), asked, lanes, axes=(0, 1)),
    ),
    ("x[iota, i] -> x[:, i]", gather(f, lanes, asked, axes=(0, 1))),
    ("x[iota, i] -> x[:, i]", gather(t("taller", 4, 4), own, asked, axes=(0, 1))),
    ("x[iota, i] -> x[:, i]", gather(t("cube", 2, 3, 4), own, asked, axes=(1, 2), lead=1)),
    (
        "x[iota, i] -> x[:, i]",
        gather(t("wide", 5, 4), broadcast(iota(int64, (1,), 0), (5, 5), (0,)), t("i", 5, 5, dtype=int64), axes=(0, 1)),
    ),
]
