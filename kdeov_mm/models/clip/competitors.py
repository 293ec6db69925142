"""The silent competitors of a vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdeov_mm.text import competes
from .class_embeddings import ClassEmbeddings


@dataclass
class Competitors:
    """Holds what competes with each class of a vocabulary, besides a constant background.

    Attributes:
        embeddings: Class embeddings of L competitors, ``[L, D]``.
        competes: 1 where a competitor counts against a class, else 0; float32 ``[K, L]``.
        background: Cosine similarity of the background, which competes with every class.
    """

    embeddings: Tensor
    competes: Tensor
    background: float

    @classmethod
    def build(
        cls, names: Sequence[str], lexicon: ClassEmbeddings, others: ClassEmbeddings, background: float
    ) -> 'Competitors':
        """Choose the competitors of class names.

        Args:
            names: K class names.
            lexicon: Entries of the lexicon. Those that mean a name, or a kind of it, do not compete with it.
            others: Names that the user is not looking for. They compete with every class.
            background: See the class.
        """
        table = torch.from_numpy(competes(names, lexicon.class_names)).float()
        return cls(
            torch.cat([lexicon.embeddings, others.embeddings]),
            torch.cat([table, table.new_ones(len(names), len(others.class_names))], dim=1),
            background,
        )

    def to(self, other: Tensor) -> 'Competitors':
        """Return the competitors with the type and device of a tensor."""
        return Competitors(self.embeddings.to(other), self.competes.to(other), self.background)
