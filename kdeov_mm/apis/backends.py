"""What computes for the inferencer: the interface, and exported files in ONNX Runtime.

A trained model in PyTorch is in ``torch_backend``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Protocol, Sequence, TypeVar, Union, runtime_checkable

import numpy as np

from kdeov_mm.structures import Detections
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError

if TYPE_CHECKING:
    from kdeov_mm.deploy.runtime import Runtime

T = TypeVar('T')  # class embeddings as the backend holds them


@runtime_checkable
class Backend(Protocol[T]):
    """What computes for the inferencer.

    Attributes:
        folded: The class names that are part of the file, or None.
    """

    folded: Optional[List[str]]

    @property
    def embed_dims(self) -> int:
        """The dimension D of embeddings."""

    def embed_names(
        self, names: Sequence[str], templates: Union[str, Sequence[str], None] = None, embeddings: Optional[str] = None
    ) -> T:
        """Embed class names once, for any number of later calls.

        Args:
            names: K checked class names.
            templates: Prompt templates; None: the model's own.
            embeddings: A file of ready embeddings, one row for each name, in place of the text encoder.
        """

    def as_array(self, texts: T) -> np.ndarray:
        """Return class embeddings as float32 ``[K, D]``."""

    def embed_text(self, text: str) -> np.ndarray:
        """Embed a text as it is, float32 ``[D]``."""

    def embed(self, images: List[np.ndarray]) -> np.ndarray:
        """Embed images uint8 RGB ``[H, W, 3]``; float32, L2-normalised, ``[N, D]``."""

    def detect(
        self, images: List[np.ndarray], names: List[str], texts: Optional[T], score_threshold: float
    ) -> List[Detections]:
        """Detect class names in images uint8 RGB ``[H, W, 3]``; without ``texts``, those that are folded."""


class OnnxBackend:
    """Exported files in ONNX Runtime; see ``kdeov_mm.deploy.Runtime``.

    Args:
        paths: Files of one model, the folder that ``kdeov export`` wrote them to, or an opened runtime.
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

    def embed_names(
        self, names: Sequence[str], templates: Union[str, Sequence[str], None] = None, embeddings: Optional[str] = None
    ) -> np.ndarray:
        """See :class:`Backend`.

        Raises:
            ValueError: If there is no text encoder, other templates are asked for, or ready embeddings do not fit.
        """
        if templates is not None:
            raise InputError('templates: an exported text encoder has its own; export it again with --templates')
        if embeddings is not None:
            from kdeov_mm.models import PrecomputedTextEncoder

            ready = PrecomputedTextEncoder(embeddings, names).encode_text(names).numpy()
            return self.runtime.check_texts(names, ready)
        return self.runtime.embed_names(names)

    def as_array(self, texts: np.ndarray) -> np.ndarray:
        """See :class:`Backend`."""
        return texts

    def embed_text(self, text: str) -> np.ndarray:
        """See :class:`Backend`."""
        return self.runtime.encode_text([text])[0]

    def embed(self, images: List[np.ndarray]) -> np.ndarray:
        """See :class:`Backend`."""
        return self.runtime.encode_image(images)

    def detect(
        self, images: List[np.ndarray], names: List[str], texts: Optional[np.ndarray], score_threshold: float
    ) -> List[Detections]:
        """See :class:`Backend`."""
        return self.runtime.detect(images, None if texts is None else names, texts, score_threshold)
