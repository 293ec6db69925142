"""Which rule says best what is a kind of what: both kinds of error, on LVIS' categories and on a list by hand.

    python tools/analysis_tools/lexicon_errors.py wordnet/usr/share/wordnet data/lvis_v1_categories.json \\
        --embeddings data/lvis_clip_hand_craft.npy --coco data/instances_val2017.json

An entry of the lexicon must not compete with a name that it means or is a kind of. A *missed* pair wrongly competes; a
*wrong* pair is wrongly taken out of the competition. The tables go to stdout. docs/lexicon.md explains them.
``tools/dataset_converters/make_nouns.py`` says where WordNet comes from.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdeov_mm.text.hierarchy import DATA, Hierarchy, normalize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'dataset_converters'))
from make_nouns import WordNet  # noqa: E402

THRESHOLDS = (0.90, 0.925, 0.95, 0.96, 0.97, 0.98)
SUPERCATEGORIES = ('animal', 'food', 'furniture', 'vehicle')  # of COCO: those that are words for things
# Judged by hand before any rule was tried. Each line: a name, entries that mean it or are a kind of it.
KINDS = """
dog: puppy, golden retriever, beagle, poodle, sheepdog
cat: kitten, siamese cat, tabby
person: chap, groom, bride, ballplayer, skier, policeman, child, baby, woman, boy, tourist, nurse
child: kid
car: taxi, police car, limousine, jeep, sports car, automobile
vehicle: car, truck, bicycle, motorcycle, bus
truck: pickup truck, fire truck, lorry
bus: school bus
boat: sailboat, canoe
airplane: airliner, jet plane, aeroplane
chair: armchair, rocking chair, folding chair
seat: stool
sofa: loveseat, couch
furniture: sofa, table, wardrobe
bed: bunk bed
table: desk, coffee table
glass: wineglass
cup: coffee cup, teacup
bicycle: mountain bike
bird: eagle, parrot, duckling, chicken, penguin
fish: salmon, goldfish
sheep: lamb
cow: calf
horse: foal, pony
animal: zebra, dog, ant
fruit: apple, banana
vegetable: carrot, broccoli
hamburger: cheeseburger
cake: cupcake
computer: laptop
telephone: cellphone
bag: handbag, backpack
shoe: sneaker
footwear: shoe, boot
cap: baseball cap
shirt: t-shirt
trousers: jeans, pants
flower: tulip, rose, sunflower
tree: oak, palm, oak tree
tool: hammer, screwdriver
gun: rifle
musical instrument: guitar, piano
bat: baseball bat
ball: tennis ball
television: tv
mobile phone: cellphone
refrigerator: fridge
donut: doughnut
motorcycle: motorbike
eyeglasses: spectacles
backpack: rucksack
"""
# Each line: a name, entries that differ from it. The name may be a kind of the entry: then the entry competes.
DIFFERENT = """
cup: mug, bottle, glass, teapot
mug: cup
dog: cat, wolf, fox, hot dog, prairie dog, animal, stuffed dog, doghouse, dog collar, dog bowl
cat: dog, mouse
bear: teddy bear
car: toy car, cable car, streetcar, truck, bus, motorcycle, vehicle, boat, car wheel, wheel, tire
bicycle: motorcycle
puppy: dog
chap: person
eagle: bird
table: chair, table lamp
chair: sofa, stool, bench, toilet, chair leg
sofa: bed
spoon: fork
fork: knife
bowl: plate
orange: apple, lemon
carrot: broccoli
goat: sheep
horse: cow, donkey, zebra, seahorse
tiger: lion
lion: sea lion
person: statue, doll, scarecrow, robot, mannequin, horse, monkey
bird: bat, butterfly, airplane, kite, birdhouse, bird cage
fish: whale, dolphin, starfish, jellyfish, fishbowl
pig: guinea pig
egg: eggplant
apple: pineapple
shoe: horseshoe, sock, shoe box
cake: pancake
clock: watch
computer: television
television: monitor
piano: keyboard
keyboard: mouse
shirt: tie
hat: glove, helmet, umbrella
boot: sandal
backpack: handbag
handbag: suitcase
skateboard: surfboard
surfboard: snowboard
snowboard: ski
baseball bat: baseball
tennis ball: tennis racket
tree: cactus, grass, tree house
flower: mushroom, flowerpot, vase
fire truck: fire hydrant
traffic light: stop sign
toilet: sink
refrigerator: oven
oven: toaster
knife: scissors
hairbrush: toothbrush
newspaper: book
blue car: red car
bus: bus stop
boat: boathouse
book: bookcase
"""
# Says for names [K] and entries [L] which entries are hyponyms of which names: bool [K, L].
Rule = Callable[[Sequence[str], Sequence[str]], np.ndarray]


@dataclass
class Pairs:
    """A set of names and entries with the truth about each pair.

    Args:
        names: K names.
        entries: L entries.
        kind: Pairs where the entry is a kind of the name, bool ``[K, L]``.
        judged: Pairs that count, bool ``[K, L]``.
        similarity: Cosine similarity of the class embeddings, ``[K, L]``, or None if there are none.
    """

    names: list[str]
    entries: list[str]
    kind: np.ndarray
    judged: np.ndarray
    similarity: np.ndarray | None = None

    def errors(self, found: np.ndarray) -> str:
        missed = (self.kind & ~found & self.judged).sum()
        wrong = (~self.kind & found & self.judged).sum()
        return f'{missed} / {wrong}'

    def sizes(self) -> str:
        return f'{(self.kind & self.judged).sum():,} / {(~self.kind & self.judged).sum():,}'


def lvis_pairs(categories: list[dict], wordnet: WordNet, embeddings: np.ndarray | None) -> Pairs:
    """Return LVIS' names against each other. LVIS' synsets are the meanings that its authors chose."""
    synsets: list[str | None] = []
    for category in categories:
        word, _, number = category['synset'].rsplit('.', 2)
        offsets = wordnet.index.get(word.lower(), [])
        synsets.append(offsets[int(number) - 1] if int(number) <= len(offsets) else None)
    known = np.array([synset is not None for synset in synsets])
    index = {synset: row for row, synset in enumerate(synsets) if synset}
    kind = np.zeros((len(synsets), len(synsets)), dtype=bool)
    for column, synset in enumerate(synsets):
        if synset:
            kind[[index[ancestor] for ancestor in wordnet.ancestors(synset) if ancestor in index], column] = True
    judged = known[:, None] & known & ~np.eye(len(synsets), dtype=bool)
    names = [category['name'] for category in categories]
    return Pairs(names, names, kind, judged, None if embeddings is None else embeddings @ embeddings.T)


def near_misses(pairs: Pairs, min_similarity: float) -> Pairs:
    """Return the pairs of different things with similar class embeddings, neither a kind of the other."""
    assert pairs.similarity is not None
    judged = pairs.judged & ~pairs.kind & ~pairs.kind.T & (pairs.similarity >= min_similarity)
    return Pairs(pairs.names, pairs.entries, pairs.kind, judged, pairs.similarity)


def synonym_pairs(categories: list[dict]) -> Pairs:
    """Return LVIS' synonyms: each word against the other words of its category."""
    words = [(row, word) for row, category in enumerate(categories) for word in category['synonyms']]
    rows = np.array([row for row, _ in words])
    texts = [word for _, word in words]
    plain = np.array([normalize(text) for text in texts])
    same = rows[:, None] == rows
    return Pairs(texts, texts, same, same & (plain[:, None] != plain))


