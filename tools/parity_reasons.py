"""What PyTorch users will not find here, and why: entries of PyTorch's op_db without a counterpart.

In: the name of an entry ("name/variant"), or a sample of it. Out: whether the entry has no meaning in a library of static
shapes and real numbers, or a meaning that is not offered, and the reason; "" where there is something to compare. Of torch's
namespaces fft, linalg, signal, special, masked and sparse nothing is offered, and they are not listed one by one.
"""

from __future__ import annotations

from typing import Any

import torch

NAMESPACES = ("fft.", "linalg.", "masked.", "signal.", "sparse.", "special.")

_NO_MEANING = {
    "random numbers differ": (
        "bernoulli cauchy exponential geometric log_normal multinomial normal rand_like randint randint_like randn randn_like "
        "uniform"
    ),
    "the shape of the result depends on values; see where, masked_fill and nonzero_static": (
        "argwhere masked_select nonzero unique unique_consecutive"
    ),
    "complex numbers: graphc has no such dtype": (
        "angle cdouble cfloat chalf complex conj conj_physical imag isreal istft polar real resolve_conj resolve_neg stft "
        "view_as_complex view_as_real"
    ),
    "a tensor lies nowhere before a program is planned, so there is no memory to describe, keep or reuse": (
        "as_strided as_strided_copy as_strided_scatter empty_permuted empty_strided new_empty_strided resize_ resize_as_ zero_"
    ),
    "there are no views, so the function without the suffix is the same": (
        "alias_copy diagonal_copy expand_copy narrow_copy permute_copy split_with_sizes_copy squeeze_copy t_copy "
        "transpose_copy unbind_copy unfold_copy unsqueeze_copy view_copy"
    ),
    "what memory happens to hold is not compared": "empty empty_like new_empty",
    "it is of PyTorch's engine room; its public name is compared": (
        "__rdiv__ constant_pad_nd grid_sampler_2d grid_sampler_3d hash_tensor max_pool2d_with_indices_backward "
        "native_batch_norm native_dropout_backward native_group_norm native_layer_norm scalar_tensor slice unsafe_chunk "
        "unsafe_split jiterator_unary jiterator_binary jiterator_4inputs_with_extra_args jiterator_binary_return_by_ref "
        "jiterator_2inputs_2outputs"
    ),
    "there are no sparse tensors": "to_sparse",
    "a symbolic tensor has no numbers": "item",
    "its result is no tensor": "broadcast_shapes",
}
_NOT_OFFERED = {
    "factorisations of matrices, and what is made of them": (
        "cholesky cholesky_inverse cholesky_solve geqrf logdet lu lu_solve lu_unpack matrix_exp norm/nuc ormqr pca_lowrank "
        "pinverse qr svd svd_lowrank triangular_solve"
    ),
    "a loop whose length depends on values": "gcd lcm",
    "bins of several dimensions, and their edges; see histc": "histogram histogramdd",
    "the bits of floats": "frexp nextafter",
    "incomplete gamma functions, and derivatives of digamma (which gc.grad gives)": "igamma igammac polygamma",
}


def _by_name(table: dict[str, str]) -> dict[str, str]:
    return {name: reason for reason, names in table.items() for name in names.split()}


NO_MEANING, NOT_OFFERED = _by_name(_NO_MEANING), _by_name(_NOT_OFFERED)


def reason(table: dict[str, str], name: str) -> str:
    """What the table says about an entry or about all its variants, or ""."""
    return table.get(name) or table.get(name.partition("/")[0], "")


def sample_without_meaning(name: str, sample: Any) -> str:
    """Why one sample of a function of tensors cannot be compared, or ""."""
    given = [sample.input, *sample.args, *sample.kwargs.values()]
    tensors = [t for x in given for t in (x if isinstance(x, tuple | list) else [x]) if isinstance(t, torch.Tensor)]
    if name in ("__getitem__", "index_put") and any(t.dtype is torch.bool for t in tensors):
        return "the shape of a masked selection depends on values"
    if name in ("tensor_split", "repeat_interleave") and len(tensors) > 1:
        return "shapes depend on the numbers of a tensor; here a list gives them"
    if name == "bincount" and sample.kwargs.get("minlength", 0) <= int(sample.input.max() if sample.input.numel() else 0):
        return "the number of bins depends on values; here minlength says it"
    if name == "gather" and any(t.ndim > max(1, tensors[0].ndim) for t in tensors):
        return "an empty index of more dimensions"
    return ""
