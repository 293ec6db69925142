"""General names of annotated objects: "animal" for a dog, "red star" and "star" for a "striped red star"."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdeov_mm.text.hierarchy import Hierarchy
from kdeov_mm.utils.errors import InputError

# The attributes of a shapes concept that a name of each level has.
SHAPES_LEVELS = dict(colour_shape=('colour', 'shape'), shape=('shape',))
# Supercategories of COCO that name a place or a purpose and no thing.
NO_THINGS = frozenset(('electronic', 'indoor', 'kitchen', 'outdoor', 'sports'))
# Everyday words among WordNet's hypernyms of at least 15 of LVIS's classes.
HYPERNYMS = (
    'animal',
    'bird',
    'clothing',
    'food',
    'vehicle',
    'furniture',
    'tool',
    'appliance',
    'musical instrument',
    'bag',
)


@dataclass
class GeneralName:
    """Holds a general name and the categories that are a kind of it.

    Attributes:
        level: The level of generality that the name belongs to.
        name: The name.
        members: Ids of the categories that are a kind of it.
        perhaps: Ids of the categories that are a kind of it by a rarer sense only.
    """

    level: str
    name: str
    members: set[int]
    perhaps: set[int]


def generalize(content: dict) -> dict:
    """Return annotations in which every object has general names in place of its class's name.

    An object has the names that its class is a kind of, which may be none. An image of LVIS lacks a general name if it
    lacks all categories that are a kind of it. It is not exhaustively annotated with a general name if it is not with
    one of these categories, or has an object of a class that may be a kind.

    Args:
        content: Annotations in the format of COCO or LVIS.

    Returns:
        dict: The same images. The categories' ``group`` is their level.

    Raises:
        InputError: If there are no general names, see :func:`find_general_names`.
    """
    names = find_general_names(content['categories'])
    general: dict[int, list[int]] = {}
    for index, each in enumerate(names, 1):
        for category_id in each.members:
            general.setdefault(category_id, []).append(index)
    pairs = [
        (annotation, category_id)
        for annotation in content['annotations']
        for category_id in general.get(annotation['category_id'], ())
    ]
    return dict(
        content,
        categories=[  # the lvis package insists on a frequency
            dict(id=index, name=each.name, group=each.level, frequency='f') for index, each in enumerate(names, 1)
        ],
        annotations=[
            dict(annotation, id=index, category_id=category_id)
            for index, (annotation, category_id) in enumerate(pairs, 1)
        ],
        images=generalize_images(content, names),
    )


def generalize_images(content: dict, names: Sequence[GeneralName]) -> list[dict]:
    """Return the images, with what those of LVIS say about absent and not exhaustively annotated general names."""
    present: dict[int, set[int]] = {}
    for annotation in content['annotations']:
        present.setdefault(annotation['image_id'], set()).add(annotation['category_id'])
    images = []
    for image in content['images']:
        if 'neg_category_ids' in image:
            absent, unsure = set(image['neg_category_ids']), set(image.get('not_exhaustive_category_ids', ()))
            here = present.get(image['id'], set())
            image = dict(
                image,
                neg_category_ids=[i for i, each in enumerate(names, 1) if each.members | each.perhaps <= absent],
                not_exhaustive_category_ids=[
                    i for i, each in enumerate(names, 1) if (each.members & unsure) or (each.perhaps & (here | unsure))
                ],
            )
        images.append(image)
    return images


def find_general_names(categories: Sequence[dict]) -> list[GeneralName]:
    """Return general names of at least two categories.

    They come from the ``attributes`` of the shapes dataset; from WordNet for the classes of LVIS, which have a
    ``frequency``; else from COCO's ``supercategory``.

    Raises:
        InputError: If there are none.
    """
    if all(has_attributes(category) for category in categories):
        names = from_attributes(categories)
    elif all('frequency' in category for category in categories):
        names = from_hierarchy(categories)
    else:
        names = from_supercategories(categories)
    names = [each for each in names if len(each.members) > 1]
    if not names:
        raise InputError(
            f'general: no two of the {len(categories)} categories have a general name in common; give them a '
            'supercategory, or leave general=True out'
        )
    return names


def has_attributes(category: dict) -> bool:
    """Return whether a category is a concept of the shapes dataset."""
    attributes = category.get('attributes')
    return isinstance(attributes, dict) and attributes.keys() >= {'colour', 'shape'}


def from_attributes(categories: Sequence[dict]) -> list[GeneralName]:
    """Return names of fewer attributes: "red star" and "star" for "striped red star"."""
    by_name: dict[tuple[str, str], GeneralName] = {}
    for level, attributes in SHAPES_LEVELS.items():
        for category in categories:
            name = ' '.join(category['attributes'][attribute] for attribute in attributes)
            by_name.setdefault((level, name), GeneralName(level, name, set(), set())).members.add(category['id'])
    return list(by_name.values())


def from_supercategories(categories: Sequence[dict]) -> list[GeneralName]:
    """Return the supercategories that name things."""
    by_name: dict[str, GeneralName] = {}
    for category in categories:
        name = category.get('supercategory')
        if name and name not in NO_THINGS:
            by_name.setdefault(name, GeneralName('supercategory', name, set(), set())).members.add(category['id'])
    return list(by_name.values())


def from_hierarchy(categories: Sequence[dict]) -> list[GeneralName]:
    """Return hypernyms from WordNet.

    A class is a kind of a hypernym by the class's most likely sense; of the hypernym, two senses count. Rarer senses
    make it a class that may be a kind: a banana is a plant first and a food second.
    """
    hierarchy = Hierarchy.load()
    strict = Hierarchy(hierarchy.parents, hierarchy.words, entry_senses=1)
    names = [category['name'] for category in categories]
    ids = [category['id'] for category in categories]
    result = []
    for name, sure, possible in zip(HYPERNYMS, strict.hyponyms(HYPERNYMS, names), hierarchy.hyponyms(HYPERNYMS, names)):
        members = {i for i, answer in zip(ids, sure) if answer == 1}
        perhaps = {i for i, answer in zip(ids, possible) if answer == 1} - members
        result.append(GeneralName('hypernym', name, members, perhaps))
    return result
