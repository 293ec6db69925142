"""Build the model, the class embeddings and the input pipeline of a config."""

from typing import List, Optional, Sequence, Union

from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS, TRANSFORMS
from torch import nn

from kdeov_mm.models import PrecomputedTextEncoder, TextBank, build_text_encoder
from kdeov_mm.structures import Detections
from kdeov_mm.utils import load_weights
from kdeov_mm.utils.config import first_test_dataloader


def build_vocabulary(
    cfg: Config,
    names: Sequence[str],
    templates: Union[str, Sequence[str], None] = None,
    embeddings: Optional[str] = None,
) -> TextBank:
    """Embed names for the model of a config.

    Args:
        cfg: A training's config, whose model has the text encoder.
        names: Distinct texts.
        templates: See ``TextBank.build``; None: those of the config.
        embeddings: A file of ready embeddings, one row for each name, in place of the text encoder.

    Raises:
        ValueError: Bad names, templates or embeddings.
        InputError: The model's config has no text encoder, and no embeddings are given.
        FileNotFoundError: A file is missing.
    """
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    if embeddings is not None:
        bank = TextBank.build(names, PrecomputedTextEncoder(embeddings, names))
    else:
        encoder = build_text_encoder(cfg)
        bank = TextBank.build(names, encoder, templates, encoder.synonyms if templates else None)
    bank.check(cfg.model.embed_dims)
    return bank


def load_model(cfg: Config, checkpoint: str, bank: Optional[TextBank], device: str = 'cpu') -> nn.Module:
    """Build the model of a config for detection, in inference mode, with weights and vocabulary.

    Without a ``bank`` it has no vocabulary, and need not be able to detect.

    Raises:
        ValueError: The checkpoint is not one, or another model's, or the model cannot detect.
    """
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    test_cfg = {**(cfg.model.get('test_cfg') or {}), 'embed_images': False}
    model = MODELS.build(ConfigDict({**cfg.model, 'test_cfg': test_cfg}))
    if bank is not None and not getattr(model, 'with_bbox', False):
        raise ValueError(f'config: the model of {cfg.filename} has no bbox_head, so it cannot detect')
    load_weights(model, checkpoint)
    if bank is not None:
        model.set_vocabulary(bank)
    return model.to(device).eval()


def inference_transforms(cfg: Config) -> List[dict]:
    """Configs of the transforms of a config's (first) test data set, without the annotations that it loads."""
    pipeline = first_test_dataloader(cfg).dataset.pipeline
    return [transform for transform in pipeline if 'LoadAnnotations' not in transform['type']]


def inference_pipeline(cfg: Config) -> Compose:
    """The transforms of :func:`inference_transforms`, from an image file to the model's input."""
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    return Compose([TRANSFORMS.build(transform) for transform in inference_transforms(cfg)])


def as_detections(sample: DetDataSample, class_names: List[str]) -> Detections:
    """Turn a data sample with ``pred_instances``, in pixels of the original image, into Detections."""
    found = sample.pred_instances.cpu().numpy()
    return Detections(found.bboxes, found.scores, found.labels, class_names, *sample.ori_shape[:2])
