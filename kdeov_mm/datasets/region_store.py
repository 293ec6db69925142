"""Stored teacher embeddings of regions as training data."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

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
    """Reads a teacher store whose rows are regions, see ``tools/dataset_converters/cache_regions.py``.

    Rows have ``image`` (image id), ``box`` (xyxy, pixels of the original image, ``[4]``), ``label`` (-1 for an
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
        self.rows: dict[int, list[int]] = {}
        for row, image in enumerate(self.store.column('image').tolist()):
            self.rows.setdefault(image, []).append(row)

    def embeddings(self, rows: torch.Tensor) -> torch.Tensor:
        """Return embeddings of rows, float32, L2-normalised, ``[n, D]``; InputError if one cannot be normalised."""
        indices = rows.tolist()
        return normalize_rows(self.store.rows(indices)['embedding'], lambda row: self.store.where(indices[row]))


open_region_store = lru_cache(maxsize=4)(RegionStore)


class RegionBoxes(HorizontalBoxes):
    """Holds boxes with their rows in a region store, through all transforms that move, select or join boxes.

    Args:
        data: Boxes xyxy, ``[n, 4]``.
        rows: Row of each box, ``[n]``; None: -1, as for boxes that are in no store.
        **kwargs: Arguments of ``HorizontalBoxes``.
    """

    def __init__(self, data: Tensor, rows: Tensor | None = None, **kwargs) -> None:
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
        ValueError: If the store was made from other annotations, so its labelled boxes differ from the image's.
    """

    def __init__(self, store: str) -> None:
        self.store = open_region_store(store)
        self.root = store

    def transform(self, results: dict) -> dict:
        """Extend ``gt_bboxes``, ``gt_bboxes_labels`` and ``gt_ignore_flags``."""
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
                f'({results["img_path"]}) differ from the annotations; rebuild it from these'
            )
        results['gt_bboxes'] = RegionBoxes(torch.cat([known, boxes[n:]]), rows)
        results['gt_bboxes_labels'] = labels.numpy().astype(np.int64)
        results['gt_ignore_flags'] = np.pad(results['gt_ignore_flags'], (0, len(rows) - n))
        return results


@TRANSFORMS.register_module()
class PackRegions(PackDetInputs):
    """Packs a sample with the boxes of ``LoadRegions``; ``teacher`` holds the boxes' embeddings.

    Args:
        store: Folder of the region store.
        meta_keys: See ``PackDetInputs``.
    """

    def __init__(self, store: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.store = open_region_store(store)

    def transform(self, results: dict) -> dict:
        """Pack the sample; ``gt_instances`` gets ``teacher``, float32 ``[n, D]``."""
        packed = super().transform(results)
        for name in ('gt_instances', 'ignored_instances'):
            instances = getattr(packed['data_samples'], name)
            instances.teacher = self.store.embeddings(instances.bboxes.rows)
            instances.bboxes = HorizontalBoxes(instances.bboxes.tensor, clone=False)
        return packed
