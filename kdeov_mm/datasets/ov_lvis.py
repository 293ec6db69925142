"""LVIS v1 annotations, with frequent and common classes as base and rare ones as novel."""

from typing import Mapping, Sequence, Union

from mmyolo.registry import DATASETS

from .coco_file import LVIS_FIELDS
from .ov_coco import OVCocoDataset


@DATASETS.register_module()
class OVLVISDataset(OVCocoDataset):
    """An open-vocabulary data set in LVIS v1's format.

    An image lies where its ``coco_url`` says, such as ``val2017/000000397133.jpg``, below ``data_prefix['img']``:
    LVIS divides COCO's images otherwise than COCO does. Images without a ``coco_url`` go by their ``file_name``.
    Only boxes are read, no masks.

    Args:
        vocabulary: by default ``ov_lvis``: classes of frequency f and c are ``base``, those of r ``novel``.
        **kwargs: those of :class:`OVCocoDataset`.

    Raises:
        ValueError: when an image has neither ``coco_url`` nor ``file_name``, and as :class:`OVCocoDataset`.
    """

    fields = LVIS_FIELDS

    def __init__(self, *args, vocabulary: Union[str, Mapping[str, Sequence[str]], None] = 'ov_lvis', **kwargs) -> None:
        super().__init__(*args, vocabulary=vocabulary, **kwargs)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """As the base class's."""
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
