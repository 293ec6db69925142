"""The minimum score of each class name's detections."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError

DEFAULT_THRESHOLD = 0.3  # of models without calibration
ScoreThreshold: TypeAlias = float | Mapping[str, float] | np.ndarray | None


def resolve_thresholds(
    names: Sequence[str], given: ScoreThreshold, default: float, own: Mapping[str, float] | None = None
) -> np.ndarray:
    """Return the minimum score of each class name.

    The most specific threshold counts: that of a mapping, then the name's own, then the number that the user gives for
    names without a threshold of their own, then the model's default.

    Args:
        names: K class names.
        given: What the user gives: a number for names without a threshold of their own, or a mapping for some names, or
            None; or the result of this function.
        default: The model's default, in [0, 1].
        own: Thresholds of some names, such as those of their file.

    Returns:
        np.ndarray: float32 ``[K]`` in [0, 1].

    Raises:
        InputError: If a threshold is not a number from 0 to 1, or the mapping has a name that is not in ``names``.
    """
    if isinstance(given, np.ndarray):
        return given
    each: dict[str, float] = dict(given) if isinstance(given, Mapping) else {}
    rest = default if given is None or isinstance(given, Mapping) else given
    unknown = [name for name in each if name not in names]
    if unknown:
        raise InputError(
            f'score_threshold: {short_repr(unknown[0])} is not a class name; give thresholds of class names'
        )
    each = {**(own or {}), **each}
    for value in (rest, *each.values()):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InputError(f'score_threshold: must be a number from 0 to 1, got {short_repr(value)}')
    return np.array([each.get(name, rest) for name in names], np.float32)
