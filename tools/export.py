"""Write a trained model as ONNX files for kdeov_mm.deploy.Runtime (docs/deploy.md).

    python tools/export.py configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n --vocabulary names.txt
    python tools/export.py CONFIG CHECKPOINT --vocabulary names.txt --check photos/ --int8 calibration_photos/
    python tools/export.py CONFIG CHECKPOINT --kinds image_encoder text_encoder
"""
import argparse
import sys
from pathlib import Path
from typing import List

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
from kdeov_mm.apis import build_vocabulary, find_images, load_model
from kdeov_mm.deploy.export import (describe, export_detector, export_image_encoder, export_open_detector,
                                    export_text_encoder, templates_of, text_encoder_of)
from kdeov_mm.deploy.runtime import KINDS
from kdeov_mm.models.clip import read_names
from kdeov_mm.models.clip.prompts import resolve_templates
from kdeov_mm.utils import InputError, check_checkpoint, load_config, resolve_checkpoint, user_errors
from mmengine.config import DictAction


def parse_args(args: List[str] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a work dir, whose last complete one is taken')
    parser.add_argument('--vocabulary', metavar='FILE', help='names to fold into the detector: one a line, or .json')
    parser.add_argument('--templates', help="none, single, openai_imagenet_80, vild or a file; default: the config's")
    parser.add_argument('--embeddings', metavar='FILE', help='.npy or .safetensors with one row for each name')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, metavar='KIND',
                        help=f'what to write, of {", ".join(KINDS)}; default: all that the model and options allow')
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help="side of the input; default: the config's")
    parser.add_argument('--out-dir', default='work_dirs/export', help='folder of the files')
    parser.add_argument('--check', nargs='+', metavar='IMAGES', help='images to compare ONNX Runtime with PyTorch on')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='FIELD=VALUE', help='replace fields of the config')
    return parser.parse_args(args)


def choose_kinds(args: argparse.Namespace, cfg) -> List[str]:
    """What to write.

    Raises:
        InputError: What is asked for needs something that is missing.
    """
    possible = dict(
        image_encoder=None, detector=None if args.vocabulary else 'give --vocabulary',
        open_detector=None, text_encoder=None if text_encoder_of(cfg) else 'the config has no VocabularyHook')
    if not cfg.model.get('bbox_head'):
        possible.update(dict.fromkeys(('detector', 'open_detector'), 'the model has no bbox_head'))
    if args.vocabulary and possible['detector']:
        raise InputError(f'--vocabulary {args.vocabulary}: {possible["detector"]}')
    for kind in args.kinds or ():
        if possible[kind]:
            raise InputError(f'--kinds {kind}: {possible[kind]}')
    return args.kinds or [kind for kind in KINDS if not possible[kind]]


def main(args: List[str] = None) -> None:
    args = parse_args(args)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        kinds = choose_kinds(args, cfg)
        names = read_names(args.vocabulary) if args.vocabulary else None
        images = find_images(args.check) if args.check else []
        checkpoint = resolve_checkpoint(args.checkpoint)
        check_checkpoint(checkpoint)
        metadata = describe(cfg, checkpoint, args.image_size)
        bank = build_vocabulary(cfg, names, args.templates, args.embeddings) if names else None
        model = load_model(cfg, checkpoint, bank)
        out_dir = Path(args.out_dir)
        for kind in kinds:
            path = out_dir / f'{kind}.onnx'
            print(f'writing {path}', file=sys.stderr)
            if kind == 'text_encoder':
                templates = resolve_templates(args.templates) if args.templates else templates_of(cfg)
                export_text_encoder(text_encoder_of(cfg), templates, path, metadata)
            else:
                dict(image_encoder=export_image_encoder, detector=export_detector,
                     open_detector=export_open_detector)[kind](model, path, metadata)
            print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
