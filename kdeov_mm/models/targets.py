"""What a student learns from beside its labels: the interface between a teacher and the model."""

from typing import List, NamedTuple, Optional, Protocol, Sequence

from mmdet.structures import SampleList
from torch import Tensor


class RegionTargets(NamedTuple):
    """What a teacher says of an image's regions.

    Attributes:
        embeddings: float32, L2-normalised, ``[n, D]``.
        objectness: Probability that each region shows an object, in [0, 1], ``[n]``.
    """

    embeddings: Tensor
    objectness: Tensor


class DistillationTargets(Protocol):
    """Targets of a training step. The model asks for them; an image without a target has None in its place.

    Attributes:
        proposals: Whether the student's own proposals are good enough to be asked about.
    """

    proposals: bool

    def image_targets(self, images: Tensor, samples: SampleList) -> List[Optional[Tensor]]:
        """Return the teacher's embedding ``[D]`` of each preprocessed image, RGB in [0, 1], ``[B, 3, H, W]``."""

    def caption_targets(self, samples: SampleList) -> List[Optional[Tensor]]:
        """Return the text feature ``[D]`` of a caption of each image."""

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], texts: Tensor
    ) -> List[Optional[RegionTargets]]:
        """Return targets of regions.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``.
            samples: Of the same images.
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of ``images``.
            texts: Class embeddings of the training vocabulary, ``[K, D]``.
        """


class StoredTargets:
    """Targets that the data samples bring with them from a store, as far as they have any.

    ``CachedTeacherDataset`` fills ``teacher_embedding`` and ``caption_embedding``, ``PackRegions`` fills ``teacher`` of
    ``gt_instances``.
    """

    proposals = False

    def image_targets(self, images: Tensor, samples: SampleList) -> List[Optional[Tensor]]:
        """See :class:`DistillationTargets`."""
        return [sample.get('teacher_embedding') for sample in samples]

    def caption_targets(self, samples: SampleList) -> List[Optional[Tensor]]:
        """See :class:`DistillationTargets`."""
        return [sample.get('caption_embedding') for sample in samples]

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], texts: Tensor
    ) -> List[Optional[RegionTargets]]:
        """See :class:`DistillationTargets`; every stored region is an object."""
        stored = [sample.gt_instances.get('teacher') for sample in samples]
        return [
            None if teacher is None else RegionTargets(teacher, teacher.new_ones(len(teacher))) for teacher in stored
        ]
