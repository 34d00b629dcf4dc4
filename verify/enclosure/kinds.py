"""Torch functions by what they do with numbers: move, describe, compute exactly, make new ones."""

from __future__ import annotations

MOVES = {
    *("getitem", "reshape", "view", "flatten", "unflatten", "transpose", "permute", "movedim", "t", "T"),
    *("mT", "expand", "expand_as", "broadcast_to", "broadcast_tensors", "squeeze", "unsqueeze", "contiguous"),
    *("clone", "detach", "cpu", "cat", "concat", "stack", "split", "chunk", "unbind", "iter", "select"),
    *("narrow", "roll", "flip", "gather", "index_select", "take_along_dim", "masked_select", "repeat"),
    *("repeat_interleave", "tile", "diagonal", "diag_embed", "tril", "triu", "hstack", "vstack", "positive"),
    *("swapaxes", "view_as", "diag", "reshape_as", "alias", "ravel", "pad", "unfold", "take"),
}
"""Functions that only move, repeat or leave out entries, or fill in zeros."""

PLAIN = {
    *("shape", "size", "dim", "ndim", "dtype", "device", "numel", "len", "nelement", "element_size"),
    *("is_floating_point", "is_complex", "requires_grad", "grad", "is_contiguous", "stride"),
    *("storage_offset", "layout", "is_cuda", "is_sparse", "is_meta", "is_nested", "names", "dim_order"),
    *("finfo", "has_torch_function"),
}
"""What is about a tensor, not about its numbers."""

EXACT = {
    *("neg", "abs", "maximum", "minimum", "clamp", "clamp_min", "clamp_max", "where", "masked_fill"),
    *("lt", "le", "gt", "ge", "eq", "ne", "isfinite", "isinf", "isnan", "amax", "amin", "max", "min"),
    *("argsort", "argmax", "argmin", "sort", "searchsorted", "cummax", "any", "all", "ceil", "relu"),
    *("setitem", "to", "type", "double", "float", "item", "tolist", "numpy", "array", "bool", "int"),
    *("long", "approximately", "above", "below", "nan_to_num", "frexp"),
    *("tensor", "as_tensor", "new_tensor", "arange", "empty", "full", "eye"),
}
"""Functions that torch evaluates without rounding, so that ordinary tensors stay what they are."""

MADE = {
    *("number", "unrounded", "zeros", "ones", "zeros_like", "ones_like"),
    *("div", "truediv", "rdiv", "rtruediv", "sqrt", "log"),
}
"""Functions that make floating-point numbers out of none."""
