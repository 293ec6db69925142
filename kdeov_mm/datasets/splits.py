"""Named vocabularies: which classes of a data set are base and which novel."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError

# OV-COCO as in OVR-CNN (Zareian et al., CVPR 2021): 48 base and 17 novel of COCO's 80 classes, 15 unused.
OV_COCO = dict(
    base=(
        'person',
        'bicycle',
        'car',
        'motorcycle',
        'train',
        'truck',
        'boat',
        'bench',
        'bird',
        'horse',
        'sheep',
        'bear',
        'zebra',
        'giraffe',
        'backpack',
        'handbag',
        'suitcase',
        'frisbee',
        'skis',
        'kite',
        'surfboard',
        'bottle',
        'fork',
        'spoon',
        'bowl',
        'banana',
        'apple',
        'sandwich',
        'orange',
        'broccoli',
        'carrot',
        'pizza',
        'donut',
        'chair',
        'bed',
        'toilet',
        'tv',
        'laptop',
        'mouse',
        'remote',
        'microwave',
        'oven',
        'toaster',
        'refrigerator',
        'book',
        'clock',
        'vase',
        'toothbrush',
    ),
    novel=(
        'airplane',
        'bus',
        'cat',
        'dog',
        'cow',
        'elephant',
        'umbrella',
        'tie',
        'snowboard',
        'skateboard',
        'cup',
        'knife',
        'cake',
        'couch',
        'keyboard',
        'sink',
        'scissors',
    ),
)

# OV-LVIS as in ViLD (Gu et al., ICLR 2022): of LVIS v1's 1,203 classes the 866 that are frequent or common in the
# training set are base, the 337 rare ones novel. The annotation file itself says which is which.
OV_LVIS = dict(f='base', c='base', r='novel')


def groups_by_frequency(categories: list[dict]) -> dict[str, list[str]]:
    """Return OV-LVIS's groups of LVIS's category records.

    Raises:
        ValueError: If the ``frequency`` of a category is not ``f``, ``c`` or ``r``.
    """
    groups: dict[str, list[str]] = {group: [] for group in dict.fromkeys(OV_LVIS.values())}
    for category in categories:
        if category.get('frequency') not in tuple(OV_LVIS):
            raise ValueError(
                f'LVIS: frequency of {category["name"]!r} must be one of {", ".join(map(repr, OV_LVIS))}, '
                f'got {category.get("frequency")!r}; is this an annotation file of LVIS v1?'
            )
        groups[OV_LVIS[category['frequency']]].append(category['name'])
    return groups


# Class names of each group, or a function that returns them from the file's category records.
VOCABULARIES: dict[str, Mapping[str, Sequence[str]] | Callable] = dict(ov_coco=OV_COCO, ov_lvis=groups_by_frequency)


def check_known(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise ValueError for unknown names, and suggest similar ones."""
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    messages = []
    for name in unknown[:5]:
        close = difflib.get_close_matches(str(name), known, 3, 0.5)
        messages.append(f'{name!r}' + (f' (did you mean {" or ".join(map(repr, close))}?)' if close else ''))
    more = f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''
    raise ValueError(
        f'{what}: unknown {", ".join(messages)}{more}; there are {len(known)} names, '
        f'such as {", ".join(map(repr, known[:5]))}'
    )


def class_groups(vocabulary: str | Mapping[str, Sequence[str]], categories: list[dict]) -> dict[str, str]:
    """Return the group of each class name in a vocabulary.

    Args:
        vocabulary: A name in :data:`VOCABULARIES`, or the class names of each group.
        categories: All category records of the annotation file.

    Returns:
        ``{name: group}``.

    Raises:
        ValueError: If the vocabulary is unknown, the file does not have a class name, or one is in two groups.
    """
    if isinstance(vocabulary, str):
        check_known([vocabulary], list(VOCABULARIES), 'vocabulary')
        vocabulary = VOCABULARIES[vocabulary]
    if callable(vocabulary):
        vocabulary = vocabulary(categories)
    if not isinstance(vocabulary, Mapping):
        raise InputError(f'vocabulary must be {{group: class names}}, got {short_repr(vocabulary)}')
    known = [category['name'] for category in categories]
    groups: dict[str, str] = {}
    for group, names in vocabulary.items():
        if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(n, str) for n in names):
            raise InputError(f'vocabulary[{group!r}] must be a list of class names, got {short_repr(names)}')
        check_known(names, known, f'vocabulary[{group!r}]')
        for name in names:
            if groups.setdefault(name, group) != group:
                raise ValueError(f'vocabulary: {name!r} is in two groups, {groups[name]!r} and {group!r}')
    return groups
