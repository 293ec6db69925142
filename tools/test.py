"""Test a model: zero-shot classification, retrieval and detection, as its config says."""

import argparse
from typing import Dict

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
from kdeov_mm.engine.hooks import FirstStep
from kdeov_mm.engine.testing import add_test_options, build_test_runner, load_test_config
from kdeov_mm.utils import interruptible, parse_launched, user_errors


@interruptible()
def main() -> Dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__)
    add_test_options(parser)
    args = parse_launched(parser)
    with user_errors():
        runner = build_test_runner(load_test_config(args))
        runner.register_hook(first := FirstStep())
    with user_errors(until=first):
        return runner.test()


if __name__ == '__main__':
    main()
