"""The cost of one image for a model: parameters that are used, and operations."""

import math
from collections.abc import Callable

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import get_shape
from torch import Tensor, nn


def count_parameters(model: nn.Module, run: Callable[[], object]) -> int:
    """Count the parameters of the modules that a function calls.

    Text towers and heads that are not called do not count. A parameter of several modules counts once.

    Args:
        model: The model.
        run: Calls the model, or parts of it.
    """
    met = {}

    def meet(module, *_) -> None:
        whole = isinstance(module, nn.MultiheadAttention)  # it uses its projection's weights without calling it
        met.update({id(parameter): parameter.numel() for parameter in module.parameters(recurse=whole)})

    handles = [module.register_forward_hook(meet) for module in model.modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sum(met.values())


def count_flops(model: nn.Module, images: Tensor) -> int:
    """Count the operations of ``model(images)`` as MMEngine does: a multiplication with its addition is one.

    Args:
        model: A model whose forward takes images alone.
        images: Preprocessed, ``[B, 3, H, W]``.
    """
    counter = FlopAnalyzer(model, (images,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.set_op_handle('aten::scaled_dot_product_attention', attention_flops)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path is one operator for a whole layer, without a count
    try:
        with torch.no_grad():
            return int(counter.total())
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def attention_flops(inputs: list, outputs: list) -> int:
    """Count the operations of ``softmax(Q K^T) V``, which MMEngine does not count by itself."""
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (key[-1] + value[-1])
