"""Checks of checkpoints, the choice of the one to resume from, and export of weights."""

import os
import re
import warnings
from collections.abc import Container, Iterable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from .errors import InputError
from .files import atomic_path, read_file
from .safe_load import find_not_finite

RESUME_FIELDS = ('meta', 'message_hub', 'optimizer', 'state_dict')


@CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$')
def load_from_safetensors(filename: str, map_location: object = None) -> dict:
    """Read weights of :func:`export_weights`; MMEngine's loader calls it for every ``.safetensors`` file.

    The tensors are on the CPU, whatever ``map_location``; loading copies them to the model's device.
    """
    from safetensors.torch import load_file

    return dict(state_dict=load_file(filename))


def export_weights(
    checkpoint: str, output: str, prefix: str = '', replaced: dict[str, dict[str, torch.Tensor]] | None = None
) -> int:
    """Write the weights of a checkpoint as a safetensors file, without pickle and with half the size.

    Matrices and kernels become float16. Vectors (biases, statistics of normalisation) keep their precision.

    Args:
        checkpoint: A training checkpoint.
        output: Output file.
        prefix: Prefix of the tensors to write, which is removed from their names.
        replaced: Tensors that replace all those of the checkpoint whose names begin with the key.

    Returns:
        int: Number of written parameters and statistics.

    Raises:
        InputError: If the checkpoint is invalid, has no tensor with the prefix, or ``output`` does not end with
            ``.safetensors``.
    """
    if Path(output).suffix != '.safetensors':
        raise InputError(f'output: {output!r} must end with .safetensors')
    weights = {
        name[len(prefix) :]: value
        for name, value in state_dict(check_checkpoint(checkpoint)).items()
        if name.startswith(prefix)
    }
    if not weights:
        raise InputError(f'prefix: no tensor of {checkpoint} begins with {prefix!r}')
    for part, tensors in (replaced or {}).items():
        weights = {name: value for name, value in weights.items() if not name.startswith(part)}
        weights.update({part + name: value for name, value in tensors.items()})
    weights = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in weights.items()
    }
    check_finite(weights, f'{checkpoint}, in float16')
    from safetensors.torch import save_file

    with atomic_path(Path(output)) as partial:
        save_file(weights, partial)
        os.chmod(partial, 0o644)
    return sum(value.numel() for value in weights.values())


def check_checkpoint(path: str, resume: bool = False) -> dict:
    """Load a checkpoint on the CPU.

    Args:
        path: ``.pth`` or ``.safetensors`` file, or a URL that MMEngine's loader supports.
        resume: Whether training resumes from it, which needs more than weights.

    Raises:
        InputError: If the checkpoint is missing, truncated, refused by the weights-only loader, or has no weights; with
            ``resume`` also if a weight is NaN or infinite.
    """
    if '://' not in path and not Path(path).is_file():
        raise InputError(f'checkpoint not found: {path}; give a .pth or .safetensors file, or a work dir with one')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except Exception as error:  # a damaged file can fail anywhere in the loader
        reason = str(error).split('. ')[0] or type(error).__name__
        raise InputError(
            f'{path} is not a complete checkpoint ({reason}); give a .pth file that training wrote'
        ) from error
    weights = state_dict(checkpoint)
    if not weights:
        raise InputError(f'{path} is not a checkpoint: it holds no weights; give a .pth file that training wrote')
    missing = [field for field in RESUME_FIELDS if field not in checkpoint] if resume else []
    if missing:
        raise InputError(
            f'{path} cannot be resumed: it has no {", ".join(missing)}; '
            'start from its weights with --cfg-options load_from=PATH'
        )
    if resume:
        check_finite(weights, path)
    return checkpoint


def check_finite(weights: dict, path: str) -> None:
    """Raise InputError if a weight or statistic is NaN or infinite, as after a training that diverged."""
    name = find_not_finite(weights)
    if name is not None:
        raise InputError(
            f'{path}: {name} holds NaN or infinity; expected finite weights; give an earlier checkpoint, or train again'
        )


