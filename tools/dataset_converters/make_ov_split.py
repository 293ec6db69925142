"""Write annotation files of the base classes, of the novel ones and of both: of OV-COCO (48 base, 17 novel) from
COCO's own, or of OV-LVIS (866 frequent and common ones as base, 337 rare as novel) from LVIS's.

    python tools/dataset_converters/make_ov_split.py data/coco/annotations/instances_val2017.json
    python tools/dataset_converters/make_ov_split.py data/coco/annotations/lvis_v1_train.json --vocabulary ov_lvis

writes instances_val2017_base.json, ..._novel.json and ..._all.json beside it, or into --out-dir. Images and
ids stay as they are, images without an annotation left included; each category gets the field "group".
"""

import argparse
import json
import re
from pathlib import Path

from kdeov_mm.datasets.coco_file import INSTANCE_FIELDS, LVIS_FIELDS, load_coco
from kdeov_mm.datasets.splits import VOCABULARIES, class_groups
from kdeov_mm.utils import InputError, interruptible, user_errors
from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json


def split_annotations(content: dict, groups: dict[str, str], kept: set[str]) -> dict:
    """Reduce the annotation file to the classes of the kept groups.

    Args:
        content: a COCO annotation file; not changed.
        groups: the group of each class, see :func:`~kdeov_mm.datasets.splits.class_groups`.
        kept: the groups to keep.
    """
    categories = [
        {**category, 'group': groups[category['name']]}
        for category in content['categories']
        if groups.get(category['name']) in kept
    ]
    ids = {category['id'] for category in categories}
    annotations = [item for item in content['annotations'] if item['category_id'] in ids]
    return {**content, 'categories': categories, 'annotations': annotations}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ann_files', nargs='+', help='instances_*.json of COCO, or lvis_v1_*.json of LVIS')
    parser.add_argument(
        '--vocabulary',
        default='ov_coco',
        help=f'one of {list(VOCABULARIES)}, or a JSON file of {{group: [class names]}}',
    )
    parser.add_argument('--out-dir', help='default: beside the input')
    return parser.parse_args()


@interruptible()
def main() -> None:
    args = parse_args()
    with user_errors():
        vocabulary = args.vocabulary
        if vocabulary.endswith('.json'):
            vocabulary = read_json(vocabulary, max_bytes=MAX_METADATA_BYTES, what='--vocabulary')
        for path in map(Path, args.ann_files):
            split_file(path, vocabulary, Path(args.out_dir) if args.out_dir else path.parent)


def split_file(path: Path, vocabulary: str | dict, folder: Path) -> None:
    """Write the annotation files of each group and of all, and print what is in them."""
    content = load_coco(str(path), LVIS_FIELDS if vocabulary == 'ov_lvis' else INSTANCE_FIELDS)
    groups = class_groups(vocabulary, content['categories'])
    names = sorted(set(groups.values()))
    unfit = [name for name in names if not re.fullmatch(r'[\w-]+', name)]
    if unfit:  # such as ../x
        raise InputError(
            f'--vocabulary: the group {short_repr(unfit[0])} cannot be part of a file name; '
            'expected letters, digits, _ and -'
        )
    for name, kept in [(name, {name}) for name in names] + [('all', set(names))]:
        split = split_annotations(content, groups, kept)
        out = write_atomically(folder / f'{path.stem}_{name}.json', json.dumps(split))
        images = len({item['image_id'] for item in split['annotations']})
        print(
            f'{out}: {len(split["categories"])} classes, {len(split["annotations"])} annotations '
            f'in {images} of {len(split["images"])} images'
        )


if __name__ == '__main__':
    main()
