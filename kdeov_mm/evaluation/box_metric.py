"""The base of metrics of detection: predicted boxes, AP of each class, chance, pictures, tables."""

import contextlib
import csv
import hashlib
import io
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torchvision.ops import nms

from kdeov_mm.datasets.coco_file import INSTANCE_FIELDS, load_coco
from kdeov_mm.datasets.general import generalize
from kdeov_mm.structures import DEFAULT_THRESHOLD
from kdeov_mm.utils.files import write_atomically

from . import pictures
from .base import RoleMetric, order_groups
from .precision_engines import find_engine

# Tables of the last evaluations, by what they depend on: metrics of the same boxes share them.
TABLES: OrderedDict[bytes, np.ndarray] = OrderedDict()
MAX_TABLES = 8

NMS_IOU_THRESHOLD = 0.7  # of suppression across names in pictures and reports, as test_cfg.nms of the configs has it


@dataclass
class Boxes:
    """Predicted boxes of all images, in the order in which ties count.

    Attributes:
        img_ids: int64 ``[N]``.
        labels: int64 ``[N]`` in [0, K).
        scores: ``[N]``.
        bboxes: ``[N, 4]``, xyxy in pixels.
    """

    img_ids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    bboxes: np.ndarray

    @classmethod
    def gather(cls, results: list[dict], num_classes: int) -> 'Boxes':
        """Join images' predictions.

        Raises:
            ValueError: If a label is not one of the K classes.
        """
        for result in results:
            labels = result['labels']
            if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
                raise ValueError(
                    f'{result["img_path"]}: a predicted label is not in [0, {num_classes}); does the model '
                    "use the data set's vocabulary?"
                )
        joined = {key: np.concatenate([result[key] for result in results]) for key in ('labels', 'scores', 'bboxes')}
        img_ids = np.repeat([result['img_id'] for result in results], [len(result['labels']) for result in results])
        return cls(img_ids, joined['labels'].astype(np.int64), joined['scores'], joined['bboxes'])

    @classmethod
    def under_random_names(cls, results: list[dict], num_classes: int, rng: np.random.Generator) -> 'Boxes':
        """Join images' predictions, with labels drawn at random."""
        drawn = [dict(result, labels=rng.integers(num_classes, size=len(result['labels']))) for result in results]
        return cls.gather(drawn, num_classes)

    def __getitem__(self, index: np.ndarray) -> 'Boxes':
        """Select boxes by an index or mask."""
        return Boxes(self.img_ids[index], self.labels[index], self.scores[index], self.bboxes[index])

    def best(self, count: int, of: np.ndarray) -> 'Boxes':
        """Return the ``count`` best of each group of equal values in ``of`` ``[N]``; among ties the first."""
        order = np.lexsort((-self.scores, of))
        rank = np.arange(len(of)) - np.searchsorted(of[order], of[order])
        return self[np.sort(order[rank < count])]

    def by_class(self, num_classes: int) -> list['Boxes']:
        """Return the boxes of each of the K classes."""
        order = np.argsort(self.labels, kind='stable')
        bounds = np.searchsorted(self.labels[order], np.arange(num_classes + 1))
        return [self[order[start:end]] for start, end in zip(bounds, bounds[1:])]

    def federated(
        self, coco: COCO, truth: dict[int, list[dict]], category_ids: np.ndarray, img_ids: Sequence[int]
    ) -> 'Boxes':
        """Return the boxes that LVIS counts: those with an area whose class was looked for in their image.

        A class was looked for where it is annotated or known to be absent (``neg_category_ids``).
        """
        looked_for = {(item['image_id'], category) for category, items in truth.items() for item in items}
        for img_id in img_ids:
            looked_for.update((img_id, category) for category in coco.imgs[img_id]['neg_category_ids'])
        base = max(coco.cats) + 1  # a pair of ids as one number

        def code(images, categories):
            return np.asarray(images, np.int64) * base + np.asarray(categories, np.int64)

        known = code(*np.array(sorted(looked_for), np.int64).reshape(-1, 2).T)
        sizes = np.asarray(self.bboxes[:, 2:], float) - self.bboxes[:, :2]
        return self[np.isin(code(self.img_ids, category_ids[self.labels]), known) & (sizes.prod(1) > 0)]

    def records(self, category_id: int) -> list[dict]:
        """Convert to detections of one category in COCO's format, with the fields that the engines need."""
        bboxes = xyxy_to_xywh(self.bboxes)
        return [
            dict(id=i, image_id=img_id, category_id=category_id, bbox=bbox, area=area, score=score, iscrowd=0)
            for i, (img_id, bbox, area, score) in enumerate(
                zip(self.img_ids.tolist(), bboxes.tolist(), bboxes[:, 2:].prod(1).tolist(), self.scores.tolist()), 1
            )
        ]


