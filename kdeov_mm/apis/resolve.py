"""Which files a user means by a model."""

from pathlib import Path
from typing import Optional, Tuple

from kdeov_mm.utils import InputError, find_model


def resolve_model(model: str, checkpoint: Optional[str] = None) -> Tuple[str, str]:
    """The config and the checkpoint that a user means.

    Args:
        model: A name of the model index, a config file, or a work dir, which has both.
        checkpoint: A file or work dir; None: the weights that are shipped for the name, else those that were trained
            in ``work_dirs/`` here; or the work dir's own.

    Returns:
        tuple: Paths of a config file, and of a checkpoint or work dir.

    Raises:
        InputError: There is no such model, or no checkpoint.
    """
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
    if len(path.parts) > 1:
        raise InputError(
            f'model: no folder {model!r}; give a name, a config (.py) with a checkpoint, a work dir, or an ONNX file'
        )
    entry = find_model(model)
    if checkpoint:
        return entry.config, checkpoint
    if entry.weights and Path(entry.weights).is_file():
        return entry.config, entry.weights
    work_dir = Path('work_dirs', Path(entry.config).stem)
    if work_dir.is_dir():
        return entry.config, str(work_dir)
    source = f'download {entry.weights} and give it as checkpoint' if entry.weights else 'give a checkpoint'
    raise InputError(f'model {model!r}: its weights are not here; {source}, or train it with "kdeov train {model}"')
