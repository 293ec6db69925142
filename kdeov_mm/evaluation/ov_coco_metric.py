"""Open-vocabulary detection on COCO-style data, by groups of classes."""
import contextlib
import csv
import io
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from mmyolo.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdeov_mm.datasets.coco_file import load_coco
from kdeov_mm.utils.files import write_atomically

from . import pictures
from .base import RoleMetric, order_groups


@METRICS.register_module()
class OVCocoMetric(RoleMetric):
    """AP and AP50 of boxes over all classes and by group, where all names compete in every image.

    The generalised protocol of Zareian et al. 2021, "Open-vocabulary object detection using captions"
    (OVR-CNN). pycocotools matches and integrates; a group's value is the mean over its classes that have
    ground truth. Beside it stands ``chance``: the same boxes and scores under class names drawn at
    random, which is what localisation reaches without any knowledge of names. Needs the data set's
    ``classes``, uses its ``groups``.

    Args:
        ann_file: COCO annotation file; categories are matched to ``classes`` by name.
        max_dets: Detections counted for one class in one image, best first.
        chance: Whether to compute the chance level, which doubles the time.
        seed: Of the random names.
        num_examples: Images kept for the picture.
        score_thr: Lowest score of a box in the picture, in [0, 1].
        **kwargs: See :class:`~kdeov_mm.evaluation.base.RoleMetric`.
    """

    default_prefix = 'ov'

    def __init__(self,
                 ann_file: str,
                 max_dets: int = 100,
                 chance: bool = True,
                 seed: int = 0,
                 num_examples: int = 8,
                 score_thr: float = 0.3,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        self.coco = read_coco(ann_file)
        self.ann_file, self.max_dets, self.chance, self.seed = ann_file, max_dets, chance, seed
        self.num_examples, self.score_thr = num_examples, score_thr

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's boxes (xyxy, pixels of the original image), scores and labels.

        Raises:
            ValueError: A box or a score is not finite, or the image is not in the annotation file.
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
                    'test data set and metric must use one annotation file')
            self.results.append(dict(img_id=sample['img_id'], img_path=str(image), **pred))

    def category_ids(self) -> np.ndarray:
        """The annotation file's category id of each class, ``[K]``.

        Raises:
            ValueError: A class is not in the file.
        """
        names = [category['name'] for category in self.coco.dataset['categories']]
        classes = self.require_meta('classes')
        missing = [name for name in classes if name not in names]
        if missing:
            raise ValueError(
                f'{self.ann_file} has no category {missing[:5]} ({len(missing)} in all), which the data set '
                'has; test data set and metric must use one annotation file')
        return np.array([self.coco.dataset['categories'][names.index(name)]['id'] for name in classes])

    @staticmethod
    def calculate(coco: COCO,
                  detections: List[dict],
                  category_ids: np.ndarray,
                  img_ids: Sequence[int],
                  max_dets: int = 100) -> np.ndarray:
        """AP and AP50 of each class by pycocotools.

        Args:
            coco: Ground truth.
            detections: In COCO's result format: image_id, category_id, bbox (xywh), score.
            category_ids: Classes that compete, ``[K]``.
            img_ids: Images that count.
            max_dets: Detections counted for one class in one image.

        Returns:
            np.ndarray: float64 ``[K, 2]`` in [0, 1]; NaN for a class without ground truth.
        """
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            found = COCO()
            found.dataset = dict(
                images=coco.dataset['images'],
                categories=coco.dataset['categories'],
                annotations=[
                    dict(det, id=i, area=det['bbox'][2] * det['bbox'][3], iscrowd=0)
                    for i, det in enumerate(detections, 1)
                ])
            found.createIndex()
            engine = COCOeval(coco, found, 'bbox')
            params = engine.params
            params.catIds, params.imgIds, params.maxDets = category_ids.tolist(), list(img_ids), [max_dets]
            params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
            engine.evaluate()
            engine.accumulate()
        precision = engine.eval['precision'][..., 0, 0]  # [IoU threshold, recall, class in order of its id]
        iou50 = int(np.argmin(np.abs(params.iouThrs - 0.5)))
        ap = np.stack([precision.mean((0, 1)), precision[iou50].mean(0)], 1)
        ap[precision[0, 0] < 0] = np.nan
        return ap[np.searchsorted(np.unique(category_ids), category_ids)]

    def compute_by_role(self, results: List[dict]) -> Dict[str, Dict[str, float]]:
        """AP and AP50 by group for the student and for chance."""
        results = sorted(results, key=lambda result: result['img_id'])
        category_ids, groups = self.category_ids(), self.group_members()
        rng = np.random.default_rng(self.seed)
        labels = dict(student=[result['labels'] for result in results])
        if self.chance:
            labels['chance'] = [
                rng.integers(len(category_ids), size=len(result['labels'])) for result in results
            ]
        values = {}
        for role in labels:
            ap = self.calculate(self.coco, to_coco(results, labels[role], category_ids), category_ids,
                                [result['img_id'] for result in results], self.max_dets)
            values[role] = {
                f'{name}/{key}': np.nanmean(ap[mask, column])
                for name, mask in groups.items() if not np.isnan(ap[mask]).all()
                for column, key in enumerate(('AP', 'AP50'))
            }
            if role == 'student':
                self.per_class = ap
        if not values['student']:
            raise ValueError(f'{self.ann_file}: the {len(results)} images hold no object of '
                             f'the {len(category_ids)} classes')
        self.examples = self.find_examples(results, category_ids)
        return values

    def find_examples(self, results: List[dict], category_ids: np.ndarray) -> List[dict]:
        """Images for the picture: as many of each group as of the others, spread over the data set."""
        classes, groups = self.require_meta('classes'), self.class_groups()
        label_of = {category: label for label, category in enumerate(category_ids.tolist())}
        truth = {
            result['img_id']: [
                ann for ann in self.coco.imgToAnns[result['img_id']]
                if ann['category_id'] in label_of and not ann.get('iscrowd')
            ]
            for result in results
        }
        chosen: Dict[int, dict] = {}
        names = order_groups(groups)
        for i, name in enumerate(names):
            share = (self.num_examples - len(chosen)) // (len(names) - i)
            having = [
                result for result in results
                if result['img_id'] not in chosen and any(groups[label_of[ann['category_id']]] == name
                                                          for ann in truth[result['img_id']])
            ]
            for j in np.linspace(0, len(having) - 1, min(share, len(having))).astype(int):
                chosen[having[j]['img_id']] = having[j]
        examples = []
        for img_id, result in chosen.items():
            keep = np.flatnonzero(result['scores'] >= self.score_thr)
            keep = keep[np.argsort(-result['scores'][keep], kind='stable')][:len(truth[img_id]) + 2]
            examples.append(
                dict(
                    img_path=result['img_path'],
                    truth=[
                        dict(bbox=ann['bbox'], name=classes[label_of[ann['category_id']]])
                        for ann in truth[img_id]
                    ],
                    found=[
                        dict(
                            bbox=xyxy_to_xywh(result['bboxes'][i:i + 1])[0].tolist(),
                            name=classes[result['labels'][i]],
                            group=groups[result['labels'][i]],
                            score=float(result['scores'][i])) for i in keep
                    ]))
        return examples

    def draw(self, out_dir: Path) -> List[Path]:
        """Draw detections on some images, and write AP and AP50 of each class as CSV."""
        classes, groups = self.require_meta('classes'), self.class_groups()
        table = io.StringIO()
        writer = csv.writer(table, lineterminator='\n')
        writer.writerow(['class', 'group', 'AP', 'AP50'])
        writer.writerows([name, group] + ['' if np.isnan(value) else f'{value:.6f}' for value in row]
                         for name, group, row in zip(classes, groups, self.per_class))
        path = write_atomically(out_dir / f'{self.task}_per_class.csv', table.getvalue())
        if not self.examples:
            return [path]
        title = f'All {len(classes)} names are prompts in every image'
        return [
            pictures.detections(self.examples, order_groups(groups), title,
                                out_dir / f'{self.task}_detections.png'), path
        ]


def read_coco(ann_file: str) -> COCO:
    """Index a COCO annotation file; raises what :func:`~kdeov_mm.datasets.coco_file.load_coco` does."""
    coco = COCO()
    coco.dataset = load_coco(ann_file)
    for annotation in coco.dataset['annotations']:
        annotation.setdefault('iscrowd', 0)  # pycocotools insists on it
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners to corner and size, ``[N, 4]``, float64."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def to_coco(results: List[dict], labels: List[np.ndarray], category_ids: np.ndarray) -> List[dict]:
    """Predictions in COCO's result format.

    Raises:
        ValueError: A label is not one of the K classes.
    """
    detections = []
    for result, image_labels in zip(results, labels):
        if len(image_labels) and not 0 <= image_labels.min() <= image_labels.max() < len(category_ids):
            raise ValueError(
                f'{result["img_path"]}: a predicted label is not in [0, {len(category_ids)}); does the model '
                "use the data set's vocabulary?")
        for box, score, category in zip(
                xyxy_to_xywh(result['bboxes']).tolist(), result['scores'].tolist(),
                category_ids[image_labels].tolist()):
            detections.append(dict(image_id=result['img_id'], category_id=category, bbox=box, score=score))
    return detections
