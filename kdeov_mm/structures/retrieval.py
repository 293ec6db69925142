"""Results of image embedding and retrieval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import atomic_path

from .drawing import draw_grid
from .results import ImageSource, Result

Presence = Callable[[np.ndarray], np.ndarray]  # from embeddings [N, D] to the probabilities of a query [N]
NO_PROBABILITY = (
    'only the matches of a text and of a model with competitors (model.background, model.lexicon) have a probability; '
    'search without a threshold, and export the model again if it is an old export'
)


@dataclass
class Match:
    """Holds one image of a search result.

    Attributes:
        image: The image.
        score: Cosine similarity to the query, in [-1, 1].
        probability: Probability, in [0, 1], that the image shows what a text query says; None for an image query, and
            for a model that has no competitors.
    """

    image: ImageSource
    score: float
    probability: float | None = None

    @property
    def caption(self) -> str:
        """The cosine similarity, and the probability if there is one."""
        return f'{self.score:.3f}' if self.probability is None else f'{self.score:.3f}, p {self.probability:.2f}'


@dataclass
class SearchResult(Result):
    """Holds the images that best match a query, best first.

    Attributes:
        query: The text, or the name of the query image.
        matches: The images with their scores.
    """

    columns = ('query', 'rank', 'image', 'score')

    query: str
    matches: list[Match]

    @classmethod
    def nearest(
        cls,
        query: str,
        vector: np.ndarray,
        embeddings: np.ndarray,
        images: Sequence[ImageSource],
        k: int,
        presence: Presence | None = None,
    ) -> 'SearchResult':
        """Rank images by the cosine similarity of their embeddings ``[N, D]`` to a vector ``[D]``; keep the k best.

        ``presence`` computes the probabilities of the matches from their embeddings.
        """
        order, scores = rank(vector, embeddings, k)
        probabilities = [None] * len(order) if presence is None else presence(embeddings[order]).tolist()
        return cls(
            query,
            [Match(images[index], float(score), p) for index, score, p in zip(order, scores, probabilities)],
        )

    def above(self, threshold: float) -> 'SearchResult':
        """Return the matches with a probability of at least ``threshold``. No match: no image shows it.

        Raises:
            InputError: If a match has no probability.
        """
        if any(match.probability is None for match in self.matches):
            raise InputError(f'threshold: {NO_PROBABILITY}')
        matches = [match for match in self.matches if match.probability >= threshold]  # type: ignore[operator]
        return replace(self, matches=matches)

    def __len__(self) -> int:
        return len(self.matches)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict for each image."""
        return [
            dict(query=self.query, rank=i, image=match.image.name, score=float(match.score))
            | ({} if match.probability is None else dict(probability=match.probability))
            for i, match in enumerate(self.matches, 1)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return dict(
            query=self.query,
            matches=[{key: value for key, value in row.items() if key != 'query'} for row in self.rows()],
        )

    def draw(self) -> Image.Image:
        """Draw the query above the images."""
        return draw_grid(self.query, [(match.image.read(), match.caption) for match in self.matches])


@dataclass
class EmbeddingResult:
    """Holds the embeddings of images.

    Attributes:
        images: N images.
        embeddings: float32, L2-normalised, ``[N, D]``.
    """

    images: Sequence[ImageSource]
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        """The names of the N images."""
        return [image.name for image in self.images]

    def save(self, path: str | Path) -> Path:
        """Write ``names`` and ``embeddings`` as an ``.npz`` file."""
        path = Path(path).with_suffix('.npz')
        with atomic_path(path) as partial, open(partial, 'wb') as file:
            np.savez(file, names=np.array(self.names), embeddings=self.embeddings)
        return path


def rank(vector: np.ndarray, embeddings: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices and cosine similarities of the k embeddings ``[N, D]`` nearest to a vector ``[D]``."""
    similarities = embeddings @ vector
    order = np.argsort(-similarities, kind='stable')[:k]
    return order, similarities[order]
