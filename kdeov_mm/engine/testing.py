"""Config and runner of the commands that test a model."""

import argparse

from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.registry import RUNNERS

from kdeov_mm.datasets import prepare_data
from kdeov_mm.utils import InputError, check_weights, load_config, resolve_checkpoint, set_launcher, unwrap


def load_test_config(args: argparse.Namespace) -> Config:
    """Load the config that the options describe, and prepare its data.

    Raises:
        InputError: If an option or the data cannot be used.
    """
    cfg = load_config(args.config, args.cfg_options, args.data_root, args.work_dir)
    set_launcher(cfg, args.launcher)
    cfg.resume = False
    cfg.load_from = resolve_checkpoint(args.checkpoint) if args.checkpoint else None
    prepare_data(cfg, 'test')
    return cfg


def build_test_runner(cfg: Config) -> Runner:
    """Build a runner that is ready for ``test()``, with its data sets.

    Args:
        cfg: See :func:`load_test_config`.

    Raises:
        InputError: If the checkpoint belongs to another model, or there is none and the model needs one.
    """
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if cfg.load_from:
        check_weights(runner.model, cfg.load_from)
    elif not getattr(unwrap(runner.model), 'brings_weights', False):
        raise InputError(
            f'checkpoint: {type(unwrap(runner.model)).__name__} of {cfg.filename} has no weights without '
            'one; give a checkpoint file, or a work dir'
        )
    _ = runner.test_loop  # builds the data sets, so their errors come before testing
    return runner
