"""Bags of regions: what the teacher sees in a box around two neighbours is taught to both together.

After BARON (Wu et al. 2023, "Aligning bag of regions for open-vocabulary object detection"). There, regions become
pseudo-words that CLIP's text encoder reads together. Here the student's region embeddings already lie in the joint
space, so that a bag is their normalised mean, and no text encoder is needed in a training step.
"""

from typing import List

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor


def pair_neighbours(boxes: Tensor) -> Tensor:
    """Pair each box with the one whose centre is nearest.

    Args:
        boxes: ``[n, 4]``, xyxy.

    Returns:
        Tensor: int64 ``[m, 2]``, each unordered pair once; empty for n < 2.
    """
    if len(boxes) < 2:
        return torch.zeros(0, 2, dtype=torch.long, device=boxes.device)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = torch.cdist(centres, centres).fill_diagonal_(float('inf')).argmin(1)
    pairs = torch.stack([torch.arange(len(boxes), device=boxes.device), nearest], dim=1)
    return pairs.sort(dim=1).values.unique(dim=0)


def enclosing_boxes(boxes: Tensor, pairs: Tensor) -> Tensor:
    """The smallest boxes ``[m, 4]`` around pairs ``[m, 2]`` of boxes ``[n, 4]``."""
    first, second = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    return torch.cat([torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:])], dim=1)


def bag_embeddings(
    embeddings: Tensor, owner: Tensor, weight: Tensor, instances: List[InstanceData], pairs: List[Tensor]
) -> tuple:
    """The student's embeddings of bags.

    Args:
        embeddings: Region embeddings of the priors that were given an instance, ``[P, D]``.
        owner: Which instance each prior has, counted over the whole batch, ``[P]``.
        weight: Weights of the priors, ``[P]``.
        instances: Each image's instances.
        pairs: For each image ``[m_i, 2]``, indices of its instances.

    Returns:
        tuple: Embeddings of the bags both of whose regions have a prior, L2-normalised, ``[M, D]``; which of the
        ``sum m_i`` bags these are, bool ``[sum m_i]``.
    """
    number = sum(map(len, instances))
    total = embeddings.new_zeros(number, embeddings.shape[1]).index_add(0, owner, embeddings * weight[:, None])
    present = weight.new_zeros(number).index_add(0, owner, weight) > 0
    starts = [0]
    for image in instances[:-1]:
        starts.append(starts[-1] + len(image))
    members = torch.cat([pair + start for pair, start in zip(pairs, starts)])
    valid = present[members].all(1)
    regions = F.normalize(total, dim=-1)[members[valid]]
    return F.normalize(regions.sum(1), dim=-1), valid