def listed_pairs() -> Pairs:
    """Return the pairs judged by hand."""
    listed = [(line, kind) for text, kind in ((KINDS, True), (DIFFERENT, False)) for line in text.strip().splitlines()]
    triples = []
    for line, is_kind in listed:
        name, entries = line.split(': ')
        triples += [(name, entry, is_kind) for entry in entries.split(', ')]
    names = sorted({name for name, _, _ in triples})
    entries = sorted({entry for _, entry, _ in triples})
    kind = np.zeros((len(names), len(entries)), dtype=bool)
    judged = np.zeros_like(kind)
    for name, entry, is_kind in triples:
        judged[names.index(name), entries.index(entry)] = True
        kind[names.index(name), entries.index(entry)] = is_kind
    return Pairs(names, entries, kind, judged)


def coco_pairs(path: Path) -> Pairs:
    """Return COCO's classes against its supercategories, which COCO's authors chose."""
    categories = json.loads(path.read_text(encoding='utf-8'))['categories']
    kind = np.array([[category['supercategory'] == name for category in categories] for name in SUPERCATEGORIES])
    entries = [category['name'] for category in categories]
    return Pairs(list(SUPERCATEGORIES), entries, kind, np.ones_like(kind))


def phrase_rule(names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
    """An entry is a kind of a name if it has all words of the name and the same last word."""
    split = [normalize(entry).split() for entry in entries]
    words = [frozenset(entry) for entry in split]
    result = np.zeros((len(names), len(entries)), dtype=bool)
    for row, name in enumerate(normalize(name).split() for name in names):
        result[row] = [entry[-1] == name[-1] and all_words.issuperset(name) for entry, all_words in zip(split, words)]
    return result


def markdown(rows: list[list[str]]) -> str:
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '| --- |' + ' ---: |' * (len(rows[0]) - 1))
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('wordnet', type=Path, help="folder with WordNet 3.0's files")
    parser.add_argument('lvis', type=Path, help='LVIS category records (JSON), with "synset" and "synonyms"')
    parser.add_argument('--embeddings', type=Path, help='class embeddings of the LVIS names, [1203, D] (.npy)')
    parser.add_argument('--coco', type=Path, help='COCO annotation file, for its supercategories')
    args = parser.parse_args()
    categories = json.loads(args.lvis.read_text(encoding='utf-8'))
    categories = sorted(categories['categories'] if isinstance(categories, dict) else categories, key=lambda c: c['id'])
    embeddings = None
    if args.embeddings:
        embeddings = np.load(args.embeddings).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)

    lvis = lvis_pairs(categories, WordNet(args.wordnet), embeddings)
    sets = {'LVIS': lvis}
    if embeddings is not None:
        sets['LVIS, similarity 0.9 or more'] = near_misses(lvis, 0.9)
    sets |= {'LVIS synonyms': synonym_pairs(categories), 'by hand': listed_pairs()}
    if args.coco:
        sets['COCO supercategories'] = coco_pairs(args.coco)

    shipped = Hierarchy.load()
    rules: dict[str, Rule] = {'phrase rule': phrase_rule}
    for entry_senses, name_senses in ((1, 1), (3, 1), (3, 2), (3, 3)):
        hierarchy = Hierarchy.read(DATA, entry_senses, name_senses)
        rules[f'hierarchy, senses {entry_senses} and {name_senses}'] = lambda names, entries, hierarchy=hierarchy: (
            hierarchy.hyponyms(names, entries) == 1
        )

    def combined(names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
        known = shipped.hyponyms(names, entries)
        return np.where(known < 0, phrase_rule(names, entries), known == 1)

    rules['hierarchy, else phrase rule'] = combined
    rows = [['rule', *sets], ['(pairs: hyponyms / different)', *(pairs.sizes() for pairs in sets.values())]]
    for label, rule in rules.items():
        rows.append([label, *(pairs.errors(rule(pairs.names, pairs.entries)) for pairs in sets.values())])
    if embeddings is not None:
        for threshold in THRESHOLDS:
            row = [f'similarity {threshold}']
            for pairs in sets.values():
                row.append('' if pairs.similarity is None else pairs.errors(pairs.similarity >= threshold))
            rows.append(row)
        for threshold in THRESHOLDS:
            row = [f'hierarchy, else phrase rule or similarity {threshold}']
            for pairs in sets.values():
                if pairs.similarity is None:
                    row.append('')
                    continue
                unknown = shipped.hyponyms(pairs.names, pairs.entries) < 0
                found = combined(pairs.names, pairs.entries) | (unknown & (pairs.similarity >= threshold))
                row.append(pairs.errors(found))
            rows.append(row)
    print('Missed / wrong:\n')
    print(markdown(rows))

    first = [shipped.parse(category['name'])[0].senses for category in categories]
    print(f'\nLVIS names that the hierarchy knows: {sum(map(bool, first))} of {len(categories)}')


if __name__ == '__main__':
    main()
