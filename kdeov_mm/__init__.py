"""KDEOV-MM: an open-vocabulary YOLO distilled from CLIP, as a plugin to MMYOLO.

Where MMEngine is not installed only the runtime of exported models is there, ``kdeov_mm.deploy``.
"""

import importlib.util

if importlib.util.find_spec('mmengine') is not None:
    from . import compat

    compat.apply()

    from .utils.safe_load import secure_mmengine  # noqa: E402  needs torch, which apply() looks for

    secure_mmengine()

    from . import datasets, engine, evaluation, models  # noqa: E402, F401
    from .utils import checkpoint  # noqa: E402, F401  teaches MMEngine to load safetensors
