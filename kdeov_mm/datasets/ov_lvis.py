"""LVIS v1 annotations, with frequent and common classes as base and rare ones as novel."""

from collections.abc import Mapping, Sequence

from mmyolo.registry import DATASETS

from .coco_file import LVIS_FIELDS
from .ov_coco import OVCocoDataset


@DATASETS.register_module()
class OVLVISDataset(OVCocoDataset):
    """Reads an open-vocabulary data set in LVIS v1's format.

    The ``coco_url`` of an image gives its path below ``data_prefix['img']``, such as ``val2017/000000397133.jpg``, as
    LVIS splits COCO's images differently from COCO. Images without a ``coco_url`` use their ``file_name``. Masks are
    not read.

    Args:
        vocabulary: By default ``ov_lvis``: classes of frequency f and c are ``base``, those of r ``novel``.
        **kwargs: Arguments of :class:`OVCocoDataset`.

    Raises:
        ValueError: If an image has neither ``coco_url`` nor ``file_name``, or for the reasons of
            :class:`OVCocoDataset`.
    """

    fields = LVIS_FIELDS

    def __init__(self, *args, vocabulary: str | Mapping[str, Sequence[str]] | None = 'ov_lvis', **kwargs) -> None:
        super().__init__(*args, vocabulary=vocabulary, **kwargs)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image; find its file by ``coco_url``."""
        image = raw_data_info['raw_img_info']
        name = '/'.join((image.get('coco_url') or '').split('/')[-2:]) or image.get('file_name')
        if not name:
            raise ValueError(
                f'annotation file "{self.ann_file}": image {image["id"]} has neither coco_url nor '
                'file_name, one of which must say where it lies'
            )
        for annotation in raw_data_info['raw_ann_info']:
            annotation.pop('segmentation', None)  # most of the memory
        return super().parse_data_info({**raw_data_info, 'raw_img_info': {**image, 'file_name': name}})
