"""Regions that the teacher has embedded once, as training data."""

from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import PackDetInputs
from mmdet.structures.bbox import HorizontalBoxes
from mmyolo.registry import TRANSFORMS
from torch import Tensor

from kdeov_mm.utils.embeddings import normalize_rows
from kdeov_mm.utils.errors import InputError

from .teacher_store import TeacherStore


class RegionStore:
    """A teacher store whose rows are regions, see ``tools/dataset_converters/cache_regions.py``.

    Rows have ``image`` (id of the image), ``box`` (xyxy, pixels of the original image, ``[4]``), ``label`` (-1 for an
    unlabelled object) and ``embedding`` (float16, ``[D]``). An image's labelled rows come first, in the order of
    its annotations.

    Raises:
        FileNotFoundError, ValueError: See ``TeacherStore``.
    """

    def __init__(self, root: str) -> None:
        self.store = TeacherStore(root)
        self.store.require(image=(1, False), box=(2, True), label=(1, False), embedding=(2, True))
        self.boxes, self.labels = self.store.column('box'), self.store.column('label')
        if self.boxes.shape[1] != 4:
            raise InputError(f'region store "{root}": column "box" must be [n, 4], got {list(self.boxes.shape)}')
        self.rows: Dict[int, List[int]] = {}
        for row, image in enumerate(self.store.column('image').tolist()):
            self.rows.setdefault(image, []).append(row)

    def embeddings(self, rows: torch.Tensor) -> torch.Tensor:
        """float32, L2-normalised, ``[n, D]``; InputError names one that cannot be normalised."""
        asked = rows.tolist()
        return normalize_rows(self.store.rows(asked)['embedding'], lambda row: self.store.where(asked[row]))


open_store = lru_cache(maxsize=4)(RegionStore)


class RegionBoxes(HorizontalBoxes):
    """Boxes that know their rows in a region store, through all transforms that move, choose or join boxes.

    Args:
        data: Boxes xyxy, ``[n, 4]``.
        rows: Of each box, ``[n]``; None: -1, a box of no store.
        **kwargs: Of ``HorizontalBoxes``.
    """

    def __init__(self, data: Tensor, rows: Optional[Tensor] = None, **kwargs) -> None:
        super().__init__(data, **kwargs)
        self.rows = torch.full((len(self.tensor),), -1) if rows is None else rows

    def __getitem__(self, index: Any) -> 'RegionBoxes':
        return RegionBoxes(super().__getitem__(index).tensor, self.rows[index].reshape(-1), clone=False)

    def __deepcopy__(self, memo: dict) -> 'RegionBoxes':
        return RegionBoxes(self.tensor, self.rows.clone())

    def clone(self) -> 'RegionBoxes':
        """Return a copy."""
        return self.__deepcopy__({})

    @classmethod
    def cat(cls, box_list: Sequence['RegionBoxes'], dim: int = 0) -> 'RegionBoxes':
        """Join the boxes of several images, as mosaic does."""
        rows = torch.cat([boxes.rows for boxes in box_list])
        return cls(torch.cat([boxes.tensor for boxes in box_list], dim=dim), rows, clone=False)


@TRANSFORMS.register_module()
class LoadRegions(BaseTransform):
    """Adds a region store's unlabelled objects (label -1) to an image's boxes, after ``LoadAnnotations``.

    Args:
        store: Folder of the region store.

    Raises:
        ValueError: If the store was made from other annotations: this image's labelled boxes are not the store's.
    """

    def __init__(self, store: str) -> None:
        self.store = open_store(store)
        self.root = store

    def transform(self, results: dict) -> dict:
        """Add to ``gt_bboxes``, ``gt_bboxes_labels`` and ``gt_ignore_flags``."""
        rows = torch.tensor(self.store.rows.get(results['img_id'], []), dtype=torch.long)
        boxes, labels = self.store.boxes[rows], self.store.labels[rows]
        known, given = results['gt_bboxes'].tensor, torch.as_tensor(results['gt_bboxes_labels'])
        n = len(known)
        if (
            not torch.equal(labels[:n], given)
            or (labels[n:] >= 0).any()
            or not torch.allclose(boxes[:n], known, atol=0.01)
        ):
            raise ValueError(
                f'region store "{self.root}": its labelled boxes of image {results["img_id"]} '
                f'({results["img_path"]}) are not those of the annotations; make it again from these'
            )
        results['gt_bboxes'] = RegionBoxes(torch.cat([known, boxes[n:]]), rows)
        results['gt_bboxes_labels'] = labels.numpy().astype(np.int64)
        results['gt_ignore_flags'] = np.pad(results['gt_ignore_flags'], (0, len(rows) - n))
        return results


@TRANSFORMS.register_module()
class PackRegions(PackDetInputs):
    """Packs a sample whose boxes came through ``LoadRegions``; ``teacher`` holds the boxes' embeddings.

    Args:
        store: Folder of the region store.
        meta_keys: See ``PackDetInputs``.
    """

    def __init__(self, store: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.store = open_store(store)

    def transform(self, results: dict) -> dict:
        """Pack; ``gt_instances`` gets ``teacher``, float32 ``[n, D]``."""
        packed = super().transform(results)
        for name in ('gt_instances', 'ignored_instances'):
            instances = getattr(packed['data_samples'], name)
            instances.teacher = self.store.embeddings(instances.bboxes.rows)
            instances.bboxes = HorizontalBoxes(instances.bboxes.tensor, clone=False)
        return packed
