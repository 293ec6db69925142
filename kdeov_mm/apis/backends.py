"""The interface of the inferencer's backends, and the backend of exported files in ONNX Runtime.

The backend of trained models in PyTorch is in ``torch_backend``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, Union, runtime_checkable

import numpy as np

from kdeov_mm.structures import Detections, ImageCompetitors
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError

if TYPE_CHECKING:
    from kdeov_mm.deploy.runtime import Runtime

T = TypeVar('T')  # class embeddings as the backend holds them


@runtime_checkable
class Backend(Protocol[T]):
    """Computes embeddings and detections for the inferencer.

    Attributes:
        folded: Class names that are folded into the weights, or None: :meth:`detect` needs no class embeddings for
            them.

    A backend may also have ``threshold``, the model's default minimum score of a detection, and ``thresholds``, those
    of single folded class names.
    """

    folded: list[str] | None

    @property
    def embed_dims(self) -> int:
        """The dimension D of embeddings."""

    @property
    def image_competitors(self) -> ImageCompetitors | None:
        """What competes with class names and queries for a whole image; None: nothing."""

    def embed_names(
        self, names: Sequence[str], templates: str | Sequence[str] | None = None, embeddings: str | None = None
    ) -> T:
        """Embed class names, for any number of later calls.

        Args:
            names: K checked class names.
            templates: Prompt templates; None: the model's own.
            embeddings: File of precomputed embeddings, one row for each class name, in place of the text encoder.
        """

    def as_array(self, class_embeddings: T) -> np.ndarray:
        """Return class embeddings as float32 ``[K, D]``."""

    def embed_text(self, text: str) -> np.ndarray:
        """Embed a text without a template, float32 ``[D]``."""

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """Embed images uint8 RGB ``[H, W, 3]``; float32, L2-normalised, ``[N, D]``."""

    def detect(
        self,
        images: list[np.ndarray],
        names: list[str],
        class_embeddings: T | None,
        score_threshold: np.ndarray,
        others: T | None = None,
    ) -> list[Detections]:
        """Detect objects.

        Args:
            images: uint8 RGB ``[H, W, 3]`` each.
            names: K class names.
            class_embeddings: Result of :meth:`embed_names`; None for the folded class names.
            score_threshold: Minimum score of each class name, float32 ``[K]`` in [0, 1].
            others: Result of :meth:`embed_names` for names that compete but are not detected; None: none.
        """


class OnnxBackend:
    """Runs exported files in ONNX Runtime; see ``kdeov_mm.deploy.Runtime``.

    Args:
        paths: Files of one model, the folder that ``kdeov export`` wrote them to, or an opened runtime.

    Raises:
        ValueError, FileNotFoundError: See ``kdeov_mm.deploy.Runtime``.
    """

    def __init__(self, paths: Union[str, Path, Sequence[str], 'Runtime']) -> None:
        from kdeov_mm.deploy.runtime import KINDS, Runtime

        if isinstance(paths, Runtime):
            self.runtime, self.folded = paths, paths.names
            return
        paths = [str(paths)] if isinstance(paths, (str, Path)) else list(paths)
        if len(paths) == 1 and Path(paths[0]).is_dir():
            folder = Path(paths[0])
            paths = [str(path) for path in (folder / f'{kind}.onnx' for kind in KINDS) if path.is_file()]
            if not paths:
                raise InputError(f'model: the folder "{printable(str(folder))}" has none of {", ".join(KINDS)} (.onnx)')
        self.runtime = Runtime(paths)
        self.folded = self.runtime.names

    @property
    def embed_dims(self) -> int:
        """The dimension D of embeddings."""
        return self.runtime.embed_dims

    @property
    def threshold(self) -> float:
        """The default minimum score of a detection."""
        return self.runtime.threshold

    @property
    def thresholds(self) -> dict[str, float]:
        """The minimum scores of those folded class names that have their own."""
        return self.runtime.thresholds

    @property
    def image_competitors(self) -> ImageCompetitors | None:
        """See :class:`Backend`."""
        return self.runtime.image_competitors

    def embed_names(
        self, names: Sequence[str], templates: str | Sequence[str] | None = None, embeddings: str | None = None
    ) -> np.ndarray:
        """See :class:`Backend`.

        Raises:
            ValueError: If there is no text encoder, templates are given, or precomputed embeddings do not fit.
        """
        if templates is not None:
            raise InputError(
                'templates: an exported text encoder has its own templates; export it again with --templates'
            )
        if embeddings is not None:
            from kdeov_mm.models import PrecomputedTextEncoder

            precomputed = PrecomputedTextEncoder(embeddings, names).encode_text(names).numpy()
            return self.runtime.check_class_embeddings(names, precomputed)
        return self.runtime.embed_names(names)

    def as_array(self, class_embeddings: np.ndarray) -> np.ndarray:
        """See :class:`Backend`."""
        return class_embeddings

    def embed_text(self, text: str) -> np.ndarray:
        """See :class:`Backend`."""
        self.runtime.lexicon.warn_unknown([text])
        return self.runtime.encode_text([text])[0]

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """See :class:`Backend`."""
        return self.runtime.encode_image(images)

    def detect(
        self,
        images: list[np.ndarray],
        names: list[str],
        class_embeddings: np.ndarray | None,
        score_threshold: np.ndarray,
        others: np.ndarray | None = None,
    ) -> list[Detections]:
        """See :class:`Backend`."""
        return self.runtime.detect(
            images,
            None if class_embeddings is None else names,
            class_embeddings,
            score_threshold,
            others=() if others is None else others,
        )
