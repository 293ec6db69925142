"""A supervised classifier as a baseline of zero-shot classification."""

from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmyolo.registry import MODELS
from torch import Tensor

from kdeov_mm.utils.safe_load import safe_load_patched


@MODELS.register_module()
class TimmClassifier(BaseModel):
    """Trains any timm model with a new classifier by cross-entropy.

    Args:
        model_name: A timm model name.
        num_classes: Number of classes K.
        pretrained: Initial weights: timm's weights (True), a local file of such weights, or random ones (False).
        data_preprocessor: Normalises as the weights expect (``timm.create_model(...).pretrained_cfg``).

    Raises:
        ValueError: If timm has no such model.
        FileNotFoundError: If ``pretrained`` is a path without a file.
    """

    def __init__(
        self,
        model_name: str,
        num_classes: int,
        pretrained: bool | str = False,
        data_preprocessor: dict | None = None,
    ) -> None:
        if not timm.is_model(model_name.split('.')[0]):
            raise ValueError(f'model_name: timm knows no model {model_name!r}; see timm.list_models()')
        if isinstance(pretrained, str) and not Path(pretrained).is_file():
            raise FileNotFoundError(f'pretrained: no file {pretrained!r} (weights of {model_name})')
        super().__init__(data_preprocessor=data_preprocessor)
        source = dict(file=pretrained) if isinstance(pretrained, str) else None
        with safe_load_patched():
            self.backbone = timm.create_model(
                model_name, pretrained=bool(pretrained), pretrained_cfg_overlay=source, num_classes=num_classes
            )
        self.num_classes = num_classes

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample] | None = None, mode: str = 'tensor'
    ) -> dict | list[DetDataSample] | Tensor:
        """Classify images.

        ``loss`` needs ``gt_label`` in each data sample; ``predict`` fills ``pred_score``, probabilities ``[K]``.

        Raises:
            ValueError: If a label is not in [0, K); names the image.
        """
        logits = self.backbone(inputs)
        if mode == 'tensor':
            return logits
        if mode == 'predict':
            for sample, score in zip(data_samples, logits.softmax(1)):
                sample.pred_score = score
            return data_samples
        for sample in data_samples:
            if not 0 <= sample.gt_label < self.num_classes:
                raise ValueError(
                    f'{sample.img_path}: gt_label {sample.gt_label} is not in [0, {self.num_classes}); '
                    'set num_classes of the model'
                )
        labels = torch.tensor([sample.gt_label for sample in data_samples], device=logits.device)
        loss = F.cross_entropy(logits, labels)
        return dict(loss=loss, batch_top1=(logits.argmax(1) == labels).float().mean())
