"""The calibration of a detector's scores, which lies in its checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn

from kdeov_mm.structures.thresholds import DEFAULT_THRESHOLD
from kdeov_mm.utils.errors import InputError
from .post_processing import platt_scale

RANGES = dict(scale=(1e-3, 100.0), bias=(-100.0, 100.0), threshold=(0.0, 1.0), background=(-1.0, 1.0))


class ScoreCalibration(nn.Module):
    """Maps raw scores to calibrated ones, and holds what ``kdeov calibrate`` has fitted.

    The values are plain numbers. Only those of a calibrated model are in its ``state_dict``, as float32 scalars. So a
    config's background counts until a calibration replaces it, and checkpoints without calibration load as before.

    Args:
        background: Initial value of ``background``; None: the classes compete with each other.
        enabled: Whether the calibration of a checkpoint is loaded.

    Attributes:
        scale, bias: Of Platt scaling, see :func:`~kdeov_mm.models.post_processing.platt_scale`.
        threshold: Default minimum score of a detection, in [0, 1].
        background: Cosine similarity of the background, in [-1, 1], or None.
        calibrated: Whether the values come from a calibration.
    """

    scale: float
    bias: float
    threshold: float
    background: float | None

    def __init__(self, background: float | None = None, enabled: bool = True) -> None:
        super().__init__()
        self.initial, self.enabled = background, enabled
        self.reset()

    def reset(self) -> None:
        """Return to the state without calibration, in which scores stay raw."""
        self.scale, self.bias, self.threshold, self.background = 1.0, 0.0, DEFAULT_THRESHOLD, self.initial
        self.calibrated = False

    def set(self, **values: float) -> None:
        """Set the values of a calibration.

        Raises:
            InputError: If a value is missing, or is out of its range in ``RANGES``.
        """
        names = [name for name in RANGES if name != 'background' or self.initial is not None]
        for name in names:
            low, high = RANGES[name]
            if not low <= values.get(name, float('nan')) <= high:
                raise InputError(
                    f'calibration.{name}: must be from {low:g} to {high:g}, got {values.get(name)}; '
                    'calibrate the weights again with "kdeov calibrate"'
                )
        for name in names:
            setattr(self, name, float(values[name]))
        self.calibrated = True

    def forward(self, scores: Tensor) -> Tensor:
        """Map raw scores, in [0, 1], to calibrated ones of the same shape."""
        return platt_scale(scores, self.scale, self.bias)

    def tensors(self) -> dict[str, Tensor]:
        """Return the values as float32 scalars; empty without calibration."""
        values = {name: getattr(self, name) for name in RANGES} if self.calibrated else {}
        return {name: torch.tensor(value) for name, value in values.items() if value is not None}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        destination.update({prefix + name: value for name, value in self.tensors().items()})

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Load a calibration.

        One that was fitted with a background is ignored if this model has none, and the reverse.
        """
        self.reset()
        values = {name: float(state_dict[prefix + name]) for name in RANGES if prefix + name in state_dict}
        if self.enabled and values and ('background' in values) == (self.initial is not None):
            self.set(**values)
