"""The table of tools/parity_table.py: a part of it made anew, the whole as it was written, and a fault that it sees."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch.testing._internal needs it")

import parity_table
from parity_optimizers import optimizers
from parity_samples import Case, Entry, entries

import graphc as gc
from graphc import nn

SOME = [
    "softmin", "adaptive_max_pool2d", "conv_transpose3d", "instance_norm", "local_response_norm", "pad/circular", "unfold",
    "interpolate/bicubic", "interpolate/area", "multi_margin_loss", "multilabel_margin_loss", "max_unpool2d", "embedding_bag",
    "scaled_dot_product_attention", "multi_head_attention_forward", "grid_sample", "ctc_loss", "gaussian_nll_loss", "pdist",
    "triplet_margin_with_distance_loss", "InstanceNorm2d", "LPPool2d", "TransformerDecoderLayer", "MultiheadAttention",
    "CrossEntropyLoss", "ReplicationPad3d", "RNN", "LazyConv1d", "FractionalMaxPool2d", "cummax", "cov", "quantile", "mode",
    "scatter_reduce/prod", "index_put", "linspace", "searchsorted", "lgamma", "erfinv", "tensordot", "nonzero", "lu",
    "SGD", "Muon",
]  # fmt: skip


@pytest.fixture(scope="module")
def known() -> dict[str, Entry]:
    """By name; where a function of tensors and one of layers share it, the latter."""
    return {entry.name: entry for entry in [*entries(), *optimizers()]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOME)
def test_row(known: dict[str, Entry], name: str) -> None:
    if name not in known:
        pytest.skip("this PyTorch has no samples of it")
    row = parity_table.judge(known[name], samples=3, compiled=False)
    assert row.verdict == {"LazyConv1d": "not applicable", "nonzero": "not applicable", "lu": "not offered"}.get(name, "pass")


def test_nearly_all_applicable_rows_pass() -> None:
    text = parity_table.TABLE.read_text()
    shares = [float(share) for share in re.findall(r"\(([\d.]+) %\)", text)]
    assert len(shares) == 4 and shares[0] >= 90 and min(shares[1:]) >= 95
    for line in text.splitlines():
        if re.match(r"\| (tensor|functional|module|optimizer) \| [^|]* \| (fail|not) ", line):
            assert line.split("|")[6].strip(), line


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.relu() * 1.001,
        lambda x: x.relu().detach(),
        lambda x: x.relu().float(),
        lambda x: x.relu().unsqueeze(0),
        lambda x: (x.relu(), x),
    ],
    ids=["value", "gradient", "dtype", "shape", "count"],
)
def test_a_difference_is_seen(known: dict[str, Entry], wrong: Callable[[Any], Any]) -> None:
    good = next(known["relu"].cases())
    parity_table.check(good)
    leaf = parity_table.torch.tensor([[0.5, -1.0], [2.0, 3.0]], dtype=parity_table.torch.float64, requires_grad=True)
    case = Case(lambda: leaf.relu(), lambda convert: wrong(convert(leaf)))
    with pytest.raises(AssertionError):
        parity_table.check(case)


def test_functions_take_pytorchs_arguments_by_name() -> None:
    x = gc.placeholder((2, 3))
    assert nn.functional.softmax(input=x, dim=1).shape == nn.functional.relu(input=x, inplace=True).shape == (2, 3)
