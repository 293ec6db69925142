"""Export of trained models, and the runtime of exported models.

Attributes are imported on first use: the runtime needs only NumPy, Pillow and ONNX Runtime.
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
