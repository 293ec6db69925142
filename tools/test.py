"""Test a model: zero-shot classification, retrieval and detection, as its config says."""
import argparse

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
from kdeov_mm.utils import (FirstStep, check_weights, load_config, parse_launched, prepare_data, resolve_checkpoint,
                            set_launcher, user_errors)
from mmengine.config import DictAction
from mmengine.runner import Runner
from mmyolo.registry import RUNNERS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a work dir, whose last complete one is taken')
    parser.add_argument('--work-dir', help='folder of the results; default: work_dirs/<name of the config>')
    parser.add_argument(
        '--data-root', help="folder that takes the place of the config's data_root everywhere in it")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='FIELD=VALUE',
        help='replace fields of the config, such as test_dataloader.0.batch_size=8')
    return parse_launched(parser)


def main() -> None:
    args = parse_args()
    with user_errors():
        cfg = load_config(args.config, args.cfg_options, args.data_root, args.work_dir)
        set_launcher(cfg, args.launcher)
        cfg.resume = False
        cfg.load_from = resolve_checkpoint(args.checkpoint)
        prepare_data(cfg, 'test')
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        check_weights(runner.model, cfg.load_from)
        _ = runner.test_loop  # builds the data sets: they too complain before testing
        runner.register_hook(first := FirstStep())
    with user_errors(until=first):
        runner.test()


if __name__ == '__main__':
    main()
