"""Assigns objects to priors, whatever their classes."""

from typing import NamedTuple

import torch
from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner
from mmyolo.models.task_modules.assigners.utils import select_highest_overlaps
from mmyolo.registry import TASK_UTILS
from torch import Tensor


class Assignment(NamedTuple):
    """Holds what each of the N priors of B images learns.

    Attributes:
        foreground: Whether a prior was given an object, ``[B, N]`` of bool.
        gt_indices: Index of the object in its image, ``[B, N]``; arbitrary in the background.
        boxes: The object's box, xyxy, ``[B, N, 4]``.
        scores: How well prior and object are aligned, in [0, 1]; 0 in the background, ``[B, N]``.
    """

    foreground: Tensor
    gt_indices: Tensor
    boxes: Tensor
    scores: Tensor


@TASK_UTILS.register_module()
class ClassAgnosticTaskAlignedAssigner(BatchTaskAlignedAssigner):
    """MMYOLO's task-aligned assigner for one class, "object"; it returns which prior learns which object.

    Feng et al. 2021, "Task-aligned one-stage object detection".
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(num_classes=1, **kwargs)

    @torch.no_grad()
    def forward(
        self, boxes: Tensor, objectness: Tensor, priors: Tensor, gt_boxes: Tensor, is_box: Tensor | None = None
    ) -> Assignment:
        """Assign objects to priors.

        Args:
            boxes: Predicted, xyxy, ``[B, N, 4]``.
            objectness: Predicted, in [0, 1], ``[B, N]``.
            priors: Centres x, y first, ``[N, 2 or more]``.
            gt_boxes: Objects, padded to the largest count G of an image, ``[B, G, 4]``.
            is_box: 1 for an object and 0 for padding, ``[B, G, 1]``; default: padding has only zeros.
        """
        count, num_gt = len(boxes), gt_boxes.shape[1]
        if not num_gt:
            nothing = gt_boxes.new_zeros(boxes.shape[:2])
            return Assignment(nothing.bool(), nothing.long(), torch.zeros_like(boxes), nothing)
        is_box = (gt_boxes.sum(-1, keepdim=True) > 0).float() if is_box is None else is_box
        labels = torch.zeros_like(gt_boxes[..., :1])
        chosen, alignment, overlaps = self.get_pos_mask(
            boxes, objectness[..., None], priors[:, :2], labels, gt_boxes, is_box, count, num_gt
        )
        indices, foreground, chosen = select_highest_overlaps(chosen, overlaps, num_gt)
        _, assigned, scores = self.get_targets(labels, gt_boxes, indices, foreground, count, num_gt)
        # The best prior of each object has the score of its overlap, the others less in proportion (section 3.2 of the
        # paper).
        alignment = alignment * chosen
        best = alignment.amax(-1, keepdim=True)
        overlap = (overlaps * chosen).amax(-1, keepdim=True)
        scale = (alignment * overlap / (best + self.eps)).amax(-2)
        return Assignment(foreground.bool(), indices, assigned, scores[..., 0] * scale)
