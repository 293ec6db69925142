"""The two things that compute for the inferencer: a trained model in PyTorch, and exported files in ONNX Runtime."""

import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Protocol, Sequence, TypeVar, Union, runtime_checkable

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from mmyolo.registry import TRANSFORMS

from kdeov_mm.models import TextBank, build_text_encoder
from kdeov_mm.structures import Detections
from kdeov_mm.utils import InputError, load_config, resolve_checkpoint
from kdeov_mm.utils.display import printable

from .detection import as_detections, build_vocabulary, inference_transforms, load_model

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


class TorchBackend:
    """A config's model with the weights of a checkpoint.

    Args:
        config: File.
        checkpoint: File, or a work dir, whose last complete one is taken.
        device: Such as ``cpu`` or ``cuda:0``; default: the GPU where there is one.
    """

    folded: Optional[List[str]] = None

    def __init__(self, config: str, checkpoint: str, device: Optional[str] = None) -> None:
        self.cfg = load_config(config)
        device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.model = load_model(self.cfg, self.checkpoint, None, device)
        self._vocabulary: Optional[TextBank] = None  # the one that the model has
        self._lock = threading.Lock()  # the network works for one thread at a time
        init_default_scope(self.cfg.get('default_scope', 'mmyolo'))
        load, *others = inference_transforms(self.cfg)
        if 'Load' not in load['type']:
            raise InputError(
                f'config: the test pipeline of {config} must begin with the loading of the image, got {load["type"]}'
            )
        self.pipeline = Compose(
            [TRANSFORMS.build(dict(type='mmdet.LoadImageFromNDArray')), *map(TRANSFORMS.build, others)]
        )

    @property
    def embed_dims(self) -> int:
        """The dimension D of embeddings."""
        return self.model.embed_dims

    @cached_property
    def text_encoder(self):
        """The model's text encoder, which loads its weights at the first text."""
        return build_text_encoder(self.cfg)

    def embed_names(
        self, names: Sequence[str], templates: Union[str, Sequence[str], None] = None, embeddings: Optional[str] = None
    ) -> TextBank:
        """See :class:`Backend` and :func:`build_vocabulary`."""
        return build_vocabulary(self.cfg, names, templates, embeddings)

    def as_array(self, texts: TextBank) -> np.ndarray:
        """See :class:`Backend`."""
        return texts.embeddings.numpy()

    def embed_text(self, text: str) -> np.ndarray:
        """See :class:`Backend`."""
        with self._lock:
            return self.text_encoder.encode_text([text])[0].numpy()

    def prepare(self, images: List[np.ndarray]) -> dict:
        """Return the network's batch for images uint8 RGB ``[H, W, 3]``."""
        items = [self.pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0)) for image in images]
        return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}

    @torch.inference_mode()
    def embed(self, images: List[np.ndarray]) -> np.ndarray:
        """See :class:`Backend`.

        Raises:
            InputError: If the weights are so large that NaN or infinity comes out.
        """
        batch = self.prepare(images)
        with self._lock:
            embeddings = self.model.encode_image(self.model.data_preprocessor(batch, False)['inputs'])
        if not torch.isfinite(embeddings).all():
            raise InputError(
                f'{self.checkpoint}: the image encoder computed NaN or infinity; expected finite embeddings; '
                'give another checkpoint'
            )
        return embeddings.cpu().numpy()

    @torch.inference_mode()
    def detect(
        self, images: List[np.ndarray], names: List[str], texts: Optional[TextBank], score_threshold: float
    ) -> List[Detections]:
        """See :class:`Backend`.

        Raises:
            InputError: If the model has no head.
        """
        if not self.model.with_bbox:
            raise InputError(f'detect: the model of {self.cfg.filename} has no bbox_head; it can classify and search')
        batch = self.prepare(images)
        with self._lock:
            if texts is not self._vocabulary:
                self.model.set_vocabulary(texts)
                self._vocabulary = texts
            samples = self.model.test_step(batch)
        return [as_detections(sample, names).above(score_threshold) for sample in samples]


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
