"""Mixed precision without a loss scaler."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from mmyolo.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 where PyTorch's autocast considers it safe, on CPU and GPU.

    Weights, gradients and the optimizer's state stay float32. bfloat16 has the range of float32 (Kalamkar et al. 2019),
    so the loss is not scaled. MMEngine's ``AmpOptimWrapper`` for float16 scales it and needs a GPU.

    Args:
        **kwargs: Arguments of MMEngine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step in bfloat16."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
