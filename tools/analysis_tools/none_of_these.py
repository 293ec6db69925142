"""Measure "none of these" of classification and "no image matches" of search on the shapes dataset.

    python tools/analysis_tools/none_of_these.py configs/kdeov_yolov8n.py kdeov_mm/weights/kdeov_yolov8n.safetensors

docs/scores.md explains the tables, which go to stdout.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.datasets.general import generalize
from kdeov_mm.evaluation.alone_metric import auroc
from kdeov_mm.evaluation.reliability import Reliability
from kdeov_mm.structures import ImageCompetitors, softmax
from kdeov_mm.text import Lexicon

DRAWS = 3


class Remembering(Lexicon):
    """A lexicon that compares each name once."""

    def competes(self, names: Sequence[str]) -> np.ndarray:
        """See :class:`Lexicon`."""
        return np.stack([compare(self, name) for name in names])


@lru_cache(maxsize=None)
def compare(lexicon: Lexicon, name: str) -> np.ndarray:
    """Return which entries compete with a name, bool ``[L]``."""
    return Lexicon.competes(lexicon, [name])[0]


def recall_at(precision: float, correct: np.ndarray, scores: np.ndarray, total: int) -> float:
    """Return the highest recall of ``total`` at a threshold on ``scores`` with at least a precision."""
    hits = np.cumsum(correct[np.argsort(-scores, kind='stable')])
    enough = hits / np.arange(1, len(hits) + 1) >= precision
    return float(hits[enough].max() / total) if enough.any() else 0.0


def spread(values: list[float]) -> str:
    """Format mean, minimum and maximum."""
    return f'{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})'


class Shapes:
    """Holds embeddings and truth of the test images.

    Attributes:
        names: The K concepts.
        base: Which concepts are base, bool ``[K]``.
        texts: Class embeddings ``[K, D]``.
    """

    def __init__(self, inferencer: KDEOVInferencer, root: Path) -> None:
        self.inferencer, self.root = inferencer, root
        self.names = [category['name'] for category in self.read('instances_test')['categories']]
        self.base = np.array([c['group'] == 'base' for c in self.read('instances_test')['categories']])
        self.texts = inferencer.embed_names(self.names)

    def read(self, name: str) -> dict:
        """Read an annotation file."""
        return json.loads((self.root / 'annotations' / f'{name}.json').read_text())

    def images(self, split: str, limit: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Return embeddings ``[N, D]``, which concepts each image has, bool ``[N, K]``, and the images' ids."""
        content = self.read(f'instances_{split}')
        step = max(len(content['images']) // limit, 1)
        images = content['images'][::step][:limit]
        rows = {image['id']: row for row, image in enumerate(images)}
        columns = {category['id']: column for column, category in enumerate(content['categories'])}
        truth = np.zeros((len(images), len(columns)), bool)
        for annotation in content['annotations']:
            if annotation['image_id'] in rows:
                truth[rows[annotation['image_id']], columns[annotation['category_id']]] = True
        paths = [str(self.root / split / image['file_name']) for image in images]
        return self.inferencer.embed(paths).embeddings, truth, list(rows)


def classification(data: Shapes, scorers: dict[str, ImageCompetitors], limit: int) -> Iterator[str]:
    """Yield the table's rows: is the concept of an image with one object among 5 or 20 random names?"""
    images, truth, _ = data.images('test_single', limit)
    concept = truth.argmax(axis=1)
    none: dict[str, Callable] = {
        'maximum softmax': lambda row, k: 1 - softmax(row @ data.texts[k].T).max(),
        'maximum cosine': lambda row, k: -(row @ data.texts[k].T).max(),
    }
    for title, scorer in scorers.items():
        none[title] = lambda row, k, scorer=scorer: (
            1 - scorer.classify(row, data.texts[k], [data.names[i] for i in k]).sum()
        )
    for count in (5, 20):
        for title, score in none.items():
            areas, errors, missed, named = [], [], [], []
            for draw in range(DRAWS):
                rng, present, absent = np.random.default_rng(draw), [], []
                for row, own in zip(images, concept):
                    asked = rng.choice(np.delete(np.arange(len(data.names)), own), count, replace=False)
                    absent.append(score(row[None], asked))
                    present.append(score(row[None], np.append(asked[1:], own)))
                both = np.array(present + absent)
                areas.append(auroc(both[len(present) :], both[: len(present)]))
                lacks = np.repeat([False, True], len(present))
                errors.append(np.nan if 'cosine' in title else Reliability.calculate(both, lacks).error)
                missed.append(np.mean(both[: len(present)] > 0.5))
                named.append(np.mean(both[len(present) :] <= 0.5))
            yield (
                f'| {title} | {count} | {spread(areas)} | {np.mean(errors):.3f} | {np.mean(missed):.3f} | '
                f'{np.mean(named):.3f} |'
            )


def queries(data: Shapes, limit: int, scenes: int) -> Iterator[tuple[str, list[str], np.ndarray, Callable]]:
    """Yield kinds of queries: name, texts, all images, and the truth ``[n, Q]`` of images."""
    single, concepts, _ = data.images('test_single', limit)
    yield 'class names', data.names, single, lambda kept: concepts[kept]
    general = [category['name'] for category in generalize(data.read('instances_test'))['categories']]
    fits = np.array([[set(g.split()) <= set(name.split()) for g in general] for name in data.names])
    yield 'general names', general, single, lambda kept: concepts[kept].astype(int) @ fits > 0
    rows, _, ids = data.images('test', scenes)
    captions: dict[int, str] = {}
    for annotation in data.read('captions_test')['annotations']:
        captions.setdefault(annotation['image_id'], annotation['caption'])
    yield 'captions', [captions[i] for i in ids], rows, lambda kept: np.eye(len(rows), dtype=bool)[kept]


def search(data: Shapes, scorers: dict[str, ImageCompetitors], limit: int, scenes: int) -> Iterator[str]:
    """Yield the table's rows: is the best score of a query lower if no image of the library shows it?"""
    sizes = dict(zip(('class names', 'general names', 'captions'), (0.6, 0.2, 0.5)))  # half of the queries show nothing
    measured: dict[str, dict[str, list]] = {}
    for kind, texts, images, truth in queries(data, limit, scenes):
        vectors = data.inferencer.backend.model.text_encoder.encode_text(texts).numpy()
        cosine = images @ vectors.T
        lexicon = images @ data.texts.T
        tables = {
            'cosine': cosine,
            'z-score over the lexicon': (cosine - lexicon.mean(1, keepdims=True)) / lexicon.std(1, keepdims=True),
        }
        for title, scorer in scorers.items():
            columns = [scorer.presence(images, vector, text) for vector, text in zip(vectors, texts)]
            tables[title] = np.stack(columns, axis=1)
        for draw in range(DRAWS):
            kept = np.random.default_rng(draw).permutation(len(images))[: int(len(images) * sizes[kind])]
            shown = truth(kept)
            part = cosine[kept]
            tables['z-score over the library'] = np.zeros_like(cosine)
            tables['z-score over the library'][kept] = (part - part.mean(0)) / part.std(0)
            for title, table in tables.items():
                best = table[kept].argmax(axis=0)
                correct = shown[best, np.arange(len(texts))]
                entry = (table[kept].max(axis=0).astype(np.float64), shown.any(axis=0), correct)
                measured.setdefault(title, {}).setdefault(kind, []).append(entry)
    for title, kinds in measured.items():
        pooled = [tuple(np.concatenate(parts) for parts in zip(*entries)) for entries in zip(*kinds.values())]
        cells = [spread([auroc(s[has], s[~has]) for s, has, _ in entries]) for entries in [*kinds.values(), pooled]]
        recall = [recall_at(0.95, correct, s, has.sum()) for s, has, correct in pooled]
        first = [np.mean([c[h].mean() for _, h, c in entries]) for entries in kinds.values()]
        yield f'| {title} | {" | ".join(cells)} | {np.mean(recall):.3f} | {" / ".join(f"{v:.3f}" for v in first)} |'


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data-root', default='data/shapes', help='folder of the shapes dataset; default: data/shapes')
    parser.add_argument('--images', type=int, default=480, help='images of one object; default: 480')
    parser.add_argument('--scenes', type=int, default=400, help='scenes; default: 400')
    args = parser.parse_args()
    inferencer = KDEOVInferencer(args.config, args.checkpoint, batch_size=32)
    data, full = Shapes(inferencer, Path(args.data_root)), inferencer.backend.image_competitors
    if full is None:
        raise SystemExit('config: the model has no competitors; set model.background')
    full = replace(full, lexicon=Remembering(full.lexicon.entries, full.lexicon.hierarchy))
    known = set(np.array(data.names)[data.base])
    keep = np.array([entry in known for entry in full.lexicon.entries])
    entries = tuple(np.array(full.lexicon.entries)[keep].tolist())
    base = replace(full, lexicon=Remembering(entries, full.lexicon.hierarchy), embeddings=full.embeddings[keep])
    region = inferencer.backend.model.background
    without = dict(all=replace(full, background=-1.0), base=replace(base, background=-1.0))
    scorers = {
        'all concepts': without['all'],
        f'all concepts, background {region}': replace(full, background=region),
        f'all concepts, background {full.background}': full,
        'base names': without['base'],
        f'base names, background {full.background}': base,
        f'background {full.background} alone': replace(full, lexicon=Remembering(), embeddings=full.embeddings[:0]),
    }
    print(
        '| none of these | names | AUROC | ECE | missed | wrongly named |\n| --- | ---: | ---: | ---: | ---: | ---: |'
    )
    for line in classification(data, scorers, args.images):
        print(line, flush=True)
    heads = 'class names | general names | captions | pooled | recall at precision 0.95 | recall@1'
    print(f'\n| no image matches: AUROC | {heads} |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |')
    for line in search(data, scorers, args.images, args.scenes):
        print(line, flush=True)


if __name__ == '__main__':
    main()
