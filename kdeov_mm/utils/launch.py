"""Distributed jobs: joining processes, mixed precision, and one writer for each folder."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, init_dist, is_distributed, is_main_process

from .errors import InputError
from .lock import holds, lock_folder, shared_lock

AMP_WRAPPERS = dict(
    bf16=dict(type='BFloat16OptimWrapper'), fp16=dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
)


def set_launcher(cfg: Config, launcher: str) -> None:
    """Join the processes of a job; without a GPU through gloo, whatever backend the config names.

    MMEngine joins processes on GPUs only. Without a GPU the config gets a model wrapper that does not need one.

    Args:
        cfg: Config, changed in place.
        launcher: ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi``.

    Raises:
        InputError: If there is no GPU and the launcher is not torchrun, there are fewer GPUs than processes
            on this machine, or torchrun has not set its variables.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    gpus, local_rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
    if gpus and local_rank >= gpus:
        raise InputError(
            f'process {local_rank + 1} on this machine has no GPU of its own: there are {gpus}; start as '
            'many processes as GPUs, or set CUDA_VISIBLE_DEVICES= to train on the CPU'
        )
    if not gpus and launcher != 'pytorch':
        raise InputError(
            f'--launcher {launcher} needs GPUs and there is none; on the CPU use tools/dist_train.sh, '
            'which has --launcher pytorch'
        )
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise InputError('--launcher pytorch: this process was not started by torchrun; use tools/dist_train.sh')
    dist_cfg = cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})
    if gpus:
        if not is_distributed():
            init_dist(launcher, **dist_cfg)
        return
    if dist_cfg.get('backend', 'nccl') != 'gloo':
        if local_rank == 0:
            warnings.warn(
                f'env_cfg.dist_cfg.backend={dist_cfg.get("backend", "nccl")!r} needs GPUs and there is none: '
                'using gloo instead'
            )
        dist_cfg['backend'] = 'gloo'
    if not is_distributed():
        torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = dict(
        dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
        **cfg.get('model_wrapper_cfg') or {},
        device_ids=None,
    )


@contextmanager
def lock_run(folder: str | Path, what: str, leftovers: Sequence[str] = ()) -> Iterator[None]:
    """Lock a folder for all processes of a job, if this job has not locked it already.

    Args:
        folder: The folder, or the URI of an object store.
        what: What the folder is, for messages.
        leftovers: Patterns of the unfinished files that a killed writer leaves; they are removed.

    Raises:
        InputError: If another job is writing there; raised in all processes.
        OSError: If the folder cannot be written; raised in all processes.
    """
    with ExitStack() as stack:
        refusal = [None]
        if is_main_process():
            try:
                if not holds(folder):
                    stack.enter_context(lock_folder(folder, what))
                for pattern in leftovers:
                    for path in Path(folder).glob(pattern):
                        path.unlink()
            except (InputError, OSError) as error:
                refusal = [error]
        broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise refusal[0]
        stack.enter_context(shared_lock(folder))
        yield


def enable_amp(cfg: Config, dtype: str = 'auto') -> None:
    """Replace the config's optimizer wrapper for training in mixed precision.

    Args:
        cfg: Config, changed in place.
        dtype: ``bf16``, ``fp16``, or ``auto``: fp16 on a GPU, bf16 on the CPU.

    Raises:
        InputError: If fp16 is requested without a GPU, or the config's wrapper cannot be replaced.
    """
    if dtype == 'auto':
        dtype = 'fp16' if torch.cuda.is_available() else 'bf16'
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise InputError('--amp fp16 needs a GPU and there is none; use --amp bf16, or omit --amp')
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper not in ('OptimWrapper', *(each['type'] for each in AMP_WRAPPERS.values())):
        raise InputError(f'--amp works with optim_wrapper.type OptimWrapper, not {wrapper}; omit --amp')
    for name in ('dtype', 'loss_scale'):
        cfg.optim_wrapper.pop(name, None)
    cfg.optim_wrapper.update(AMP_WRAPPERS[dtype])
