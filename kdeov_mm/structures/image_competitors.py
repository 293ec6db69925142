"""What competes with class names and queries for a whole image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdeov_mm.text.lexicon import Lexicon, words

from .classification import LOGIT_SCALE


@dataclass(frozen=True)
class ImageCompetitors:
    """Holds a lexicon with its class embeddings, and a background.

    Attributes:
        lexicon: L entries.
        embeddings: Their class embeddings, float32, L2-normalised, ``[L, D]``.
        background: Cosine similarity b, in [-1, 1], of one more competitor: what is less similar to an image is not
            in it.
    """

    lexicon: Lexicon
    embeddings: np.ndarray
    background: float

    def classify(
        self, images: np.ndarray, texts: np.ndarray, names: Sequence[str], scale: float = LOGIT_SCALE
    ) -> np.ndarray:
        """Compute the probability of each class name in each image; see docs/scores.md.

        With the logits z of class names and of the lexicon's entries l and the logit scale s, a name has the mean
        evidence of itself and of its hyponyms in the lexicon. Entries compete that are hyponyms of no asked name::

            evidence_k = mean(e^z_k, e^z_l of all hyponyms l of k)
            p_k = evidence_k / (sum_j evidence_j + sum of e^z_l over competing l + e^(s*b))

        The rest to 1 is the probability of "none of these". For one class name it is the formula of detection,
        ``kdeov_mm.models.post_processing.independent_probability``.

        Args:
            images: Image embeddings ``[N, D]``.
            texts: Class embeddings ``[K, D]``.
            names: The K class names.
            scale: Logit scale s, > 0.

        Returns:
            numpy.ndarray: float32 ``[N, K]`` in [0, 1]; rows sum to at most 1.
        """
        competes = self.lexicon.competes(names)
        return self._probabilities(images, texts, ~competes, competes.all(axis=0), scale)

    def presence(self, images: np.ndarray, text: np.ndarray, query: str) -> np.ndarray:
        """Compute the probability that each image shows what a query says.

        The query is a class name or a sentence. Entries of the lexicon that it mentions do not compete with it. It
        mentions an entry if it has all of the entry's words exactly: "dogs" does not mention "dog".

        Args:
            images: Image embeddings ``[N, D]``.
            text: The query's embedding ``[D]``.
            query: The text.

        Returns:
            numpy.ndarray: float32 ``[N]`` in [0, 1].
        """
        said = set(words(query))
        mentioned = np.array([said.issuperset(words(entry)) for entry in self.lexicon.entries], bool)
        competes = self.lexicon.competes([query])
        return self._probabilities(images, text[None], ~competes, competes[0] & ~mentioned)[:, 0]

    def _probabilities(
        self,
        images: np.ndarray,
        texts: np.ndarray,
        hyponyms: np.ndarray,
        competing: np.ndarray,
        scale: float = LOGIT_SCALE,
    ) -> np.ndarray:
        """Return the probabilities of K texts with hyponyms (bool ``[K, L]``) against competitors (bool ``[L]``)."""
        count = len(texts)
        background = np.full((len(images), 1), self.background, np.float32)
        similarities = np.concatenate([images @ texts.T, images @ self.embeddings.T, background], axis=1)
        logits = scale * similarities.astype(np.float64)
        evidence = np.exp(logits - logits.max(axis=1, keepdims=True))
        own, entries = evidence[:, :count], evidence[:, count:-1]
        own = (own + entries @ hyponyms.T) / (1 + hyponyms.sum(axis=1))
        rest = entries[:, competing].sum(axis=1, keepdims=True) + evidence[:, -1:]
        return (own / (own.sum(axis=1, keepdims=True) + rest)).astype(np.float32)
