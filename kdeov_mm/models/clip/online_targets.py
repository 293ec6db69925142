"""Targets from a teacher that sees the very images of the training step."""

from typing import Callable, List, Optional, Sequence

import torch
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor

from kdeov_mm.models.targets import RegionTargets, StoredTargets
from .region_teacher import RegionTeacher
from .teacher_view import content
from .text_bank import TextBank


class OnlineTargets(StoredTargets):
    """Asks a frozen teacher about images and regions, after augmentation and without padding.

    Args:
        teacher: The image teacher.
        embed_captions: From texts to their features ``[D]``; None: the samples' own, if they have any.
        choose_caption: Which of its captions a sample learns from now.
        background: Texts that describe a region without an object; None: regions are not asked about, and their
            targets are those that the samples bring.
        proposals: See ``DistillationTargets``.
    """

    def __init__(
        self,
        teacher: object,
        embed_captions: Optional[Callable[[Sequence[str]], Sequence[Tensor]]] = None,
        choose_caption: Callable[[DetDataSample], str] = lambda sample: sample.captions[0],
        background: Optional[TextBank] = None,
        proposals: bool = True,
    ) -> None:
        self.teacher, self.background = teacher, background
        self.embed_captions, self.choose_caption = embed_captions, choose_caption
        self.proposals = proposals

    def image_targets(self, images: Tensor, samples: SampleList) -> List[Optional[Tensor]]:
        """See ``DistillationTargets``."""
        with torch.autocast(images.device.type, enabled=False):  # the student's precision is not the teacher's
            return list(self.teacher.encode_image(pictures(images.to(self.teacher.device), samples)))

    def caption_targets(self, samples: SampleList) -> List[Optional[Tensor]]:
        """See ``DistillationTargets``."""
        if self.embed_captions is None:
            return super().caption_targets(samples)
        captioned = [index for index, sample in enumerate(samples) if sample.get('captions')]
        features = self.embed_captions([self.choose_caption(samples[index]) for index in captioned])
        targets: List[Optional[Tensor]] = [None] * len(samples)
        for index, feature in zip(captioned, features):
            targets[index] = feature
        return targets

    def region_targets(
        self, images: Tensor, samples: SampleList, boxes: Sequence[Tensor], texts: Tensor
    ) -> List[Optional[RegionTargets]]:
        """See ``DistillationTargets``."""
        if self.background is None:
            return super().region_targets(images, samples, boxes, texts)
        height, width = (max(sample.img_shape[side] for sample in samples) for side in (0, 1))
        images = images[..., :height, :width].to(self.teacher.device)  # crops may not reach into the padding below
        embeddings, objectness = RegionTeacher(self.teacher, texts, self.background)(images, boxes)
        sizes = [len(box) for box in boxes]
        return [RegionTargets(*parts) for parts in zip(embeddings.split(sizes), objectness.split(sizes))]


def pictures(images: Tensor, samples: SampleList) -> List[Tensor]:
    """The images of a batch ``[B, 3, H, W]`` without their padding, ``[3, h, w]`` each."""
    result = []
    for image, sample in zip(images, samples):
        top, bottom, left, right = content(image.shape[-2:], sample.metainfo)
        result.append(image[:, top:bottom, left:right])
    return result
