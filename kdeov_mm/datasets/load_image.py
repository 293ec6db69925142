"""Loading of images, with JPEG decoded at reduced scale for small targets."""

from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmyolo.registry import TRANSFORMS

from kdeov_mm.utils.decode import decode_image
from kdeov_mm.utils.image_files import read_image_file


def read_content(path: str, backend_args: dict | None = None) -> bytes:
    """Read an image file, from the disk or one of MMEngine's file backends."""
    if backend_args is None and '://' not in path:
        return read_image_file(path)
    return fileio.get(path, backend_args=backend_args)


@TRANSFORMS.register_module()
class LoadImageReduced(BaseTransform):
    """Loads ``img`` (BGR uint8) from ``img_path``, or from ``img_bytes`` of a shard's sample.

    Use a reduced size only for image-text pipelines: boxes are in pixels of the full size.

    Args:
        min_size: See :func:`decode_image`; 224 for a pipeline that resizes to 224 pixels.
        backend_args: Arguments of MMEngine's file backends.

    Raises:
        ValueError: If the sample has boxes, and ``min_size`` is not 0.
        BrokenImageError: If the image cannot be decoded; this package's data sets skip it.
    """

    def __init__(self, min_size: int = 0, backend_args: dict | None = None) -> None:
        if min_size < 0:
            raise ValueError(f'min_size: must be 0 or the minimum number of pixels of the shorter side, got {min_size}')
        self.min_size, self.backend_args = min_size, backend_args

    def transform(self, results: dict) -> dict:
        """Load one image; ``ori_shape`` is the full size."""
        if self.min_size and results.get('instances'):
            raise ValueError(
                f'{results["img_path"]}: LoadImageReduced(min_size={self.min_size}) does not fit samples '
                'with boxes; load them with min_size=0'
            )
        content = results.pop('img_bytes', None)
        if content is None:
            content = read_content(results['img_path'], self.backend_args)
        results['img'], results['ori_shape'] = decode_image(content, self.min_size)
        results['img_shape'] = results['img'].shape[:2]
        return results