class BoxMetric(RoleMetric):
    """Measures AP of each class, with all class names scored in every image.

    Beside it stands ``chance``: the same boxes and scores under class names drawn at random, which is what
    localisation reaches without any knowledge of names. Needs the data set's ``classes``, uses its ``groups``.

    Args:
        ann_file: Annotation file; categories are matched to ``classes`` by name.
        engine: What matches and integrates, see :mod:`~kdeov_mm.evaluation.precision_engines`.
        general: Whether the classes are general names of the file's, see
            :func:`~kdeov_mm.datasets.general.generalize`.
        chance: Whether to compute the chance level, which doubles the time.
        seed: Of the random names.
        num_examples: Images kept for the picture.
        score_thr: Lowest score of a box in the picture, in [0, 1]; None: the model's threshold, which data samples have
            as ``score_threshold``.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.RoleMetric`.

    Raises:
        FileNotFoundError, ValueError: If the annotation file or the engine cannot be used.
    """

    fields = INSTANCE_FIELDS  # that the annotation file must have
    engines: Mapping[str, Callable] = {}
    columns: Sequence[str] = ()  # of the table of classes

    def __init__(
        self,
        ann_file: str,
        engine: str,
        general: bool = False,
        chance: bool = True,
        seed: int = 0,
        num_examples: int = 8,
        score_thr: float | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.engine = find_engine(engine, self.engines)
        self.coco = read_coco(ann_file, self.fields, general)
        self.ann_file, self.chance, self.seed = ann_file, chance, seed
        self.num_examples, self.score_thr = num_examples, score_thr

    def calculate(self, boxes: Boxes, category_ids: np.ndarray, img_ids: Sequence[int]) -> np.ndarray:
        """Compute the table of classes.

        Args:
            boxes: Predictions.
            category_ids: The category id of each class, ``[K]``.
            img_ids: Images that count.

        Returns:
            np.ndarray: float64 ``[K, len(columns)]`` in [0, 1]; NaN for a class without ground truth.
        """
        raise NotImplementedError

    def summarize(self, table: np.ndarray, category_ids: np.ndarray) -> dict[str, float]:
        """Compute metrics by name from a table of classes; metrics without ground truth are skipped."""
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's boxes (xyxy, pixels of the original image), scores and labels.

        Raises:
            ValueError: If a box or a score is not finite, or the image is not in the annotation file.
        """
        for sample in data_samples:
            pred = {
                key: torch.as_tensor(sample['pred_instances'][key]).detach().cpu().numpy()
                for key in ('bboxes', 'scores', 'labels')
            }
            image = sample.get('img_path', sample['img_id'])
            if not (np.isfinite(pred['bboxes']).all() and np.isfinite(pred['scores']).all()):
                raise ValueError(f'{image}: a predicted box or score is NaN or infinite')
            if sample['img_id'] not in self.coco.imgs:
                raise ValueError(
                    f'{image}: image id {sample["img_id"]} is not in {self.ann_file}; '
                    'test data set and metric must use one annotation file'
                )
            threshold = float(sample.get('score_threshold', DEFAULT_THRESHOLD))
            self.results.append(dict(img_id=sample['img_id'], img_path=str(image), threshold=threshold, **pred))

    def find_threshold(self, results: list[dict]) -> float:
        """Return the minimum score of a detection for users: ``score_thr``, else the model's threshold."""
        return results[0]['threshold'] if self.score_thr is None else self.score_thr

    def category_ids(self) -> np.ndarray:
        """Return the annotation file's category id of each class, ``[K]``.

        Raises:
            ValueError: If a class is not in the file.
        """
        ids = {category['name']: category['id'] for category in self.coco.dataset['categories']}
        classes = self.require_meta('classes')
        missing = [name for name in classes if name not in ids]
        if missing:
            raise ValueError(
                f'{self.ann_file} has no category {missing[:5]} ({len(missing)} in all), which the data set '
                'has; test data set and metric must use one annotation file'
            )
        return np.array([ids[name] for name in classes])

    def truth_by_class(self, img_ids: Sequence[int]) -> dict[int, list[dict]]:
        """Return the annotations that count, by category id."""
        truth = defaultdict(list)
        for img_id in img_ids:
            for annotation in self.coco.imgToAnns[img_id]:
                truth[annotation['category_id']].append(annotation)
        return truth

    def average_precision(
        self, boxes: Boxes, truth: dict[int, list[dict]], category_ids: np.ndarray, max_dets: int | None = None
    ) -> np.ndarray:
        """AP, AP50 and AP75 of each class, ``[K, 3]``; NaN without ground truth.

        Metrics that evaluate the same boxes share the result.
        """
        key = self.fingerprint(boxes, truth, category_ids, max_dets)
        if key not in TABLES:
            TABLES[key] = self.evaluate_classes(boxes, truth, category_ids, max_dets)
            while len(TABLES) > MAX_TABLES:
                TABLES.popitem(last=False)
        return TABLES[key].copy()

    def fingerprint(
        self, boxes: Boxes, truth: dict[int, list[dict]], category_ids: np.ndarray, max_dets: int | None
    ) -> bytes:
        """Identify all that :meth:`average_precision` depends on."""
        digest = hashlib.sha256(repr((self.engine.__qualname__, max_dets, len(boxes.labels))).encode())
        for array in (boxes.img_ids, boxes.labels, boxes.scores, boxes.bboxes, category_ids):
            digest.update(np.ascontiguousarray(array).tobytes())
        fields = ('image_id', 'category_id', 'bbox', 'area', 'iscrowd')
        images = {item['image_id'] for items in truth.values() for item in items}
        images.update(np.unique(boxes.img_ids).tolist())
        for category, items in truth.items():
            digest.update(repr((category, [[item[field] for field in fields] for item in items])).encode())
        for image in sorted(images):
            record = self.coco.imgs[image]
            lists = (record.get(f'{kind}_category_ids') for kind in ('neg', 'not_exhaustive'))
            digest.update(repr((image, *lists)).encode())
        return digest.digest()

    def evaluate_classes(
        self, boxes: Boxes, truth: dict[int, list[dict]], category_ids: np.ndarray, max_dets: int | None
    ) -> np.ndarray:
        """Call the engine for each class."""
        table = np.full((len(category_ids), 3), np.nan)
        for label, found in enumerate(boxes.by_class(len(category_ids))):
            category = self.coco.cats[category_ids[label]]
            annotations = truth.get(category['id'], [])
            if not annotations:
                continue
            detections = found.records(category['id'])
            images = [self.coco.imgs[i] for i in sorted({item['image_id'] for item in annotations + detections})]
            precision = self.engine(images, category, annotations, detections, max_dets)
            if precision[0, 0] >= 0:
                table[label] = precision.mean(), precision[0].mean(), precision[5].mean()
        return table

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Compute the metrics of the student and of chance."""
        results = sorted(results, key=lambda result: result['img_id'])
        category_ids, img_ids = self.category_ids(), [result['img_id'] for result in results]
        self.class_groups()  # complains before the work
        roles = dict(student=Boxes.gather(results, len(category_ids)))
        if self.chance:
            rng = np.random.default_rng(self.seed)
            roles['chance'] = Boxes.under_random_names(results, len(category_ids), rng)
        tables = {role: self.calculate(boxes, category_ids, img_ids) for role, boxes in roles.items()}
        self.per_class = tables['student']
        if np.isnan(self.per_class).all():
            raise ValueError(
                f'{self.ann_file}: the {len(results)} images hold no object of the {len(category_ids)} classes'
            )
        self.examples = self.find_examples(results, category_ids)
        return {role: self.summarize(table, category_ids) for role, table in tables.items()}

    def find_examples(self, results: list[dict], category_ids: np.ndarray) -> list[dict]:
        """Choose images for the picture: equally many of each group, spread over the data set.

        Boxes suppress each other across names, as they do for users.
        """
        classes, groups = self.require_meta('classes'), self.class_groups()
        label_of = {category: label for label, category in enumerate(category_ids.tolist())}
        truth = {
            result['img_id']: [
                ann
                for ann in self.coco.imgToAnns[result['img_id']]
                if ann['category_id'] in label_of and not ann.get('iscrowd')
            ]
            for result in results
        }
        chosen: dict[int, dict] = {}
        names = order_groups(groups)
        for i, name in enumerate(names):
            quota = (self.num_examples - len(chosen)) // (len(names) - i)
            having = [
                result
                for result in results
                if result['img_id'] not in chosen
                and any(groups[label_of[ann['category_id']]] == name for ann in truth[result['img_id']])
            ]
            for j in np.linspace(0, len(having) - 1, min(quota, len(having))).astype(int):
                chosen[having[j]['img_id']] = having[j]
        examples, threshold = [], self.find_threshold(results)
        for img_id, result in chosen.items():
            keep = np.flatnonzero(result['scores'] >= threshold)
            boxes, scores = (torch.as_tensor(result[key][keep]) for key in ('bboxes', 'scores'))
            keep = keep[nms(boxes, scores, NMS_IOU_THRESHOLD).numpy()][: len(truth[img_id]) + 2]  # best first
            examples.append(
                dict(
                    img_path=result['img_path'],
                    truth=[dict(bbox=ann['bbox'], name=classes[label_of[ann['category_id']]]) for ann in truth[img_id]],
                    found=[
                        dict(
                            bbox=xyxy_to_xywh(result['bboxes'][i : i + 1])[0].tolist(),
                            name=classes[result['labels'][i]],
                            group=groups[result['labels'][i]],
                            score=float(result['scores'][i]),
                        )
                        for i in keep
                    ],
                )
            )
        return examples

    def draw(self, out_dir: Path) -> list[Path]:
        """Draw detections on some images, and write the table of classes as CSV."""
        classes, groups = self.require_meta('classes'), self.class_groups()
        table = io.StringIO()
        writer = csv.writer(table, lineterminator='\n')
        writer.writerow(['class', 'group', *self.columns])
        writer.writerows(
            [name, group] + ['' if np.isnan(value) else f'{value:.6f}' for value in row]
            for name, group, row in zip(classes, groups, self.per_class)
        )
        path = write_atomically(out_dir / f'{self.task}_per_class.csv', table.getvalue())
        if not self.examples:
            return [path]
        title = f'All {len(classes)} names are prompts in every image'
        return [
            pictures.detections(self.examples, order_groups(groups), title, out_dir / f'{self.task}_detections.png'),
            path,
        ]


def read_coco(ann_file: str, fields: dict[str, tuple[str, ...]] = INSTANCE_FIELDS, general: bool = False) -> COCO:
    """Index an annotation file, without masks; ``general`` takes its general names.

    Raises what :func:`~kdeov_mm.datasets.coco_file.load_coco` and ``generalize`` do.
    """
    coco = COCO()
    coco.dataset = load_coco(ann_file, fields)
    if general:
        coco.dataset = generalize(coco.dataset)
    for number, annotation in enumerate(coco.dataset['annotations'], 1):
        annotation.pop('segmentation', None)  # most of the memory
        annotation['iscrowd'] = annotation.get('iscrowd') or 0  # pycocotools insists on it
        annotation['id'] = number  # to the engines a match with annotation 0 is none
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners to corner and size, ``[N, 4]``, float64."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
