"""The two things that compute for the inferencer: a trained model in PyTorch, and exported files in ONNX Runtime."""

from functools import cached_property
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from mmyolo.registry import TRANSFORMS

from kdeov_mm.models import TextBank, build_text_encoder
from kdeov_mm.utils import InputError, load_config, resolve_checkpoint
from kdeov_mm.utils.display import printable
from .detection import build_vocabulary, inference_transforms, load_model

Found = Tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes [M, 4], scores [M], labels [M]


class TorchBackend:
    """A config's model with the weights of a checkpoint.

    Args:
        config: File.
        checkpoint: File, or a work dir, whose last complete one is taken.
        device: Such as ``cpu`` or ``cuda:0``; default: the GPU where there is one.
    """

    folded = None  # no vocabulary is part of the file

    def __init__(self, config: str, checkpoint: str, device: Optional[str] = None) -> None:
        self.cfg = load_config(config)
        device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.model = load_model(self.cfg, self.checkpoint, None, device)
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
    ) -> np.ndarray:
        """Embed a vocabulary, float32 ``[K, D]``; see :func:`build_vocabulary`."""
        return build_vocabulary(self.cfg, names, templates, embeddings).embeddings.numpy()

    def embed_text(self, text: str) -> np.ndarray:
        """Embed a text as it is, float32 ``[D]``."""
        return self.text_encoder.encode_text([text])[0].numpy()

    def prepare(self, image: np.ndarray) -> dict:
        """The network's input, and how it was made, of an image uint8 RGB ``[H, W, 3]``."""
        return self.pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0))

    @staticmethod
    def collate(prepared: List[dict]) -> dict:
        """A batch."""
        return {key: [item[key] for item in prepared] for key in ('inputs', 'data_samples')}

    @torch.inference_mode()
    def embed(self, prepared: List[dict]) -> np.ndarray:
        """Embed images as :meth:`prepare` made them ready; float32, L2-normalised, ``[N, D]``.

        Raises:
            InputError: The weights are so large that NaN or infinity comes out.
        """
        inputs = self.model.data_preprocessor(self.collate(prepared), False)['inputs']
        embeddings = self.model.encode_image(inputs)
        if not torch.isfinite(embeddings).all():
            raise InputError(
                f'{self.checkpoint}: the image encoder computed NaN or infinity; expected finite embeddings; '
                'give another checkpoint'
            )
        return embeddings.cpu().numpy()

    @torch.inference_mode()
    def detect(
        self, prepared: List[dict], names: Sequence[str], texts: np.ndarray, score_threshold: float
    ) -> List[Found]:
        """Detect names in images as :meth:`prepare` made them ready; boxes in pixels of the image."""
        if not self.model.with_bbox:
            raise InputError(f'detect: the model of {self.cfg.filename} has no bbox_head; it can classify and search')
        self.model.set_vocabulary(TextBank(list(names), torch.from_numpy(texts)))
        found = []
        for sample in self.model.test_step(self.collate(prepared)):
            boxes = sample.pred_instances
            boxes = boxes[boxes.scores >= score_threshold].cpu()
            found.append(tuple(boxes[key].numpy() for key in ('bboxes', 'scores', 'labels')))
        return found


class OnnxBackend:
    """Exported files in ONNX Runtime; see ``kdeov_mm.deploy.Runtime``.

    Args:
        paths: Files of one model, or the folder that tools/export.py wrote them to.
    """

    def __init__(self, paths: Union[str, Path, Sequence[str]]) -> None:
        from kdeov_mm.deploy.runtime import KINDS, Runtime

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
        """Embed a vocabulary, float32 ``[K, D]``, with the templates of the text encoder's file.

        Raises:
            ValueError: There is no text encoder, other templates are asked for, or ready embeddings do not fit.
        """
        if templates is not None:
            raise InputError('templates: an exported text encoder has its own; export it again with --templates')
        if embeddings is not None:
            from kdeov_mm.models import PrecomputedTextEncoder

            ready = PrecomputedTextEncoder(embeddings, names).encode_text(names).numpy()
            return self.runtime.check_texts(names, ready)
        return self.runtime.embed_names(names)

    def embed_text(self, text: str) -> np.ndarray:
        """Embed a text as it is, float32 ``[D]``."""
        return self.runtime.encode_text([text])[0]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The runtime makes images ready itself."""
        return image

    def embed(self, images: List[np.ndarray]) -> np.ndarray:
        """Embed images uint8 RGB ``[H, W, 3]``; float32, L2-normalised, ``[N, D]``."""
        return self.runtime.encode_image(images)

    def detect(
        self, images: List[np.ndarray], names: Sequence[str], texts: Optional[np.ndarray], score_threshold: float
    ) -> List[Found]:
        """Detect names, or without ``texts`` the vocabulary of the detector's file; boxes in pixels of the image."""
        given = None if texts is None else names
        found = self.runtime.detect(images, given, texts, score_threshold=score_threshold)
        return [(item.boxes, item.scores, item.labels) for item in found]
