"""KDEOV-MM: an open-vocabulary YOLO distilled from CLIP, as a plugin to MMYOLO."""
from . import compat

compat.apply()

from . import datasets, engine, evaluation, models  # noqa: E402, F401
