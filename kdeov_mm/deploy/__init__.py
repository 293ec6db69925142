"""From the trained model to the deployed one.

Names are imported when they are used: the runtime of exported models has only NumPy, Pillow and ONNX Runtime, and the
side of training need not have the last one.
"""

from kdeov_mm.utils.lazy import import_when_used

MODULES = dict(
    ImageError='kdeov_mm.utils.images',
    Runtime='kdeov_mm.deploy.runtime',
    fold_film='kdeov_mm.deploy.fold',
    read_image='kdeov_mm.utils.images',
    read_images='kdeov_mm.utils.images',
)

__all__ = list(MODULES)
__getattr__ = import_when_used(__name__, MODULES)
