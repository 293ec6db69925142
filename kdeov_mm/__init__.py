"""KDEOV-MM: an open-vocabulary YOLO distilled from CLIP, as a plugin to MMYOLO.

The import itself is light: PyTorch and OpenMMLab are prepared when they are first imported, see ``kdeov_mm.plugin``.
Where MMEngine is not installed only the runtime of exported models is there, ``kdeov_mm.deploy``.
"""

import importlib.util

if importlib.util.find_spec('mmengine') is not None:
    from .plugin import prepare_when_needed

    prepare_when_needed()
