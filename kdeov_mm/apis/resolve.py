"""Names and paths of models, resolved to files."""

import os
from pathlib import Path
from typing import Any

from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.model_index import find_model, read_index

SUFFIXES = ('.py', '.onnx', '.pth', '.safetensors')


def is_path(model: str | Path) -> bool:
    """Return whether the user gave a path, not a name.

    A path is a ``pathlib.Path``, has a separator, or has the suffix of a file and is no folder. Any other word is a
    name of the model index. It never means a folder in the current directory, such as one from an unpacked archive,
    whose config would run.
    """
    if isinstance(model, Path) or not {os.sep, os.altsep}.isdisjoint(model):
        return True
    return model.endswith(SUFFIXES) and not os.path.isdir(model)


def is_exported(model: Any) -> bool:
    """Return whether a model is given by ONNX files or a folder of them."""
    if not isinstance(model, (str, Path)):
        return True
    if not is_path(model):
        return False
    return Path(model).suffix == '.onnx' or Path(model).is_dir() and any(Path(model).glob('*.onnx'))


def resolve_model(model: str | Path, checkpoint: str | None = None) -> tuple[str, str]:
    """Find the config and the checkpoint of a model.

    Args:
        model: A name of the model index, or the path of a config file or work dir; see :func:`is_path`.
        checkpoint: A file or work dir. None: the work dir's checkpoint; for a name the shipped weights, or else the
            checkpoint in ``./work_dirs/<config name>``.

    Returns:
        tuple: The paths of a config file and of a checkpoint or work dir.

    Raises:
        InputError: If there is no such model, or no checkpoint.
    """
    if is_path(model):
        return resolve_path(str(model), checkpoint)
    if model not in read_index() and Path(model).exists():
        raise InputError(
            f'model: {model!r} is not in the model index; a path needs a separator: give {os.path.join(".", model)!r} '
            'if you mean the file or folder of this name and trust the config in it'
        )
    entry = find_model(str(model))
    if checkpoint:
        return entry.config, checkpoint
    if entry.weights and Path(entry.weights).is_file():
        return entry.config, entry.weights
    work_dir = Path('work_dirs', Path(entry.config).stem)
    if work_dir.is_dir():
        return entry.config, str(work_dir)
    source = f'download {entry.weights} and give it as checkpoint' if entry.weights else 'give a checkpoint'
    raise InputError(f'model {model!r}: its weights are not here; {source}, or train it with "kdeov train {model}"')


def resolve_path(model: str, checkpoint: str | None) -> tuple[str, str]:
    """Resolve the path of a config or work dir; see :func:`resolve_model`."""
    path = Path(model)
    if path.is_dir():
        configs = sorted(path.glob('*.py'))
        if len(configs) != 1:
            raise InputError(
                f'model {model!r}: a work dir has one config (.py), this folder has {len(configs)}; give '
                'config and checkpoint'
            )
        return str(configs[0]), checkpoint or model
    if path.suffix == '.py':
        if not checkpoint:
            raise InputError(
                f'checkpoint: none is given for the config {model}; give a file, or the work dir of its training'
            )
        return model, checkpoint
    if path.is_file():
        raise InputError(
            f'model: {model!r} is not a config (.py) or a work dir; to use weights, give a model name and '
            f'--checkpoint {model}'
        )
    raise InputError(
        f'model: no file or folder {model!r}; give a name, a config (.py) with a checkpoint, a work dir or an ONNX file'
    )
