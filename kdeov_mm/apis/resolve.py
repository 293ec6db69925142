"""Which files a user means by a model."""

import os
from pathlib import Path
from typing import Any, Optional, Tuple, Union

from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.model_index import find_model, read_index

SUFFIXES = ('.py', '.onnx', '.pth', '.safetensors')


def is_path(model: Union[str, Path]) -> bool:
    """Whether a user names a file or folder: with a separator, as a ``pathlib.Path``, or by the suffix of a file.

    Any other word is a name of the model index. A folder of that name in the current directory, such as one that an
    archive brought along, is never meant: its config would run.
    """
    if isinstance(model, Path):
        return True
    return not {os.sep, os.altsep}.isdisjoint(model) or model.endswith(SUFFIXES)


def is_exported(model: Any) -> bool:
    """Whether a model is given by ONNX files or a folder of them."""
    if not isinstance(model, (str, Path)):
        return True
    if not is_path(model):
        return False
    return Path(model).suffix == '.onnx' or Path(model).is_dir() and any(Path(model).glob('*.onnx'))


def resolve_model(model: Union[str, Path], checkpoint: Optional[str] = None) -> Tuple[str, str]:
    """The config and the checkpoint that a user means.

    Args:
        model: A name of the model index; or the path of a config file, or of a work dir, which has config and
            checkpoint, see :func:`is_path`.
        checkpoint: A file or work dir; None: the weights that are shipped for the name, else those that were trained
            in ``work_dirs/`` here; or the work dir's own.

    Returns:
        tuple: Paths of a config file, and of a checkpoint or work dir.

    Raises:
        InputError: There is no such model, or no checkpoint.
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


def resolve_path(model: str, checkpoint: Optional[str]) -> Tuple[str, str]:
    """See :func:`resolve_model`, for the path of a config file or work dir."""
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
    raise InputError(
        f'model: no folder {model!r}; give a name, a config (.py) with a checkpoint, a work dir, or an ONNX file'
    )
