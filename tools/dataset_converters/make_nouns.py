"""Write the word hierarchy and the noun lexicon of kdeov_mm.text from WordNet 3.0.

WordNet comes from Debian's package wordnet-base, which needs no installation::

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet
    python tools/dataset_converters/make_nouns.py wordnet/usr/share/wordnet

The hierarchy has the nouns of visible things: they descend from WordNet's "physical entity" and are persons, animals,
plants, artifacts, food, natural objects, body parts, substances, signs, documents, money or plane figures. Proper names
and Latin names are left out. Each word keeps at most ``MAX_SENSES`` senses, in this order:

1. senses among the classes of ImageNet-12k, then those of ImageNet-21k (from timm), then others: they have pictures;
2. WordNet's own order, most frequent first.

Person senses are dropped where neither order has one first ("monkey" is also a mischievous child), and vice versa.

The lexicon has, in this order:

1. the class names of COCO with its stuff, ADE20K and Objects365 (from MMDetection) and Caltech-101 (from CLIP
   benchmark);
2. the words of ImageNet-12k that are one token of CLIP's tokenizer and mostly mean a thing, frequent ones first;
3. the classes of ImageNet-1k (from CLIP benchmark).

LVIS is used for neither file, only for their measurement.
"""

import argparse
import ast
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from kdeov_mm.text.hierarchy import DATA, NOUNS, Hierarchy, normalize

MAX_SENSES = 3
# WordNet's lexicographer files, by their number in data.noun
THINGS = {3: 'tops', 5: 'animal', 6: 'artifact', 8: 'body', 13: 'food', 17: 'object', 18: 'person', 20: 'plant'}
WRITINGS = {10: 'communication', 21: 'possession'}  # books, signs, coins
OTHERS = {25: 'shape', 27: 'substance'}
PERSON, SHAPE, SUBSTANCE = 18, 25, 27
# Synsets are named as in NLTK: word.n.number, with WordNet's number of the sense.
PHYSICAL = 'physical_entity.n.01'
VISIBLE_WRITINGS = ('signal.n.01', 'sign.n.02', 'document.n.01', 'award.n.02', 'currency.n.01', 'card.n.03')
# Additional hypernyms: what people call these things.
ADDITIONS = """
calf.n.01: cow.n.01
chick.n.01: bird.n.01
cub.n.03: bear.n.01
duckling.n.02: duck.n.01
fawn.n.02: deer.n.01
foal.n.01: horse.n.01
gosling.n.01: goose.n.01
kid.n.05: goat.n.01
kitten.n.01: cat.n.01
lamb.n.01: sheep.n.01
piglet.n.01: hog.n.03
pony.n.05: horse.n.01
tulip.n.01: flower.n.01
rose.n.01: flower.n.01
lily.n.01: flower.n.01
daffodil.n.01: flower.n.01
violet.n.01: flower.n.01
carnation.n.01: flower.n.01
lavender.n.01: flower.n.01
iris.n.01: flower.n.01
lotus.n.01: flower.n.01
sailing_vessel.n.01: boat.n.01
cupcake.n.01: cake.n.03
shoe.n.01: footwear.n.02
bag.n.04: bag.n.01
bus.n.01: motor_vehicle.n.01
train.n.01: vehicle.n.01
"""
# Words with a rare sense that is no picture's: each keeps the senses given here only.
SENSES = """
bus: bus.n.01
cake: cake.n.03
dolphin: dolphin.n.02
kite: kite.n.03
mannequin: mannequin.n.02
mannikin: mannequin.n.02
pants: trouser.n.01
seal: seal.n.09
"""
# Words of the lexicon's sources that name no thing of their own, or everything.
LEFT_OUT = """
animal, back, background, being, best, body, construction, covering, device, end, equipment, food, good, head, image,
instrument, item, kind, living thing, machine, material, nude, object, organism, part, piece, plant life, product,
structure, thing, top, unit, view, work, world
"""


@dataclass
class Synset:
    name: str
    file: int
    words: list[str]
    parents: list[str]
    is_instance: bool


