"""Results of image embedding and retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdeov_mm.utils.files import atomic_path

from .drawing import draw_grid
from .results import ImageSource, Result


@dataclass
class Match:
    """Holds one image of a search result.

    Attributes:
        image: The image.
        score: Cosine similarity to the query, in [-1, 1].
    """

    image: ImageSource
    score: float


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
        cls, query: str, vector: np.ndarray, embeddings: np.ndarray, images: Sequence[ImageSource], k: int
    ) -> 'SearchResult':
        """Rank images by the cosine similarity of their embeddings ``[N, D]`` to a vector ``[D]``; keep the k best."""
        order, scores = rank(vector, embeddings, k)
        return cls(query, [Match(images[index], float(score)) for index, score in zip(order, scores)])

    def __len__(self) -> int:
        return len(self.matches)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict for each image."""
        return [
            dict(query=self.query, rank=i, image=match.image.name, score=float(match.score))
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
        return draw_grid(self.query, [(match.image.read(), f'{match.score:.2f}') for match in self.matches])


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
