"""Building of the model, the class embeddings and the input pipeline of a config."""

from collections.abc import Sequence

from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS, TRANSFORMS
from torch import nn

from kdeov_mm.models import ClassEmbeddings, PrecomputedTextEncoder, build_text_encoder
from kdeov_mm.structures import Detections
from kdeov_mm.utils import load_weights
from kdeov_mm.utils.config import first_test_dataloader


def build_vocabulary(
    cfg: Config,
    names: Sequence[str],
    templates: str | Sequence[str] | None = None,
    embeddings: str | None = None,
) -> ClassEmbeddings:
    """Embed class names for the model of a config.

    Args:
        cfg: Config whose model has the text encoder.
        names: Class names without duplicates.
        templates: See ``ClassEmbeddings.build``; None: those of the config.
        embeddings: File of precomputed embeddings, one row for each class name, in place of the text encoder.

    Raises:
        ValueError: If the names, templates or embeddings are invalid.
        InputError: If the model's config has no text encoder, and no embeddings are given.
        FileNotFoundError: If a file is missing.
    """
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    if embeddings is not None:
        vocabulary = ClassEmbeddings.build(names, PrecomputedTextEncoder(embeddings, names))
    else:
        encoder = build_text_encoder(cfg.model)
        vocabulary = ClassEmbeddings.build(names, encoder, templates, encoder.synonyms if templates else None)
    vocabulary.check(cfg.model.embed_dims)
    return vocabulary


def load_model(
    cfg: Config, checkpoint: str, vocabulary: ClassEmbeddings | None, device: str = 'cpu', class_agnostic: bool = True
) -> nn.Module:
    """Build the model of a config for inference, with weights and vocabulary.

    Args:
        cfg: The config.
        checkpoint: Checkpoint file.
        vocabulary: Classes to detect; None: set later, or for a model without a head.
        device: Such as ``cpu`` or ``cuda:0``.
        class_agnostic: Whether boxes suppress each other across class names, so that one object gets one name.

    Returns:
        nn.Module: The model in inference mode. ``predict`` leaves the image embedding out.

    Raises:
        ValueError: If the checkpoint is invalid or belongs to another model, or the model cannot detect.
    """
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    test_cfg = {**(cfg.model.get('test_cfg') or {}), 'embed_images': False}
    if 'nms' in test_cfg:
        test_cfg['nms'] = {**test_cfg['nms'], 'class_agnostic': class_agnostic}
    model = MODELS.build(ConfigDict({**cfg.model, 'test_cfg': test_cfg}))
    if vocabulary is not None and not getattr(model, 'with_bbox', False):
        raise ValueError(f'config: the model of {cfg.filename} has no bbox_head, so it cannot detect')
    load_weights(model, checkpoint)
    if vocabulary is not None:
        model.set_vocabulary(vocabulary)
    return model.to(device).eval()


def inference_transforms(cfg: Config) -> list[dict]:
    """Return the transforms' configs of the first test data set, without the loading of annotations."""
    pipeline = first_test_dataloader(cfg).dataset.pipeline
    return [transform for transform in pipeline if 'LoadAnnotations' not in transform['type']]


def inference_pipeline(cfg: Config) -> Compose:
    """Build the transforms of :func:`inference_transforms`, from an image file to the model's input."""
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    return Compose([TRANSFORMS.build(transform) for transform in inference_transforms(cfg)])


def as_detections(sample: DetDataSample, class_names: list[str]) -> Detections:
    """Convert a data sample with ``pred_instances``, in pixels of the original image, into Detections."""
    instances = sample.pred_instances.cpu().numpy()
    return Detections(instances.bboxes, instances.scores, instances.labels, class_names, *sample.ori_shape[:2])
