"""Evaluate a model on zero-shot classification, retrieval and detection, as its config says."""

import argparse

from kdeov_mm.utils.errors import user_errors
from kdeov_mm.utils.options import (
    add_cfg_options,
    add_launcher,
    check_checkpoint_file,
    check_config_file,
    set_local_rank,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_test_options(parser)
    add_launcher(parser)


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Add config, checkpoint, ``--work-dir``, ``--data-root`` and ``--cfg-options``."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file, or a work dir, whose last complete checkpoint is used; not needed for a model '
        'whose config names its weights, such as configs/baselines/openclip_*',
    )
    parser.add_argument('--work-dir', help='folder of the results; default: work_dirs/<name of the config>')
    parser.add_argument('--data-root', help="folder that replaces the config's data_root everywhere")
    add_cfg_options(parser, 'test_dataloader.0.batch_size=8')


def run(args: argparse.Namespace) -> dict[str, float]:
    """Test, and return the metrics."""
    with user_errors():
        check_config_file(args.config)
        check_checkpoint_file(args.checkpoint)
    set_local_rank(args)
    from kdeov_mm.engine.hooks import FirstStep
    from kdeov_mm.engine.testing import build_test_runner, load_test_config

    with user_errors():
        runner = build_test_runner(load_test_config(args))
        runner.register_hook(first := FirstStep())
    with user_errors(until=first):
        return runner.test()
