"""Targets from a teacher that sees the images of the training step."""

from collections.abc import Callable, Sequence

import torch
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor

from kdeov_mm.models.targets import RegionTargets, StoredTargets
from .region_teacher import RegionTeacher
from .teacher_view import content
from .class_embeddings import ClassEmbeddings


class OnlineTargets(StoredTargets):
    """Embeds the step's images and regions with a frozen teacher, after augmentation and without padding.

    Captions or regions that are not embedded here have the targets that a store has added to the data samples.

    Args:
        teacher: The image teacher.
        embed_captions: Embeds captions, each as ``[D]``; None: the captions' stored features.
        choose_caption: Chooses the caption of a sample for this epoch.
        background: Embeddings of texts that describe a region without an object; None: the regions' stored targets.
        proposals: See ``DistillationTargets``.
    """

    def __init__(
        self,
        teacher: object,
        embed_captions: Callable[[Sequence[str]], Sequence[Tensor]] | None = None,
        choose_caption: Callable[[DetDataSample], str] = lambda sample: sample.captions[0],
        background: ClassEmbeddings | None = None,
        proposals: bool = True,
    ) -> None:
        self.teacher, self.background = teacher, background
        self.embed_captions, self.choose_caption = embed_captions, choose_caption
        self.proposals = proposals

    def image_targets(self, images: Tensor, samples: SampleList) -> list[Tensor | None]:
        """See ``DistillationTargets``."""
        with torch.autocast(images.device.type, enabled=False):  # the teacher computes in its own precision
            return list(self.teacher.encode_image(pictures(images.to(self.teacher.device), samples)))

    def caption_targets(self, samples: SampleList) -> list[Tensor | None]:
        """See ``DistillationTargets``."""
        if self.embed_captions is None:
            return super().caption_targets(samples)
        captioned = [index for index, sample in enumerate(samples) if sample.get('captions')]
        features = self.embed_captions([self.choose_caption(samples[index]) for index in captioned])
        targets: list[Tensor | None] = [None] * len(samples)
        for index, feature in zip(captioned, features):
            targets[index] = feature
        return targets

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], class_embeddings: Tensor
    ) -> list[RegionTargets | None]:
        """See ``DistillationTargets``."""
        if self.background is None:
            return super().region_targets(images, samples, boxes, class_embeddings)
        height, width = (max(sample.img_shape[side] for sample in samples) for side in (0, 1))
        images = images[..., :height, :width].to(self.teacher.device)  # crops may not reach into the padding below
        embeddings, objectness = RegionTeacher(self.teacher, class_embeddings, self.background)(images, boxes)
        sizes = [len(box) for box in boxes]
        return [RegionTargets(*parts) for parts in zip(embeddings.split(sizes), objectness.split(sizes))]


def pictures(images: Tensor, samples: SampleList) -> list[Tensor]:
    """Return the images of a batch ``[B, 3, H, W]`` without their padding, ``[3, h, w]`` each."""
    result = []
    for image, sample in zip(images, samples):
        top, bottom, left, right = content(image.shape[-2:], sample.metainfo)
        result.append(image[:, top:bottom, left:right])
    return result
