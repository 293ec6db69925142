"""Results of image classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .drawing import draw_probabilities
from .results import ImageResult, ImageSource

LOGIT_SCALE = 100.0  # CLIP's, see Radford et al. 2021, section 2.5
NONE = 'none of these'


def softmax(similarities: np.ndarray, logit_scale: float = LOGIT_SCALE) -> np.ndarray:
    """Convert cosine similarities ``[N, K]`` to probabilities ``[N, K]`` of K classes."""
    logits = logit_scale * similarities
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


@dataclass
class ClassificationResult(ImageResult):
    """Holds the most probable class names of an image, best first.

    Attributes:
        names: M class names.
        probabilities: float32 ``[M]`` in [0, 1]. Those of all given class names, and ``none``, sum to 1.
        image: The image, or None.
        none: Probability that no class name fits, in [0, 1]; None for a model that has no competitors.
    """

    columns = ('image', 'name', 'probability')

    names: list[str]
    probabilities: np.ndarray
    image: ImageSource | None = None
    none: float | None = None

    @classmethod
    def top(
        cls,
        probabilities: np.ndarray,
        class_names: Sequence[str],
        k: int,
        images: Sequence[ImageSource | None],
        competitors: bool = False,
    ) -> list['ClassificationResult']:
        """Make a result of the k best class names for each row of ``probabilities`` ``[N, K]``.

        With ``competitors``, what a row lacks to 1 is the probability of "none of these".
        """
        best = np.argsort(-probabilities, axis=1, kind='stable')[:, :k]
        return [
            cls(
                [class_names[index] for index in order],
                row[order],
                image,
                max(1 - float(row.sum(dtype=np.float64)), 0.0) if competitors else None,
            )
            for order, row, image in zip(best, probabilities, images)
        ]

    @property
    def name(self) -> str:
        """The best class name, even if ``none`` is more probable."""
        return self.names[0]

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict for each class name, and one for "none of these"."""
        return [
            dict(image=self.image_name, name=name, probability=float(value)) for name, value in zip(*self.with_none())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        none = {} if self.none is None else dict(none=self.none)
        return dict(image=self.image_name, names=dict(zip(self.names, map(float, self.probabilities))), **none)

    def draw(self) -> Image.Image:
        """Draw the image beside bars of the probabilities."""
        return draw_probabilities(self.pixels(), *self.with_none())

    def with_none(self) -> tuple[list[str], list[float]]:
        """Return the class names and "none of these", which comes last, with their probabilities."""
        more = [] if self.none is None else [self.none]
        return [*self.names, *[NONE] * len(more)], [*self.probabilities.tolist(), *more]
