"""The silent competitors of a vocabulary."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdeov_mm.models.post_processing import independent_probability
from .class_embeddings import ClassEmbeddings


@dataclass
class Competitors:
    """Holds what competes with each class of a vocabulary, besides a constant background.

    Attributes:
        embeddings: Class embeddings of L competitors, ``[L, D]``.
        competes: 1 where a competitor counts against a class, else 0; float32 ``[K, L]``.
        hyponyms: 1 where a competitor is a hyponym of a class, else 0; float32 ``[K, L]``, sparse.
        background: Cosine similarity of the background, which competes with every class.
    """

    embeddings: Tensor
    competes: Tensor
    hyponyms: Tensor
    background: float

    @classmethod
    def build(
        cls, competes: np.ndarray, lexicon: ClassEmbeddings, others: ClassEmbeddings, background: float
    ) -> 'Competitors':
        """Join a lexicon with other competitors.

        Args:
            competes: Which entries of the lexicon compete with each class, bool ``[K, L]``; the others are its
                hyponyms.
            lexicon: Entries of the lexicon.
            others: Names that the user is not looking for. They compete with every class.
            background: See the class.
        """
        table, count = torch.from_numpy(competes), len(others.class_names)
        return cls(
            torch.cat([lexicon.embeddings, others.embeddings]),
            F.pad(table, (0, count), value=True).float(),
            F.pad(~table, (0, count)).float().to_sparse(),
            background,
        )

    @property
    def roles(self) -> Tensor:
        """The input ``competes`` of exported models: 1 for a competitor, -1 for a hyponym of the class; ``[K, L]``."""
        return self.competes - self.hyponyms.to_dense()

    def image_presence(self, images: Tensor, class_embeddings: Tensor, scale: float) -> Tensor:
        """Compute how likely whole images show each class.

        Args:
            images: Image embeddings ``[B, D]``.
            class_embeddings: The K classes that the competitors are for, ``[K, D]``.
            scale: Logit scale.

        Returns:
            Tensor: Probabilities in [0, 1], ``[B, K]``; see
            :func:`~kdeov_mm.models.post_processing.independent_probability`.
        """
        own = self.to(images)
        return independent_probability(
            scale * images @ class_embeddings.to(images).T,
            scale * images @ own.embeddings.T,
            own.competes,
            own.hyponyms,
            scale * self.background,
        )

    def to(self, other: Tensor) -> 'Competitors':
        """Return the competitors with the type and device of a tensor."""
        return Competitors(self.embeddings.to(other), self.competes.to(other), self.hyponyms.to(other), self.background)
