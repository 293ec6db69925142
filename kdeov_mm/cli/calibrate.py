"""Calibrate a detector's scores, and store the calibration with its weights (docs/scores.md).

kdeov calibrate configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n -o calibrated.safetensors
kdeov calibrate kdeov_yolov8n -o calibrated.safetensors --precision 0.9
kdeov calibrate CONFIG CHECKPOINT -o OUT.safetensors --cfg-options val_dataset.ann_file=mine.json

It needs the config's val_dataset, whose images the model was not trained on, and uses its base classes alone.
OUT.json gets the fitted values, and OUT.png the reliability diagrams before and after.
"""

import argparse
import json
from pathlib import Path

from kdeov_mm.utils.errors import InputError, user_errors
from kdeov_mm.utils.options import add_cfg_options, check_checkpoint_file, check_config_file

SUFFIX = '.safetensors'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('config', help='config file; or the name of a shipped model, which includes its checkpoint')
    parser.add_argument(
        'checkpoint',
        help='checkpoint file, or a work dir, whose last complete checkpoint is used; left out after the name of a '
        'shipped model',
    )
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help=f'{SUFFIX} file to write')
    parser.add_argument(
        '--precision',
        type=float,
        default=0.95,
        metavar='P',
        help='precision of the default threshold on base classes, above 0 and at most 1; default: 0.95',
    )
    parser.add_argument('--data-root', help="folder that replaces the config's data_root everywhere")
    add_cfg_options(parser, 'val_dataset.ann_file=mine.json')


def check(args: argparse.Namespace) -> None:
    """Check the options before heavy imports.

    Raises:
        InputError: If an option is out of range, or a file is missing.
    """
    check_config_file(args.config)
    check_checkpoint_file(args.checkpoint)
    if Path(args.output).suffix != SUFFIX:
        raise InputError(f'--output {args.output}: must end with {SUFFIX}')
    if not 0 < args.precision <= 1:
        raise InputError(f'--precision {args.precision}: must be above 0 and at most 1')


def run(args: argparse.Namespace) -> dict:
    """Calibrate, write the files, and return the report."""
    with user_errors():
        check(args)
        return calibrate(args)


def calibrate(args: argparse.Namespace) -> dict:
    """Fit the calibration, write weights, JSON and picture, and print the table."""
    from kdeov_mm.datasets.prepare import check_dataset, prepare_data
    from kdeov_mm.apis.calibrate import build_base_loader, build_raw_model, fit
    from kdeov_mm.evaluation import pictures
    from kdeov_mm.utils import export_weights, load_config, resolve_checkpoint
    from kdeov_mm.utils.files import write_atomically

    cfg = load_config(args.config, args.cfg_options, args.data_root)
    prepare_data(cfg)
    check_dataset('val_dataset', cfg.get('val_dataset') or {})
    checkpoint, loader = resolve_checkpoint(args.checkpoint), build_base_loader(cfg)
    model = build_raw_model(cfg, checkpoint, loader.dataset.metainfo['classes'])
    calibration, report, reliability = fit(model, loader, args.precision)
    output = Path(args.output)
    export_weights(checkpoint, str(output), replaced={'calibration.': calibration.tensors()})
    write_atomically(output.with_suffix('.json'), json.dumps(report, indent=2) + '\n')
    pictures.reliability(reliability, output.with_suffix('.png'))
    print(table(report))
    print(f'{output}, {output.with_suffix(".json").name} and {output.with_suffix(".png").name}')
    return report


def table(report: dict) -> str:
    """Format a report for people."""
    names = [name for name in ('scale', 'bias', 'background', 'threshold') if name in report]
    rows = [f'{"":12}{"before":>8}{"after":>8}']
    rows += [f'{key:12}{value:8.4f}{report["after"][key]:8.4f}' for key, value in report['before'].items()]
    counts = f'{report["images"]} images, {report["base_classes"]} base classes, {report["detections"]} detections'
    return '\n'.join([counts, ', '.join(f'{name} {report[name]:.4f}' for name in names), *rows])
