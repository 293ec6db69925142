"""Sampling of each image's classes from the training vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class SampledClasses:
    """Holds a set of classes for each of B images, padded to the size M of the largest.

    Attributes:
        embeddings: Class embeddings, L2-normalised, ``[B, M, D]``.
        mask: False for padding, which must have no influence, ``[B, M]`` of bool.
        index: Their rows in the vocabulary, ``[B, M]``; arbitrary for padding.
    """

    embeddings: Tensor
    mask: Tensor
    index: Tensor

    def compete(self, num_classes: int) -> Tensor:
        """Return which of the vocabulary's K classes compete in each image, ``[B, K]`` of bool."""
        result = self.mask.new_zeros(len(self.mask), num_classes)
        image, place = self.mask.nonzero(as_tuple=True)
        result[image, self.index[image, place]] = True
        return result


def sample_classes(class_embeddings: Tensor, labels: Sequence[Tensor], num_negatives: int) -> SampledClasses:
    """Draw for each image the classes of its labels and random others, as YOLO-World does (Cheng et al. 2024).

    Args:
        class_embeddings: The vocabulary's class embeddings ``[K, D]``.
        labels: Labels of each image's objects ``[n_i]``; negative for an unlabelled object.
        num_negatives: Number of other classes; all if there are fewer.

    Torch's global generator on the CPU draws, so a seed gives the same classes on any device.
    """
    sets = []
    for each in labels:
        order = torch.randperm(len(class_embeddings))
        positive = torch.isin(order, each.cpu())
        sets.append(torch.cat([order[positive], order[~positive][:num_negatives]]).sort().values)
    index = pad_sequence(sets, batch_first=True, padding_value=-1).to(class_embeddings.device)
    mask, index = index >= 0, index.clamp(min=0)
    return SampledClasses(torch.where(mask[..., None], class_embeddings[index], 0.0), mask, index)
