"""In training, each image's own part of the vocabulary."""

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class SampledTexts:
    """A set of texts for each of B images, padded to the M of the largest.

    Attributes:
        embeddings: L2-normalised, ``[B, M, D]``.
        mask: Which of them count, ``[B, M]`` of bool; the others are padding and must have no influence.
        index: Their rows in the vocabulary, ``[B, M]``; any row in the padding.
    """

    embeddings: Tensor
    mask: Tensor
    index: Tensor

    def compete(self, number: int) -> Tensor:
        """Which of the vocabulary's ``number`` K names compete in each image, ``[B, K]`` of bool."""
        result = self.mask.new_zeros(len(self.mask), number)
        image, place = self.mask.nonzero(as_tuple=True)
        result[image, self.index[image, place]] = True
        return result


def sample_texts(texts: Tensor, labels: Sequence[Tensor], num_negatives: int) -> SampledTexts:
    """Draw for each image the texts of its labels and random others, as YOLO-World does (Cheng et al. 2024).

    Args:
        texts: The vocabulary's embeddings ``[K, D]``.
        labels: For each image the labels of its objects ``[n_i]``; a negative one has no name.
        num_negatives: How many others; all of them where there are fewer.

    Torch's global generator on the CPU draws, so that a seed holds on any device.
    """
    sets = []
    for each in labels:
        order = torch.randperm(len(texts))
        positive = torch.isin(order, each.cpu())
        sets.append(torch.cat([order[positive], order[~positive][:num_negatives]]).sort().values)
    index = pad_sequence(sets, batch_first=True, padding_value=-1).to(texts.device)
    mask, index = index >= 0, index.clamp(min=0)
    return SampledTexts(torch.where(mask[..., None], texts[index], 0.0), mask, index)
