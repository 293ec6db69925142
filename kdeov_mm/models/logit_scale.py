"""The learnt logit scale, as OpenCLIP has it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MAX_LOGIT_SCALE = 100.0  # Radford et al. 2021


def clamp_logit_scale(logit_scale: Tensor, maximum: float = MAX_LOGIT_SCALE) -> None:
    """Bound the logarithm of a logit scale in place.

    A training step calls this before it uses the scale. A clamp inside the computation would set the gradient to 0, and
    a scale at the bound could never come back.
    """
    with torch.no_grad():
        logit_scale.clamp_(max=math.log(maximum))


class LogitScaleMixin:
    """Gives a module the parameter ``logit_scale``: the logarithm of what cosine similarities are multiplied by.

    Checkpoints with the parameter's old name ``log_scale`` load, too.

    Attributes:
        logit_scale: The parameter.
        max_logit_scale: Bound of ``scale`` at the start and in training.
    """

    max_logit_scale = MAX_LOGIT_SCALE
    logit_scale: nn.Parameter

    def init_logit_scale(self, init_scale: float, size: Sequence[int] = ()) -> None:
        """Create the parameter.

        Args:
            init_scale: Initial logit scale, the inverse of a temperature; > 0. A larger one than ``max_logit_scale``
                counts as ``max_logit_scale``.
            size: Shape of the parameter; by default one number.

        Raises:
            ValueError: If ``init_scale`` is not positive.
        """
        if not init_scale > 0:
            raise ValueError(f'init_scale: must be positive, got {init_scale}')
        self.logit_scale = nn.Parameter(torch.full(tuple(size), math.log(min(init_scale, self.max_logit_scale))))

    @property
    def scale(self) -> Tensor:
        """The logit scale."""
        return self.logit_scale.exp()

    def clamp_logit_scale(self) -> None:
        """Bound the scale at ``max_logit_scale``; see :func:`clamp_logit_scale`."""
        clamp_logit_scale(self.logit_scale, self.max_logit_scale)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        if prefix + 'log_scale' in state_dict:  # was not bounded where it was stored
            old = state_dict.pop(prefix + 'log_scale').clamp(max=math.log(self.max_logit_scale))
            state_dict.setdefault(prefix + 'logit_scale', old)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
