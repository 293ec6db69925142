"""Mixed precision without a loss scaler."""

from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from mmyolo.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 where PyTorch's autocast deems it safe, on CPU and GPU.

    Weights, gradients and the optimizer's state stay float32. bfloat16 has float32's range (Kalamkar et al. 2019), so
    that no loss is scaled; MMEngine's ``AmpOptimWrapper``, for float16, scales it and needs a GPU.

    Args:
        **kwargs: Of MMEngine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around the forward pass of each training step."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
