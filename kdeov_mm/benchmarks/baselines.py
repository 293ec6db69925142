"""The networks that kdeov bench compares: ours and the baselines, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import open_clip
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from timm.utils import reparameterize_model
from torch import Tensor, nn

from kdeov_mm.deploy.export import IMAGES, OUTPUTS
from kdeov_mm.deploy.graphs import Detector, ImageEncoder, simplify
from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.utils.model_index import index_root

CONFIG = 'configs/kdeov_yolov8n_ov-coco.py'  # of the package
OURS, YOLO, YOLO_RAW = 'KDEOV-n encoder', 'YOLOv8n, network with DFL', 'YOLOv8n, network without DFL'
DETECTORS = {k: f'KDEOV-n detector, {k:,} names' for k in (80, 1203)}
VIT_B_32, VIT_B_16, MOBILE = 'CLIP ViT-B/32', 'CLIP ViT-B/16', 'MobileCLIP2-S0'


@dataclass
class Network:
    """Describes a network of the comparison.

    Attributes:
        make: Builds it in inference mode, with random weights of one seed.
        size: Side of its input in pixels.
        outputs: Names of its outputs.
        int8: Types of the operators that its files for INT8 quantise.
        free: The dimensions of the input that may have any size, by name.
    """

    make: Callable[[], nn.Module]
    size: int
    outputs: tuple[str, ...] = ('embeddings',)
    int8: tuple[str, ...] = ('Conv',)
    free: dict[int, str] | None = None


class Embedding(nn.Module):
    """Wraps an OpenCLIP model's image encoder as deployed, with folded norms if its author provides that."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        model = open_clip.create_model(name).eval()
        self.visual = reparameterize_model(model.visual) if name.startswith('MobileCLIP') else model.visual
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.visual(images), dim=-1)


class Towers(nn.Module):
    """Wraps a detector up to its post-processing to count its operations; the rest is below 1% of them."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone, self.neck, self.layers = detector.backbone, detector.neck, detector.layers

    def forward(self, images: Tensor) -> tuple:
        return self.layers.towers(self.neck(self.backbone(images)))


class BareYOLO(nn.Module):
    """Wraps YOLOv8n's network without post-processing: class logits and boxes of each level.

    Args:
        dfl: Whether the boxes are distances to their four sides, the expectations of the distributions that the
            network predicts (distribution focal loss, Li et al. 2020), as MMYOLO's head gives them; else the
            distributions' logits.
    """

    def __init__(self, dfl: bool) -> None:
        super().__init__()
        init_default_scope('mmyolo')
        torch.manual_seed(0)
        model = MODELS.build(get_config('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py').model)
        self.dfl = dfl
        self.backbone, self.neck = simplify(model.backbone), simplify(model.neck)
        self.head = simplify(model.bbox_head.head_module)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        feats = self.neck(self.backbone(images))
        if self.dfl:
            scores, boxes = self.head(feats)
        else:
            scores, boxes = (
                [layer(x) for layer, x in zip(layers, feats)] for layers in (self.head.cls_preds, self.head.reg_preds)
            )
        return (*scores, *boxes)


def build_ours(names: int = 0) -> nn.Module:
    """Build our image encoder, untrained, or our detector with ``names`` class names if that is not 0.

    The biases are not initialised as YOLO's, so every candidate passes the threshold: the maximum of work.
    """
    init_default_scope('mmyolo')
    cfg = Config.fromfile(index_root() / CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    if not names:
        return ImageEncoder(model)
    texts = F.normalize(torch.randn(names, model.embed_dims, generator=torch.Generator().manual_seed(0)), dim=1)
    model.set_vocabulary(ClassEmbeddings([str(k) for k in range(names)], texts), closed=True)  # no CLIP is needed
    return Detector(model)


TRANSFORMER = ('MatMul', 'Gemm', 'Conv')
BATCH, LEVELS = {0: 'batch'}, tuple(f'{what}{level}' for what in ('scores', 'boxes') for level in range(3))
NETWORKS = {
    OURS: Network(build_ours, 224, free=IMAGES),
    MOBILE: Network(lambda: Embedding('MobileCLIP2-S0'), 256, free=BATCH),
    'CLIP RN50': Network(lambda: Embedding('RN50'), 224, free=BATCH),
    VIT_B_32: Network(lambda: Embedding('ViT-B-32'), 224, int8=TRANSFORMER, free=BATCH),
    VIT_B_16: Network(lambda: Embedding('ViT-B-16'), 224, int8=TRANSFORMER, free=BATCH),
    YOLO: Network(lambda: BareYOLO(dfl=True), 640, LEVELS, free=IMAGES),
    YOLO_RAW: Network(lambda: BareYOLO(dfl=False), 640, LEVELS, free=IMAGES),
    **{name: Network(partial(build_ours, k), 640, OUTPUTS, free=IMAGES) for k, name in DETECTORS.items()},
}
