"""What competes with class names and queries for a whole image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdeov_mm.text.lexicon import Lexicon, words

from .classification import LOGIT_SCALE, softmax


@dataclass(frozen=True)
class ImageCompetitors:
    """Holds a lexicon with its class embeddings, and a background.

    Attributes:
        lexicon: L entries.
        embeddings: Their class embeddings, float32, L2-normalised, ``[L, D]``.
        background: Cosine similarity, in [-1, 1], of one more competitor: what is less similar to an image is not in
            it.
    """

    lexicon: Lexicon
    embeddings: np.ndarray
    background: float

    def classify(
        self, images: np.ndarray, texts: np.ndarray, names: Sequence[str], scale: float = LOGIT_SCALE
    ) -> np.ndarray:
        """Compute the probability of each class name in each image; see docs/scores.md.

        With the logits z of the K class names and of the entries of the lexicon that compete with all of them::

            p_k = e^z_k / (sum_j e^z_j + sum_l e^z_l + e^background)

        The rest to 1 is the probability of "none of these". For one class name it is the formula of detection.

        Args:
            images: Image embeddings ``[N, D]``.
            texts: Class embeddings ``[K, D]``.
            names: The K class names.
            scale: Logit scale, > 0.

        Returns:
            numpy.ndarray: float32 ``[N, K]`` in [0, 1]; rows sum to at most 1.
        """
        return self._probabilities(images, texts, self.lexicon.competes(names).all(axis=0), scale)

    def presence(self, images: np.ndarray, text: np.ndarray, query: str) -> np.ndarray:
        """Compute the probability that each image shows what a query says.

        The query is a class name or a sentence. Entries of the lexicon that it mentions do not compete with it.

        Args:
            images: Image embeddings ``[N, D]``.
            text: The query's embedding ``[D]``.
            query: The text.

        Returns:
            numpy.ndarray: float32 ``[N]`` in [0, 1].
        """
        said = set(words(query))
        mentioned = np.array([said.issuperset(words(entry)) for entry in self.lexicon.entries], bool)
        return self._probabilities(images, text[None], self.lexicon.competes([query])[0] & ~mentioned)[:, 0]

    def _probabilities(
        self, images: np.ndarray, texts: np.ndarray, competing: np.ndarray, scale: float = LOGIT_SCALE
    ) -> np.ndarray:
        """Return the softmax over texts, competing entries (bool ``[L]``) and background, of the texts alone."""
        similarities = images @ np.concatenate([texts, self.embeddings[competing]]).T
        background = np.full((len(images), 1), self.background, np.float32)
        return softmax(np.concatenate([similarities, background], axis=1), scale)[:, : len(texts)]
