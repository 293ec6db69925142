"""Data sets of images with or without captions, in common file formats."""

import os
from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from mmyolo.registry import DATASETS

from .broken_images import SkipBrokenImages
from .caption_files import read_coco, read_flickr8k, read_folder, read_karpathy, read_table

FORMATS = ('coco', 'karpathy', 'flickr8k', 'table', 'folder')


@DATASETS.register_module()
class ImageTextDataset(SkipBrokenImages, BaseDataset):
    """Reads image-text pairs for distillation, alignment and retrieval.

    Each data info has ``img_path``, ``img_id`` (the index of the image in the file) and ``captions``, a list of
    non-empty str. The list itself may be empty. ``PackDetInputs`` needs ``captions`` in its ``meta_keys``.

    Args:
        format: ``coco`` (COCO's captions), ``karpathy`` (such as ``dataset_flickr30k.json``), ``flickr8k``
            (``captions.txt``), ``table`` (``.tsv``, else CSV), or ``folder`` (images only, no ann_file).
        ann_file: The file of captions, absolute or below data_root.
        split: For ``karpathy`` one or several names such as ``train``; for ``flickr8k`` a file of image names.
        captions_per_image: None: one sample for each image, with all its captions. A number N: one sample for each of
            the first N captions of an image; an image with fewer captions gives fewer samples.
        columns: For ``table``, see :func:`~kdeov_mm.datasets.caption_files.read_table`.
        max_broken: Maximum ratio of unreadable images. One is always allowed, unless this is 0.
        check_images: ``start`` checks all images before the run, ``read`` checks each when it is read. By default
            ``start`` for tests, whose images must not change, and ``read`` for training.
        **kwargs: Arguments of MMEngine's ``BaseDataset``: data_root, data_prefix=dict(img=...), pipeline, test_mode,
            ...

    Raises:
        FileNotFoundError: If a file or the image folder is missing.
        ValueError: If the format is unknown, does not have an option, or is not that of the file.
        RuntimeError: If more images than ``max_broken`` are unreadable.
    """

    def __init__(
        self,
        *args,
        format: str,
        split: str | Sequence[str] | None = None,
        captions_per_image: int | None = None,
        columns: Sequence[str | int] | None = None,
        max_broken: float = 0.05,
        check_images: str | None = None,
        data_prefix: dict = dict(img=''),
        test_mode: bool = False,
        **kwargs,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f'format must be one of {", ".join(FORMATS)}, got {format!r}')
        for name, value, formats in (
            ('split', split, ('karpathy', 'flickr8k')),
            ('columns', columns, ('table',)),
        ):
            if value is not None and format not in formats:
                raise ValueError(f'{name}={value!r} is for format {" or ".join(formats)}, not for {format!r}')
        if check_images not in (None, 'start', 'read'):
            raise ValueError(f"check_images must be 'start' or 'read', got {check_images!r}")
        if captions_per_image is not None and captions_per_image < 1:
            raise ValueError(f'captions_per_image must be None or at least 1, got {captions_per_image}')
        self.captions_per_image = captions_per_image
        self.set_max_broken(max_broken)
        self.check_images = check_images or ('start' if test_mode else 'read')
        self.format, self.split, self.columns = format, split, columns
        super().__init__(*args, data_prefix=data_prefix, test_mode=test_mode, **kwargs)

    @property
    def source(self) -> str:
        """The annotation file, or the folder."""
        return self.ann_file or self.data_prefix['img']

    def load_data_list(self) -> list[dict]:
        """Read the annotation file."""
        if self.format != 'folder' and not self.ann_file:
            raise ValueError(f'format {self.format!r} needs an ann_file')
        folder = self.data_prefix['img'] or '.'
        if not os.path.isdir(folder):
            raise FileNotFoundError(f'image folder "{folder}" does not exist; check data_root and data_prefix')
        infos = self.readable(
            [
                dict(
                    img_path=os.path.join(folder, name),
                    img_id=index,
                    captions=[text.strip() for text in captions if text.strip()],
                )
                for index, (name, captions) in enumerate(self._read(folder).items())
            ]
        )
        if self.captions_per_image is None:
            return infos
        pairs = [{**info, 'captions': [text]} for info in infos for text in info['captions'][: self.captions_per_image]]
        if not pairs:
            raise ValueError(f'"{self.source}": no image has a caption, but captions_per_image needs some')
        return pairs

    def _read(self, folder: str) -> dict[str, list[str]]:
        if self.format == 'folder':
            return read_folder(folder)
        if self.format == 'karpathy':
            return read_karpathy(self.ann_file, self.split)
        if self.format == 'flickr8k':
            return read_flickr8k(self.ann_file, self.split and os.path.join(self.data_root, self.split))
        if self.format == 'table':
            return read_table(self.ann_file, self.columns or ('filepath', 'title'))
        return read_coco(self.ann_file)
