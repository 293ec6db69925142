"""Initialisation of backbone and neck from a trained YOLO."""

import re

from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from mmyolo.registry import WEIGHT_INITIALIZERS
from torch import Tensor

from kdeov_mm.utils.checkpoint import check_checkpoint, check_finite, state_dict
from kdeov_mm.utils.errors import InputError

PARTS = ('backbone', 'neck')
# Layers of Ultralytics' models, by number, and what MMYOLO calls them. Layers without weights, and the head, are left
# out.
ULTRALYTICS_BACKBONE = {
    0: 'backbone.stem',
    **{1 + 2 * stage: f'backbone.stage{stage + 1}.0' for stage in range(4)},
    **{2 + 2 * stage: f'backbone.stage{stage + 1}.1' for stage in range(4)},
    9: 'backbone.stage4.2',
}
ULTRALYTICS_YOLOV8 = {
    **ULTRALYTICS_BACKBONE,
    12: 'neck.top_down_layers.0',
    15: 'neck.top_down_layers.1',
    16: 'neck.downsample_layers.0',
    18: 'neck.bottom_up_layers.0',
    19: 'neck.downsample_layers.1',
    21: 'neck.bottom_up_layers.1',
}
ULTRALYTICS_YOLOV5 = {
    **ULTRALYTICS_BACKBONE,
    10: 'neck.reduce_layers.2',
    13: 'neck.top_down_layers.0.0',
    14: 'neck.top_down_layers.0.1',
    17: 'neck.top_down_layers.1',
    18: 'neck.downsample_layers.0',
    20: 'neck.bottom_up_layers.0',
    21: 'neck.downsample_layers.1',
    23: 'neck.bottom_up_layers.1',
}
# Convolutions of a block: with two (C2f), with three (C3), and of the pooling (SPPF) in layer 9
TWO_CONVOLUTIONS = dict(cv1='main_conv', cv2='final_conv')
THREE_CONVOLUTIONS = dict(cv1='main_conv', cv2='short_conv', cv3='final_conv')
POOLING = dict(cv1='conv1', cv2='conv2')


@WEIGHT_INITIALIZERS.register_module()
class YOLOWeights:
    """Takes backbone and neck of a student from a trained YOLO: ``init_cfg=dict(type='YOLOWeights', checkpoint=FILE)``.

    The file is a checkpoint of MMYOLO, or a state dict with the names of Ultralytics' YOLOv8 or YOLOv5, as ``.pth`` or
    ``.safetensors``. All of backbone and neck must be in it, in the same sizes. The other parts of the model are
    initialised as without it.

    Args:
        checkpoint: File or URL.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: BaseModule) -> None:
        """Load the weights.

        Raises:
            InputError: If the file cannot be read, lacks a tensor of backbone or neck, or has one of another shape, or
                with NaN or infinity.
        """
        weights = state_dict(check_checkpoint(self.checkpoint))
        source = 'MMYOLO'
        if not any(name.startswith('backbone.') for name in weights):
            weights, source = rename_ultralytics(weights), 'Ultralytics'
        numbers = 0
        for part in PARTS:
            own = getattr(module, part).state_dict()
            found = {name: weights.get(f'{part}.{name}') for name in own}
            for name, value in found.items():
                if name.endswith('num_batches_tracked'):
                    continue
                if value is None or value.shape != own[name].shape:
                    has = 'is not in it' if value is None else f'is {tuple(value.shape)} in it'
                    raise InputError(
                        f'init_cfg.checkpoint: {self.checkpoint} does not fit the {part}: {name} {has}, and '
                        f'{tuple(own[name].shape)} in this config; give weights of a YOLO of the same kind and size'
                    )
            taken = {name: value.to(own[name].dtype) for name, value in found.items() if value is not None}
            check_finite(taken, self.checkpoint)
            getattr(module, part).load_state_dict(taken, strict=False)
            getattr(module, part).is_init = True  # MMEngine leaves it as it is now
            numbers += sum(value.numel() for value in taken.values())
        text = f'{" and ".join(PARTS)} from {self.checkpoint}, with the names of {source}'
        print_log(f'Initialised {text}: {numbers:,} numbers', logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'YOLOWeights: {text}')


def rename_ultralytics(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of backbone and neck in a state dict of Ultralytics' YOLOv8 or YOLOv5 with MMYOLO's names.

    Args:
        weights: Tensors by names such as ``model.2.cv1.conv.weight``.
    """
    layers = {}
    for name, value in weights.items():
        if match := re.fullmatch(r'(?:model\.)*(\d+)\.(.+)', name):
            layers[int(match[1]), match[2]] = value
    three = any(inner.startswith('cv3.') for number, inner in layers if number == 2)
    parts = ULTRALYTICS_YOLOV5 if three else ULTRALYTICS_YOLOV8
    block = THREE_CONVOLUTIONS if three else TWO_CONVOLUTIONS
    renamed = {}
    for (number, inner), value in layers.items():
        if number in parts:
            outer = POOLING if number == 9 else block
            inner = re.sub(r'^m\.(\d+)\.cv(\d)\.', r'blocks.\1.conv\2.', inner)
            inner = re.sub(r'^cv\d(?=\.)', lambda match: outer[match[0]], inner)
            renamed[f'{parts[number]}.{inner}'] = value
    return renamed
