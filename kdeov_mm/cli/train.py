"""Train a model from a config."""

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Optional

from kdeov_mm.utils.errors import interruptible, user_errors
from kdeov_mm.utils.options import (
    add_cfg_options,
    add_launcher,
    check_checkpoint_file,
    check_config_file,
    set_local_rank,
)

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: work_dirs/<name of the config>')
    parser.add_argument('--data-root', help="folder that replaces the config's data_root everywhere")
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint; without a value, from the newest complete one in the work dir',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', 'bf16', 'fp16'),
        help='train with automatic mixed precision; by default in fp16 on a GPU, in bf16 on the CPU',
    )
    add_cfg_options(parser, 'train_dataloader.batch_size=8 or key="[a,b]"')
    add_launcher(parser)


def run(args: argparse.Namespace) -> dict[str, str]:
    """Train, and return the work dir."""
    with user_errors():
        check_config_file(args.config)
        check_checkpoint_file(None if args.resume == 'auto' else args.resume)
    set_local_rank(args)
    from kdeov_mm.engine.hooks import FirstStep
    from kdeov_mm.utils import enable_amp, load_config, lock_run, saved_so_far, set_launcher

    with user_errors():
        cfg = load_config(args.config, args.cfg_options, args.data_root, args.work_dir)
        set_launcher(cfg, args.launcher)
        if args.amp:
            enable_amp(cfg, args.amp)
    with interruptible(lambda: saved_so_far(cfg.work_dir)), ExitStack() as stack:
        with user_errors():
            stack.enter_context(lock_run(cfg.work_dir, 'work dir'))  # before the runner writes anything there
            runner = build_runner(cfg, args.resume)
        if runner is not None:
            runner.register_hook(first := FirstStep())
            with user_errors(until=first):
                runner.train()
    return dict(work_dir=cfg.work_dir)


def build_runner(cfg: 'Config', resume: str | None) -> Optional['Runner']:
    """Build the runner and its data sets.

    Args:
        cfg: The config.
        resume: Checkpoint to resume from, ``auto`` for that of the work dir, None to start.

    Returns:
        Runner: None if the checkpoint is the end of this training.

    Raises:
        InputError: If the checkpoint or the data cannot be used.
    """
    from kdeov_mm.datasets import prepare_data
    from kdeov_mm.utils import check_checkpoint, check_groups, check_weights, find_resume, is_finished
    from mmengine.runner import Runner
    from mmyolo.registry import RUNNERS

    if cfg.get('resume') and cfg.get('load_from') and not resume:
        resume = cfg.load_from  # as with --resume: checked before it is read
    path = find_resume(cfg.work_dir) if resume == 'auto' else resume
    groups = None
    if path:
        checkpoint = check_checkpoint(path, resume=True)
        if is_finished(cfg, checkpoint):
            print(f'{path} is the end of this training: nothing to do')
            return None
        cfg.load_from = path
        cfg.resume = True
        groups = checkpoint['optimizer'].get('param_groups')
        del checkpoint
    prepare_data(cfg, 'train', 'val')
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if cfg.get('load_from') and not cfg.get('resume'):
        check_weights(runner.model, cfg.load_from, partial=True)
    if path and groups is not None and isinstance(runner, Runner):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        check_groups(groups, runner.optim_wrapper.param_groups, path)
    _ = runner.train_loop, runner.val_loop  # builds the data sets, so their errors come before training
    return runner