class WordNet:
    """Reads WordNet's nouns, and how many senses words have as verbs and adjectives.

    Args:
        folder: The folder with ``data.noun``, ``index.noun``, ``index.verb`` and ``index.adj``.
    """

    def __init__(self, folder: Path) -> None:
        lines = list(rows(folder / 'index.noun'))
        self.index = {fields[0]: fields[-int(fields[2]) :] for fields in lines}
        # words that occur in WordNet's tagged texts: the field before the offsets counts their senses there
        self.tagged = {fields[0] for fields in lines if fields[-int(fields[2]) - 1] != '0'}
        self.synsets = {fields[0]: parse_synset(fields) for fields in rows(folder / 'data.noun')}
        for word, offsets in self.index.items():
            for number, offset in enumerate(offsets, start=1):
                synset = self.synsets[offset]
                if synset.words[0].lower() == word:
                    synset.name = f'{word}.n.{number:02}'
        self.other_senses: Counter = Counter()
        for part in ('verb', 'adj'):
            self.other_senses.update({fields[0]: int(fields[2]) for fields in rows(folder / f'index.{part}')})
        self.ancestors = lru_cache(maxsize=None)(self._ancestors)

    def synset(self, name: str) -> str:
        """Return the offset of a synset with a name as NLTK's: ``dog.n.01``."""
        word, _, number = name.rsplit('.', 2)
        return self.index[word.lower()][int(number) - 1]

    def is_thing(self, word: str, visible: set[str]) -> bool:
        """Whether a word is mostly used for a visible thing that is no person.

        The first of its senses is such a thing, and at least half of its senses as noun, verb and adjective are.
        """
        offsets = self.index[word]
        things = [
            offset in visible and self.synsets[offset].file not in (PERSON, SHAPE, SUBSTANCE) for offset in offsets
        ]
        return things[0] and 2 * sum(things) >= len(offsets) + self.other_senses.get(word, 0)

    def _ancestors(self, offset: str) -> frozenset[str]:
        return frozenset({offset}).union(*map(self.ancestors, self.synsets[offset].parents))


def rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.startswith(' '):  # the licence
            yield line.split(' | ')[0].split()


def parse_synset(fields: list[str]) -> Synset:
    count = int(fields[3], 16)
    words = [word.split('(')[0] for word in fields[4 : 4 + 2 * count : 2]]
    pointers = fields[5 + 2 * count :]
    kinds = [(pointers[i], pointers[i + 1]) for i in range(0, 4 * int(fields[4 + 2 * count]), 4)]
    return Synset(
        name='',
        file=int(fields[1]),
        words=words,
        parents=[offset for symbol, offset in kinds if symbol == '@'],
        is_instance=any(symbol == '@i' for symbol, _ in kinds),
    )


def package_file(package: str, *parts: str) -> Path:
    """Return the path of an installed package's file, without importing the package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f'{package} is not installed: run "make install"')
    return Path(spec.origin).parent.joinpath(*parts)


def imagenet_synsets(which: str) -> set[str]:
    """Return the WordNet 3.0 offsets of ImageNet's classes, from timm."""
    return {line[1:] for line in package_file('timm', 'data', '_info', f'{which}_synsets.txt').read_text().split()}


def visible_synsets(wordnet: WordNet, pictured: set[str]) -> set[str]:
    """Return the offsets of the synsets that the hierarchy has."""
    physical = wordnet.synset(PHYSICAL)
    writings = {wordnet.synset(name) for name in VISIBLE_WRITINGS}
    result = set()
    for offset, synset in wordnet.synsets.items():
        ancestors = wordnet.ancestors(offset)
        if synset.is_instance:
            continue
        if physical in ancestors:
            keep = synset.file in THINGS or synset.file in WRITINGS or synset.file in OTHERS
        else:
            keep = (
                synset.file == SHAPE or synset.file in WRITINGS and (offset in pictured or bool(ancestors & writings))
            )
        if keep:
            result.add(offset)
    return result


def is_latin(word: str, nouns: set[str]) -> bool:
    """Whether a word is a scientific name: it has capitals and its last part is no English noun."""
    return word[0].isupper() and word.split('_')[-1].lower() not in nouns


