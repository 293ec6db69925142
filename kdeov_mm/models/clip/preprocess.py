"""OpenCLIP's image preprocessing, on tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, center_crop_or_pad, merge_preprocess_dict
from torch import Tensor, nn

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.records import are_numbers

CHOICES = dict(interpolation=('bicubic', 'bilinear'), resize_mode=('shortest', 'longest', 'squash'))
FREE = ('mean', 'std', 'fill_color')


def find_preprocess(model_name: str, pretrained: str | None = None, changes: Mapping | None = None) -> PreprocessCfg:
    """Return the preprocessing that belongs to an OpenCLIP model's weights, without loading them.

    A tag has its own preprocessing. A local file does not say how its model was trained: like OpenCLIP, this function
    then returns OpenAI's preprocessing, which ``changes`` can correct.

    Args:
        model_name, pretrained: See :func:`~kdeov_mm.models.clip.loading.check_source`.
        changes: Any of ``mean``, ``std``, ``interpolation`` (bicubic, bilinear), ``resize_mode`` (shortest, longest,
            squash) and ``fill_color`` (0 to 255). The size is the model's.

    Raises:
        ValueError: If ``changes`` has another field, or a value that is not allowed.
    """
    schema, _, place = model_name.partition(':')
    if schema == 'hf-hub':
        place = open_clip.factory.download_pretrained_from_hf(place, filename='open_clip_config.json')
        model, own = read_config(Path(place))
    elif schema == 'local-dir':
        model, own = read_config(Path(place, 'open_clip_config.json'))
    else:
        model, own = open_clip.get_model_config(model_name), open_clip.get_pretrained_cfg(model_name, pretrained or '')
    return make_preprocess(model, own, changes)


def make_preprocess(model_cfg: Mapping, own: Mapping, changes: Mapping | None = None) -> PreprocessCfg:
    """Combine OpenCLIP's ``model_cfg``, the preprocessing ``own`` of its weights, and ``changes``.

    For ``changes`` and errors see :func:`find_preprocess`.
    """
    check_changes(changes or {})
    size = model_cfg['vision_cfg'].get('image_size', 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    merged = merge_preprocess_dict(merge_preprocess_dict(PreprocessCfg(), own), dict(changes or {}))
    return PreprocessCfg(**{**merged, 'size': size})


def check_changes(changes: Mapping) -> None:
    """Raise ValueError unless all fields and values are those of :func:`find_preprocess`."""
    unknown = sorted(set(changes) - set(CHOICES) - set(FREE))
    if unknown:
        raise ValueError(f'preprocess: unknown {", ".join(unknown)}; give any of {", ".join((*FREE, *CHOICES))}')
    for name, choices in CHOICES.items():
        if name in changes and changes[name] not in choices:
            raise ValueError(f'preprocess.{name}: must be one of {", ".join(choices)}, got {short_repr(changes[name])}')
    for name in ('mean', 'std'):
        if name in changes and not is_colour(changes[name]):
            raise ValueError(f'preprocess.{name}: must be three numbers, got {short_repr(changes[name])}')
    if 'std' in changes and not all(value > 0 for value in changes['std']):
        raise ValueError(f'preprocess.std: must be three positive numbers, got {short_repr(changes["std"])}')
    fill = changes.get('fill_color', 0)
    if not are_numbers([fill]) or not 0 <= fill <= 255:
        raise ValueError(f'preprocess.fill_color: must be a number from 0 to 255, got {short_repr(fill)}')


def is_colour(value: Any) -> bool:
    """Return whether a value is three finite numbers."""
    return isinstance(value, (list, tuple)) and len(value) == 3 and are_numbers(list(value))


def read_config(path: Path) -> tuple[dict, dict]:
    """Read architecture and preprocessing from a model folder's ``open_clip_config.json``."""
    config = read_json(path, max_bytes=MAX_METADATA_BYTES, what='model config')
    model, own = config.get('model_cfg'), config.get('preprocess_cfg') or {}
    vision = model.get('vision_cfg') if isinstance(model, dict) else None
    size = vision.get('image_size', 224) if isinstance(vision, dict) else None
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(type(side) is int and 0 < side <= MAX_SIDE for side in sides):
        raise InputError(
            f'model config "{path}": model_cfg.vision_cfg.image_size must be one or two numbers from 1 to {MAX_SIDE}, '
            f'got {short_repr(size)}'
        )
    if not isinstance(own, dict) or own.get('mode') not in (None, 'RGB'):
        raise InputError(f'model config "{path}": preprocess_cfg must be an object of mode RGB, got {short_repr(own)}')
    try:
        check_changes({key: value for key, value in own.items() if key in (*CHOICES, *FREE) and value is not None})
    except ValueError as error:
        raise InputError(f'model config "{path}": {error}') from error
    return model, own


MAX_SIDE = 4096  # pixels of a teacher's input


class Preprocess(nn.Module):
    """Resizes, crops or pads, and normalises images as ``open_clip.image_transform_v2`` does in evaluation.

    On 8-bit images, PIL rounds and clips after each axis, and this module does not. The difference is at most 1.5 of
    255 levels. It is larger in up to 1% of the pixels, where a bicubic filter overshoots at edges of black or white.

    Args:
        cfg: The preprocessing.
    """

    def __init__(self, cfg: PreprocessCfg) -> None:
        super().__init__()
        self.size = (cfg.size, cfg.size) if isinstance(cfg.size, int) else tuple(cfg.size)
        self.resize_mode, self.interpolation, self.fill = cfg.resize_mode, cfg.interpolation, cfg.fill_color / 255
        if self.resize_mode == 'shortest' and self.size[0] != self.size[1]:
            self.interpolation = 'bicubic'  # open_clip ignores another interpolation here
        self.register_buffer('mean', torch.tensor(cfg.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(cfg.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocess RGB images in [0, 1], ``[B, 3, H, W]``."""
        return self.normalize(self.fit(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation."""
        return (images - self.mean) / self.std

    def fit(self, images: Tensor) -> Tensor:
        """Bring RGB images in [0, 1], ``[B, 3, H, W]``, to the model's size; in [0, 1]."""
        size = self.resized(*images.shape[-2:])
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode=self.interpolation, antialias=True).clamp(0, 1)
        return images if size == self.size else center_crop_or_pad(images, self.size, fill=self.fill)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of an image after resizing, before cropping or padding."""
        if self.resize_mode == 'squash':
            return self.size
        if self.resize_mode == 'shortest' and self.size[0] == self.size[1]:
            # As torchvision's Resize, which rounds down.
            short, long = self.size[0], int(self.size[0] * max(height, width) / min(height, width))
            return (short, long) if height <= width else (long, short)
        ratios = height / self.size[0], width / self.size[1]
        ratio = max(ratios) if self.resize_mode == 'longest' else min(ratios)
        return round(height / ratio), round(width / ratio)
