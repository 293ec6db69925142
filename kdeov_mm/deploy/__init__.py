"""From the trained model to the deployed one.

Names are imported when they are used: the runtime of exported models has only NumPy, Pillow and ONNX Runtime, and the
side of training need not have the last one.
"""

import importlib
from typing import Any

MODULES = dict(
    ImageError='kdeov_mm.utils.images',
    Runtime='kdeov_mm.deploy.runtime',
    fold_film='kdeov_mm.deploy.fold',
    read_image='kdeov_mm.utils.images',
    read_images='kdeov_mm.utils.images',
)

__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(MODULES[name]), name)