def order_senses(wordnet: WordNet, visible: set[str], pictured: list[set[str]]) -> dict[str, list[str]]:
    """Return the synsets of each word, as ``{word: [offset, ...]}`` with the first one first."""
    nouns = {
        word
        for word, offsets in wordnet.index.items()
        if '_' not in word
        and any(part.islower() and part == word for o in offsets for part in wordnet.synsets[o].words)
    }
    only = parse_table(SENSES)
    senses: dict[str, list[str]] = {}
    for word, offsets in wordnet.index.items():
        spelled = {part for offset in offsets for part in wordnet.synsets[offset].words if part.lower() == word}
        living = all(wordnet.synsets[offset].file in (5, 20) for offset in offsets)
        if living and all(is_latin(part, nouns) for part in spelled):
            continue
        things = [o for o in offsets if o in visible and wordnet.synsets[o].file not in OTHERS]
        others = [o for o in offsets if o in visible and wordnet.synsets[o].file in OTHERS]
        found = (
            others + things if others[:1] == offsets[:1] and wordnet.synsets[offsets[0]].file == 25 else things + others
        )
        found.sort(key=lambda offset: next((i for i, group in enumerate(pictured) if offset in group), len(pictured)))
        if found:
            first = {wordnet.synsets[offset].file == PERSON for offset in (found[0], (things + others)[0])}
            found = [o for o in found if (wordnet.synsets[o].file == PERSON) in first][:MAX_SENSES]
            senses.setdefault(normalize(word), found)
    for word, name in only.items():
        senses[word] = [wordnet.synset(name)]
    return senses


def parse_table(text: str) -> dict[str, str]:
    return dict(line.split(': ') for line in text.strip().splitlines())


def write_hierarchy(wordnet: WordNet, visible: set[str], senses: dict[str, list[str]], path: Path) -> None:
    """Write a line for each synset: the numbers of its parents' lines, a tab, its words with the rank of the sense."""
    additions = {wordnet.synset(name): wordnet.synset(parent) for name, parent in parse_table(ADDITIONS).items()}
    words: dict[str, list[str]] = {offset: [] for offset in visible}
    for word, offsets in senses.items():
        for rank, offset in enumerate(offsets):
            words[offset].append(word if rank == 0 else f'{word}:{rank + 1}')

    def order(offset: str, word: str) -> tuple[int, str]:
        spelled = [normalize(part) for part in wordnet.synsets[offset].words]
        plain = word.split(':')[0]
        return spelled.index(plain) if plain in spelled else len(spelled), word

    @lru_cache(maxsize=None)
    def parents(offset: str) -> tuple[str, ...]:
        """The nearest ancestors that have words."""
        result = [*wordnet.synsets[offset].parents, *([additions[offset]] if offset in additions else [])]
        return tuple(dict.fromkeys(a for p in result for a in ((p,) if words.get(p) else parents(p))))

    @lru_cache(maxsize=None)
    def depth(offset: str) -> int:
        return 1 + max(map(depth, parents(offset)), default=0)

    # Parents come first: a synset with several parents waits for the deepest.
    lines = sorted((offset for offset in visible if words[offset]), key=lambda offset: (depth(offset), offset))
    number = {offset: index for index, offset in enumerate(lines)}
    content = HEADER + ''.join(
        ' '.join(str(number[p]) for p in parents(offset))
        + '\t'
        + ','.join(sorted(words[offset], key=lambda word: order(offset, word)))
        + '\n'
        for offset in lines
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding='utf-8')
    print(f'{path}: {len(lines)} synsets, {len(senses)} words, {path.stat().st_size / 1e6:.2f} MB')


HEADER = """\
# Nouns of visible things and their kinds, from WordNet 3.0. Changed by tools/dataset_converters/make_nouns.py.
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Licence: WORDNET_LICENSE.txt.
# A line is a meaning: the lines of the more general meanings (the first line below is 0), a tab, its words.
# "mouse:2" marks the second meaning of "mouse".
"""


