"""Distillation targets: the interface between a teacher and the model."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mmdet.structures import SampleList
from torch import Tensor


class RegionTargets(NamedTuple):
    """Holds a teacher's targets of an image's regions.

    Attributes:
        embeddings: float32, L2-normalised, ``[n, D]``.
        objectness: Probability that each region shows an object, in [0, 1], ``[n]``.
    """

    embeddings: Tensor
    objectness: Tensor


class DistillationTargets(Protocol):
    """Gives the model the targets of a training step; an image without a target gets None.

    Attributes:
        proposals: Whether the student's own proposals are sent to the teacher, too.
    """

    proposals: bool

    def image_targets(self, images: Tensor, samples: SampleList) -> list[Tensor | None]:
        """Return the teacher's embedding ``[D]`` of each preprocessed image, RGB in [0, 1], ``[B, 3, H, W]``."""

    def caption_targets(self, samples: SampleList) -> list[Tensor | None]:
        """Return the text feature ``[D]`` of a caption of each image."""

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], class_embeddings: Tensor
    ) -> list[RegionTargets | None]:
        """Return the targets of each image's regions, in the order of its boxes.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``.
            samples: Data samples of the same images.
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of ``images``: the boxes of its ``gt_instances``, then
                the student's proposals, if ``proposals`` is set.
            class_embeddings: Class embeddings of the training vocabulary, ``[K, D]``.
        """


class StoredTargets:
    """Reads targets that a store has added to the data samples.

    ``CachedTeacherDataset`` fills ``teacher_embedding`` and ``caption_embedding``, ``PackRegions`` fills ``teacher`` of
    ``gt_instances``.
    """

    proposals = False

    def image_targets(self, images: Tensor, samples: SampleList) -> list[Tensor | None]:
        """See :class:`DistillationTargets`."""
        return [sample.get('teacher_embedding') for sample in samples]

    def caption_targets(self, samples: SampleList) -> list[Tensor | None]:
        """See :class:`DistillationTargets`."""
        return [sample.get('caption_embedding') for sample in samples]

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], class_embeddings: Tensor
    ) -> list[RegionTargets | None]:
        """See :class:`DistillationTargets`; the stored regions are those of ``gt_instances``, and all are objects."""
        stored = [sample.gt_instances.get('teacher') for sample in samples]
        return [
            None if teacher is None else RegionTargets(teacher, teacher.new_ones(len(teacher))) for teacher in stored
        ]