def state_dict(checkpoint: object) -> dict:
    """Return the named tensors of a checkpoint; empty if it has none."""
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else {}
    return (
        {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
        if isinstance(weights, dict)
        else {}
    )


def check_weights(model: torch.nn.Module, path: str, partial: bool = False) -> dict:
    """Check that a checkpoint belongs to a model; MMEngine's loader only warns otherwise.

    Args:
        model: Model that gets the weights.
        path: The checkpoint.
        partial: Whether weights for a part of the model are enough, such as a backbone from another training.

    Returns:
        dict: Tensors of the checkpoint by name.

    Raises:
        InputError: If fewer than half of the model's tensors (``partial``: none) are in it with their shapes, or one of
            them has NaN or infinity in the model's precision.
    """
    weights, own = (
        {re.sub(r'^module\.', '', name): value for name, value in tensors.items()}
        for tensors in (state_dict(check_checkpoint(path)), model.state_dict())
    )
    current = {current_name(name, own): value for name, value in weights.items()}
    shared = [name for name in own if name in current]
    fitting = [name for name in shared if own[name].shape == current[name].shape]
    fix = 'give the config that it was trained with'
    if len(fitting) < (1 if partial else len(own) / 2):
        raise InputError(
            f'{path} belongs to another model: it has {len(fitting)} of the {len(own)} tensors of this config; {fix}'
        )
    for name in () if partial else shared:
        if name not in fitting:
            raise InputError(
                f'{path} belongs to another model: {name} is {tuple(current[name].shape)} there and '
                f'{tuple(own[name].shape)} in this config; {fix}'
            )
    check_finite({name: current[name].to(own[name].dtype) for name in fitting}, path)
    return weights


def current_name(name: str, own: Container[str]) -> str:
    """Return a tensor's name in a model of today; ``LogitScaleMixin`` loads the old name of its parameter."""
    return name if name in own else re.sub(r'\blog_scale$', 'logit_scale', name)


def load_weights(model: torch.nn.Module, path: str) -> None:
    """Load the weights of a checkpoint into its model; see :func:`check_weights`."""
    model.load_state_dict(check_weights(model, path), strict=False)


def numbered_checkpoints(work_dir: str, kind: str) -> list[Path]:
    """List ``{kind}_*.pth`` of a work dir, newest first."""
    checkpoints = [
        (int(match[1]), path)
        for path in Path(work_dir).glob('*.pth')
        if (match := re.fullmatch(rf'{kind}_(\d+)\.pth', path.name))
    ]
    return [path for _, path in sorted(checkpoints, reverse=True)]


def first_complete(paths: Iterable[Path]) -> tuple[int, int, str] | None:
    """Return step, epoch and path of the first checkpoint that can be resumed, or None."""
    for path in paths:
        try:
            meta = check_checkpoint(str(path), resume=True)['meta']
            return meta.get('iter', 0), meta.get('epoch', 0), str(path)
        except InputError as error:
            warnings.warn(f'not resumed from: {error}')
    return None


def find_resume(work_dir: str) -> str | None:
    """Return the checkpoint that ``last_checkpoint`` names, else the newest complete one of a work dir, or None.

    Among checkpoints at the same step, the one at the end of its epoch is preferred.
    """
    last, named = Path(work_dir, 'last_checkpoint'), None
    if last.is_file():
        named = Path(last.read_text().strip())
        named = named if named.is_file() else Path(work_dir, named.name)
        if complete := first_complete([named]):
            return complete[-1]
    kinds = [[path for path in numbered_checkpoints(work_dir, kind) if path != named] for kind in ('epoch', 'iter')]
    return max(filter(None, map(first_complete, kinds)), default=(None,))[-1]


def saved_so_far(work_dir: str) -> str:
    """Describe after Ctrl-C what a training has saved and how to resume it, without reading a checkpoint."""
    last = Path(work_dir, 'last_checkpoint')
    try:
        name = read_file(last, 4096, 'file').decode().strip()
    except (OSError, ValueError):
        return f'no checkpoint is saved in {work_dir}; run the same command again'
    return f'the last checkpoint is {name}; run the same command with --resume to continue'


def resolve_checkpoint(path: str) -> str:
    """Return the checkpoint of a file, a ``last_checkpoint`` file or a work dir.

    Raises:
        InputError: If there is no complete checkpoint.
    """
    given = Path(path)
    work_dir = given.parent if given.name == 'last_checkpoint' else given
    if not work_dir.is_dir():
        return path
    checkpoint = find_resume(str(work_dir))
    if checkpoint is None:
        raise InputError(f'no complete checkpoint in {work_dir}; train first with tools/train.py')
    return checkpoint


def is_finished(cfg: Config, checkpoint: dict) -> bool:
    """Return whether a checkpoint is at or past the end of the config's training."""
    meta, train_cfg = checkpoint['meta'], cfg.get('train_cfg') or {}
    return any(
        train_cfg.get(last) is not None and meta.get(now, 0) >= train_cfg[last]
        for now, last in (('epoch', 'max_epochs'), ('iter', 'max_iters'))
    )