def metainfo(module: str, name: str, key: str) -> Sequence[str]:
    """Return a tuple in the ``METAINFO`` of one of MMDetection's data sets, without importing MMDetection."""
    tree = ast.parse(package_file('mmdet', 'datasets', f'{module}.py').read_text(encoding='utf-8'))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    for node in ast.walk(found):
        if isinstance(node, ast.Dict):
            for field, value in zip(node.keys, node.values):
                if isinstance(field, ast.Constant) and field.value == key:
                    return ast.literal_eval(value)
    raise SystemExit(f'mmdet.datasets.{module}.{name} has no {key}: install the mmdet of requirements/lock.txt')


def class_lists() -> tuple[list[list[str]], list[str]]:
    """Return the names of the classes of general data sets, each with its alternatives, and those of ImageNet-1k."""
    names = [
        *metainfo('coco', 'CocoDataset', 'classes'),
        *metainfo('coco_panoptic', 'CocoPanopticDataset', 'stuff_classes'),
        *metainfo('ade20k', 'ADE20KPanopticDataset', 'classes'),
        *metainfo('objects365', 'Objects365V2Dataset', 'classes'),
    ]
    benchmark = json.loads(package_file('clip_benchmark', 'datasets', 'en_classnames.json').read_text(encoding='utf-8'))
    general = []
    for name in [*names, *benchmark['caltech101']]:
        name = re.sub(r'-(stuff|merged|other).*', '', name.lower())
        general.append([part.strip() for part in re.split(r'[,/]', name)])  # "wardrobe, closet" and "cabinet/shelf"
    return general, [name.lower() for name in benchmark['imagenet1k']]


def token_ranks() -> dict[str, int]:
    """Return the rank of each word that is one token of CLIP's tokenizer, from OpenCLIP; frequent words come first."""
    merges = gzip.decompress(package_file('open_clip', 'bpe_simple_vocab_16e6.txt.gz').read_bytes()).decode()
    words = [''.join(merge.split()) for merge in merges.split('\n')[1 : 49152 - 256 - 2 + 1]]
    return {word[: -len('</w>')]: rank for rank, word in reversed(list(enumerate(words))) if word.endswith('</w>')}


def write_nouns(
    wordnet: WordNet, visible: set[str], senses: dict[str, list[str]], pictured: set[str], path: Path, size: int
) -> None:
    """Write the lexicon's entries, one a line, the most useful first."""
    hierarchy = Hierarchy.read(DATA)
    left_out = {word.strip() for word in LEFT_OUT.replace('\n', ' ').split(',')}
    general, imagenet = class_lists()
    ranks = token_ranks()
    words = [
        word
        for word, offsets in senses.items()
        if word in ranks and len(word) > 2 and offsets[0] in pictured and wordnet.is_thing(word, visible)
    ]
    words = [word for word in words if len(word) > 4 or word in wordnet.tagged]
    words.sort(key=lambda word: ranks[word] * (1 if word in wordnet.tagged else 3))
    entries: dict[int, str] = {}
    for names in (general, [[word] for word in words], [[name] for name in imagenet]):
        before = len(entries)
        for alternatives in names:
            known = [name for name in alternatives if hierarchy.senses(name) and normalize(name) not in left_out]
            if known and len(entries) < size:
                entries.setdefault(hierarchy.senses(known[0])[0], normalize(known[0]))
        print(f'{len(names)} names: {len(entries) - before} entries')
    path.parent.mkdir(exist_ok=True)
    path.write_text(''.join(f'{entry}\n' for entry in entries.values()), encoding='utf-8')
    print(f'{path}: {len(entries)} entries')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('wordnet', type=Path, help="folder with WordNet 3.0's files")
    parser.add_argument('--size', type=int, default=2000, help='max number of entries of the lexicon')
    args = parser.parse_args()
    wordnet = WordNet(args.wordnet)
    groups = [imagenet_synsets('imagenet12k'), imagenet_synsets('imagenet22k')]
    visible = visible_synsets(wordnet, groups[1])
    senses = order_senses(wordnet, visible, groups)
    write_hierarchy(wordnet, visible, senses, DATA)
    write_nouns(wordnet, visible, senses, groups[0], NOUNS, args.size)


if __name__ == '__main__':
    main()
