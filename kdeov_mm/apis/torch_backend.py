"""The inferencer's backend for trained models in PyTorch."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from mmyolo.registry import TRANSFORMS

from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.structures import DEFAULT_THRESHOLD, Detections, ImageCompetitors
from kdeov_mm.text import Lexicon
from kdeov_mm.utils import InputError, load_config, resolve_checkpoint
from .detection import as_detections, build_vocabulary, inference_transforms, load_model


class TorchBackend:
    """Runs a config's model with the weights of a checkpoint.

    Args:
        config: Config file.
        checkpoint: Checkpoint file, or a work dir, whose last complete checkpoint is used.
        device: Such as ``cpu`` or ``cuda:0``; default: a GPU if there is one.

    Raises:
        ValueError: If the checkpoint belongs to another model, or the test pipeline does not begin with the loading of
            the image.
        FileNotFoundError: If a file is missing.
    """

    folded: list[str] | None = None  # no class names are folded into these weights

    def __init__(self, config: str, checkpoint: str, device: str | None = None) -> None:
        self.cfg = load_config(config)
        device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.model = load_model(self.cfg, self.checkpoint, None, device)
        self._vocabulary: tuple[ClassEmbeddings | None, ...] = (None, None)  # the model's current classes and others
        self._lock = threading.Lock()  # one thread at a time uses the network
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

    @property
    def threshold(self) -> float:
        """The default minimum score of a detection."""
        return self.model.calibration.threshold if hasattr(self.model, 'calibration') else DEFAULT_THRESHOLD

    @property
    def lexicon(self) -> Lexicon:
        """The model's lexicon; empty if it has none."""
        return getattr(self.model, 'lexicon', Lexicon())

    @property
    def image_competitors(self) -> ImageCompetitors | None:
        """See :class:`Backend`."""
        with self._lock:
            return getattr(self.model, 'image_competitors', None)

    def embed_names(
        self, names: Sequence[str], templates: str | Sequence[str] | None = None, embeddings: str | None = None
    ) -> ClassEmbeddings:
        """See :class:`Backend` and :func:`build_vocabulary`."""
        if embeddings is None:
            self.lexicon.warn_unknown(names)
        return build_vocabulary(self.cfg, names, templates, embeddings)

    def as_array(self, class_embeddings: ClassEmbeddings) -> np.ndarray:
        """See :class:`Backend`."""
        return class_embeddings.embeddings.numpy()

    def embed_text(self, text: str) -> np.ndarray:
        """See :class:`Backend`."""
        self.lexicon.warn_unknown([text])
        with self._lock:
            return self.model.text_encoder.encode_text([text])[0].numpy()

    def prepare(self, images: list[np.ndarray]) -> dict:
        """Return the network's batch for images uint8 RGB ``[H, W, 3]``."""
        items = [self.pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0)) for image in images]
        return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}

    @torch.inference_mode()
    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """See :class:`Backend`.

        Raises:
            InputError: If an embedding is NaN or infinite.
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
        self,
        images: list[np.ndarray],
        names: list[str],
        class_embeddings: ClassEmbeddings | None,
        score_threshold: np.ndarray,
        others: ClassEmbeddings | None = None,
    ) -> list[Detections]:
        """See :class:`Backend`.

        Raises:
            InputError: If the model has no head.
            ValueError: If there are ``others``, but the classes compete with each other.
        """
        if not self.model.with_bbox:
            raise InputError(f'detect: the model of {self.cfg.filename} has no bbox_head; it can classify and search')
        batch = self.prepare(images)
        with self._lock:
            if class_embeddings is not self._vocabulary[0] or others is not self._vocabulary[1]:
                self.model.set_vocabulary(class_embeddings, *([] if others is None else [others]))
                self._vocabulary = class_embeddings, others
            samples = self.model.test_step(batch)
        return [as_detections(sample, names).above(score_threshold) for sample in samples]
