"""Loading of OpenCLIP models, by name and tag or from a local file."""

import difflib
import hashlib
import pickle
from functools import lru_cache
from pathlib import Path

import open_clip
from torch import nn

from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.files import sha256
from kdeov_mm.utils.safe_load import find_not_finite, safe_load_patched

open_clip.add_model_config(Path(__file__).parent / 'model_configs')
WEIGHTS = Path(__file__).parent / 'weights'  # shipped as {model name}-{tag}.safetensors


def shipped_tags(model_name: str) -> list[str]:
    """Return the tags of the weights that this package ships for a model."""
    return sorted(path.stem[len(model_name) + 1 :] for path in WEIGHTS.glob(f'{model_name}-*.safetensors'))


def find_weights(model_name: str, pretrained: str | None) -> str | None:
    """Return the shipped file of one of this package's tags; return anything else unchanged."""
    if pretrained in shipped_tags(model_name):
        return str(WEIGHTS / f'{model_name}-{pretrained}.safetensors')
    return pretrained


def check_source(model_name: str, pretrained: str | None) -> None:
    """Check that OpenCLIP can make the model, before anything is loaded or downloaded.

    Args:
        model_name: A name from ``open_clip.list_models()``, or ``hf-hub:...`` / ``local-dir:...``.
        pretrained: A tag that OpenCLIP knows for this model, a local file, or None for random weights.

    Raises:
        ValueError: If the model name or tag is unknown, or the tag's weights were trained with QuickGELU and the model
            has none.
        FileNotFoundError: If ``pretrained`` looks like a file that does not exist.
    """
    if model_name.startswith(('hf-hub:', 'local-dir:')):
        return
    if model_name not in open_clip.list_models():
        close = difflib.get_close_matches(model_name, open_clip.list_models(), n=3)
        raise ValueError(
            f'model_name: OpenCLIP knows no model {model_name!r}'
            + (f'; did you mean {" or ".join(close)}?' if close else '; see open_clip.list_models()')
        )
    if pretrained is None or Path(pretrained).is_file():
        return
    if '/' in pretrained or Path(pretrained).suffix:
        raise FileNotFoundError(
            f'pretrained: no file {pretrained!r} (weights of {model_name}); '
            'give an existing .pt or .safetensors file, or an OpenCLIP tag'
        )
    tags = open_clip.list_pretrained_tags_by_model(model_name) + shipped_tags(model_name)
    if pretrained not in tags:
        raise ValueError(
            f'pretrained: {model_name} has no tag {pretrained!r}; '
            f'known are {", ".join(tags) or "none"}, or give a local file'
        )
    # OpenCLIP only warns, and computes other embeddings than these weights were trained to.
    quick = open_clip.get_pretrained_cfg(model_name, pretrained).get('quick_gelu', False)
    if quick and not open_clip.get_model_config(model_name).get('quick_gelu', False):
        raise ValueError(
            f'pretrained: the weights {pretrained!r} were trained with QuickGELU, which {model_name} does '
            f'not have; set model_name={model_name + "-quickgelu"!r}'
        )


@lru_cache(maxsize=4)  # enough for an ensemble
def load_open_clip(model_name: str, pretrained: str | None) -> nn.Module:
    """Load a frozen OpenCLIP model in inference mode; image teacher and text encoder share one copy.

    Raises:
        ValueError, FileNotFoundError: See :func:`create_open_clip`.
    """
    return create_open_clip(model_name, pretrained).eval().requires_grad_(False)


def create_open_clip(model_name: str, pretrained: str | None) -> nn.Module:
    """Create an OpenCLIP model with its weights, which are read as data: no file, local or downloaded, can run code.

    Raises:
        ValueError: If the model or tag is unknown, or the weights belong to another model, are not finite, or contain
            code.
        FileNotFoundError: If ``pretrained`` is a path without a file.
    """
    check_source(model_name, pretrained)
    pretrained = find_weights(model_name, pretrained)
    source = model_name if ':' in model_name else pretrained  # hf-hub:..., local-dir:...
    local = model_name.startswith('local-dir:') or pretrained is not None and Path(pretrained).is_file()
    try:
        with safe_load_patched():
            model = open_clip.create_model(model_name, pretrained=pretrained)
    except Exception as error:  # OpenCLIP raises many types for one cause: the weights do not fit
        if local or isinstance(error, pickle.UnpicklingError):
            fix = (
                'give weights of this model, best as .safetensors' if local else 'run "pip install -U open_clip_torch"'
            )
            raise ValueError(
                f'pretrained: {source!r} does not hold weights of {model_name} as tensors alone: '
                f'{one_line(error)[:500]}; {fix}'
            ) from error
        raise
    name = find_not_finite(model.state_dict())
    if name is not None:
        raise ValueError(
            f'pretrained: {name} of {model_name} has NaN or infinity in {source!r}; '
            'expected finite numbers; give other weights'
        )
    return model


def weights_id(model_name: str, pretrained: str | None) -> str:
    """Return a fingerprint of a model's weights: the SHA-256 of a local file or of a folder's files, else the tag."""
    schema, _, folder = model_name.partition(':')
    if schema == 'local-dir':
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
        return f'{model_name}:{hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()[:16]}'
    pretrained = find_weights(model_name, pretrained)
    if pretrained is not None and Path(pretrained).is_file():
        return f'{model_name}:{sha256(pretrained)[:16]}'
    return f'{model_name}:{pretrained}'
