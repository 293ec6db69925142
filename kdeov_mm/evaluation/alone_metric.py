"""Detection where each class name is asked alone: is it here, and where."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmyolo.registry import METRICS
from torchvision.ops import box_iou, nms

from kdeov_mm.datasets.coco_file import INSTANCE_FIELDS
from kdeov_mm.utils.errors import InputError

from . import pictures
from .box_metric import NMS_IOU_THRESHOLD, BoxMetric, Boxes
from .reliability import MATCH, MIN_SCORE, Reliability, find_right
from .precision_engines import COCO_ENGINES, LVIS_ENGINES, find_engine


@METRICS.register_module()
class AloneMetric(BoxMetric):
    """Measures detection of single class names, and whether absent classes stay absent.

    The model's scores must not depend on the vocabulary, as those of :class:`~kdeov_mm.models.KDEOV` with
    ``background`` do not. Then all names are scored in one pass. This gives the numbers of one pass for each name if
    ``test_cfg`` keeps all of a name's boxes. Otherwise AP50 differs in the tail, because a box keeps its
    ``classes_per_box`` best names and an image its ``max_per_img`` best boxes; AUROC and false alarms are exact. For a
    model without such scores there are no metrics, which a warning says. Keys, for ``all`` and each group of classes:

    - ``alone/{group}/AP50``: mean of the classes' AP at IoU 0.5; with a file of LVIS, as LVIS counts.
    - ``alone/{group}/false_alarms``: fraction of the images known to lack a class where it is detected with at least
      ``score_thr``, mean of the classes. Images lack a class if they have no annotation of it; images of LVIS lack
      the classes in ``neg_category_ids`` alone.
    - ``alone/{group}/AUROC``: probability that the class is scored higher in an image that has it than in one that
      lacks it, over all pairs of image and class.
    - ``alone/{group}/ECE``: expected calibration error of the detections with a score of at least ``MIN_SCORE``, in
      bins of equal width; see :class:`~kdeov_mm.evaluation.reliability.Reliability`. A detection is right if it shows
      an object of its class. On LVIS, detections of classes that an image was not checked for do not count.
    - ``alone/all/duplicates``: boxes beyond the first on an object (IoU at least 0.5), a fraction of the objects, at
      ``score_thr`` and with suppression across names; ``duplicates_per_name`` is without that suppression.

    A teacher embeds the whole image and has no boxes. So it has only the key ``teacher/alone/{group}/AUROC``, and as a
    model of its own, ``TeacherModel``, only ``alone/{group}/AUROC``.

    Args:
        ann_file: COCO or LVIS annotation file; categories are matched to ``classes`` by name.
        max_dets: Detections counted for one class in one image, best first; all count with a file of LVIS.
        engine: ``pycocotools``, or ``lvis`` with a file of LVIS, is the default; or ``faster-coco-eval``.
        iou_threshold: Boxes with a larger intersection over union suppress each other across names.
        **kwargs: See :class:`~kdeov_mm.evaluation.box_metric.BoxMetric`; ``score_thr`` replaces the model's threshold.
    """

    default_prefix = 'alone'
    fields = dict(INSTANCE_FIELDS, images=('id', 'width', 'height'))  # LVIS v1 has no file names
    engines = {**LVIS_ENGINES, **COCO_ENGINES}
    columns = ('AP50', 'false_alarms')

    def __init__(
        self,
        ann_file: str,
        max_dets: int = 100,
        engine: str | None = None,
        iou_threshold: float = NMS_IOU_THRESHOLD,
        **kwargs,
    ) -> None:
        super().__init__(ann_file, engine or 'pycocotools', **kwargs)
        self.max_dets, self.iou_threshold = max_dets, iou_threshold
        self.is_lvis = any('neg_category_ids' in image for image in self.coco.dataset['images'])
        engines = LVIS_ENGINES if self.is_lvis else COCO_ENGINES
        self.engine = find_engine(engine or next(iter(engines)), engines)
        if self.is_lvis:
            for image in self.coco.dataset['images']:
                if not image.keys() >= {'neg_category_ids', 'not_exhaustive_category_ids'}:
                    raise InputError(
                        f'annotation file "{ann_file}": image {image["id"]} lacks neg_category_ids or '
                        "not_exhaustive_category_ids, which other images have; give all images both, as LVIS's have"
                    )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's boxes, and the best score of each class if the data sample has it.

        The scores are ``presence`` of the tested model and ``teacher_presence`` of its teacher, ``[K]`` each. A model
        without boxes is treated as one that finds none.

        Raises:
            ValueError: If a score is not finite; see also ``BoxMetric``.
        """
        start = len(self.results)
        none = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))
        super().process(data_batch, [{'pred_instances': none, **sample} for sample in data_samples])
        for result, sample in zip(self.results[start:], data_samples):
            result['has_boxes'] = 'pred_instances' in sample
            for field in ('presence', 'teacher_presence'):
                if sample.get(field) is None:
                    continue
                result[field] = torch.as_tensor(sample[field]).detach().float().cpu().numpy()
                if not np.isfinite(result[field]).all():
                    raise ValueError(f'{result["img_path"]}: {field} holds NaN or infinity')

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Compute the metrics of the student, the teacher and chance.

        Raises:
            ValueError: If ``presence`` is there for some images only.
        """
        self.reliability: dict[str, Reliability] = {}
        if not self.has_presence(results):
            self.per_class, self.examples = np.full((len(self.require_meta('classes')), 2), np.nan), []
            return {}
        results = sorted(results, key=lambda result: result['img_id'])
        category_ids, img_ids = self.category_ids(), [result['img_id'] for result in results]
        present, absent = self.truth_of_images(category_ids, img_ids)
        roles = self.find_roles(results, len(category_ids))
        truth, threshold = self.truth_by_class(img_ids), self.find_threshold(results)
        values = {}
        for role, (boxes, presence) in roles.items():
            table = np.full((len(category_ids), len(self.columns)), np.nan)
            if boxes is not None:
                table[:, 0] = self.average_precision_50(boxes, truth, category_ids, img_ids)
                table[:, 1] = false_alarms(presence, absent, threshold)
            if role == 'student':
                self.per_class, self.examples = table, []
            values[role] = self.summarize_alone(table, presence, present, absent)
        if roles['student'][0] is not None:
            self.reliability = self.reliability_by_group(results, category_ids, present | absent)
            values['student'].update({f'{name}/ECE': item.error for name, item in self.reliability.items()})
            values['student'].update(self.duplicates(results, threshold))
        return values

    def has_presence(self, results: list[dict]) -> bool:
        """Return whether the model's scores are independent of the vocabulary; if they are not, log a warning.

        Raises:
            ValueError: If ``presence`` is there for some images only.
        """
        missing = [result['img_path'] for result in results if 'presence' not in result]
        if len(missing) == len(results):
            print_log(
                f'{self.task}: not measured, because the scores of this model depend on the vocabulary; set '
                'model.background',
                'current',
                logging.WARNING,
            )
            return False
        if missing:
            raise ValueError(f'{missing[0]}: the data sample has no presence, but others have it')
        return True

    def find_roles(self, results: list[dict], num_classes: int) -> dict[str, tuple[Boxes | None, np.ndarray]]:
        """Return the boxes of the student, chance and the teacher, None without any, and the presence ``[N, K]``."""
        presence = np.stack([result['presence'] for result in results])
        roles: dict[str, tuple[Boxes | None, np.ndarray]] = dict(student=(Boxes.gather(results, num_classes), presence))
        if self.chance:
            rng = np.random.default_rng(self.seed)
            roles['chance'] = Boxes.under_random_names(results, num_classes, rng), rng.permuted(presence, axis=1)
        if not any(result['has_boxes'] for result in results):
            roles = {role: (None, scores) for role, (_, scores) in roles.items()}
        if all('teacher_presence' in result for result in results):
            roles['teacher'] = None, np.stack([result['teacher_presence'] for result in results])
        return roles

    def average_precision_50(
        self, boxes: Boxes, truth: dict[int, list[dict]], category_ids: np.ndarray, img_ids: Sequence[int]
    ) -> np.ndarray:
        """Compute each class's AP at IoU 0.5, ``[K]``; NaN without ground truth."""
        if not self.is_lvis:
            return self.average_precision(boxes, truth, category_ids, self.max_dets)[:, 1]
        truth = {category: [item for item in items if item['area'] > 0] for category, items in truth.items()}
        counted = boxes.federated(self.coco, truth, category_ids, img_ids)
        return self.average_precision(counted, truth, category_ids)[:, 1]

    def truth_of_images(self, category_ids: np.ndarray, img_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return which images have and which lack each class, as far as is known: bool ``[N, K]`` each."""
        column = {category: index for index, category in enumerate(category_ids.tolist())}
        present = np.zeros((len(img_ids), len(category_ids)), bool)
        absent = np.ones_like(present)
        for row, img_id in enumerate(img_ids):
            image = self.coco.imgs[img_id]
            if self.is_lvis:
                absent[row] = False
                absent[row, [column[i] for i in image['neg_category_ids'] if i in column]] = True
            for annotation in self.coco.imgToAnns[img_id]:
                if annotation['category_id'] in column:
                    present[row, column[annotation['category_id']]] = True
        return present, absent & ~present

    def summarize_alone(
        self, table: np.ndarray, presence: np.ndarray, present: np.ndarray, absent: np.ndarray
    ) -> dict[str, float]:
        """Compute the means over all classes and over each group, and the pooled AUROC."""
        values = {}
        for name, members in self.group_members().items():
            for column, key in enumerate(self.columns):
                if not np.isnan(table[members, column]).all():
                    values[f'{name}/{key}'] = np.nanmean(table[members, column])
            scores, has, lacks = presence[:, members], present[:, members], absent[:, members]
            if has.any() and lacks.any():
                values[f'{name}/AUROC'] = auroc(scores[has], scores[lacks])
        return values

    def reliability_by_group(
        self, results: list[dict], category_ids: np.ndarray, known: np.ndarray
    ) -> dict[str, Reliability]:
        """Compare scores and precision in each group that has detections.

        Args:
            results: Predictions of N images.
            category_ids: The category id of each class, ``[K]``.
            known: Images known to have or to lack each class, bool ``[N, K]``.
        """
        column = {category: index for index, category in enumerate(category_ids.tolist())}
        parts = []
        for result, checked in zip(results, known):
            order = np.argsort(-result['scores'], kind='stable')
            order = order[result['scores'][order] >= MIN_SCORE]
            instances = []
            for ann in self.coco.imgToAnns[result['img_id']]:
                if ann['category_id'] in column:
                    x, y, width, height = map(float, ann['bbox'])
                    box, label = (x, y, x + width, y + height), column[ann['category_id']]
                    instances.append(dict(bbox=box, bbox_label=label, ignore_flag=ann['iscrowd']))
            labels = result['labels'][order]
            right, ignored = find_right(result['bboxes'][order], labels, instances)
            partly = self.coco.imgs[result['img_id']].get('not_exhaustive_category_ids', ())
            counted = ~ignored & checked[labels] & (right | ~np.isin(category_ids[labels], partly))
            parts.append((result['scores'][order][counted], right[counted], labels[counted]))
        scores, right, labels = map(np.concatenate, zip(*parts))
        return {
            name: Reliability.calculate(scores[members[labels]], right[members[labels]])
            for name, members in self.group_members().items()
            if members[labels].any()
        }

    def draw(self, out_dir: Path) -> list[Path]:
        """Draw reliability diagrams too, one for each group; see the base class."""
        files = super().draw(out_dir)
        if self.reliability:
            files.append(pictures.reliability(self.reliability, out_dir / f'{self.task}_reliability.png'))
        return files

    def duplicates(self, results: list[dict], threshold: float) -> dict[str, float]:
        """Compute the duplicates of all images, with and without suppression across names."""
        extra, objects = dict(duplicates=0, duplicates_per_name=0), 0
        for result in results:
            annotations = self.coco.imgToAnns[result['img_id']]
            # an object may have several general names
            truth = list({tuple(ann['bbox']): None for ann in annotations if not ann.get('iscrowd')})
            objects += len(truth)
            keep = result['scores'] >= threshold
            if not truth or not keep.any():
                continue
            boxes, scores = torch.as_tensor(result['bboxes'][keep]), torch.as_tensor(result['scores'][keep])
            corners = torch.tensor(truth, dtype=boxes.dtype)
            corners[:, 2:] += corners[:, :2]
            best, index = box_iou(boxes, corners).max(1)
            for key, kept in (
                ('duplicates', nms(boxes, scores, self.iou_threshold)),
                ('duplicates_per_name', torch.arange(len(boxes))),
            ):
                shown = index[kept][best[kept] >= MATCH]
                extra[key] += len(shown) - len(shown.unique())
        return {f'all/{key}': value / objects for key, value in extra.items()} if objects else {}


def false_alarms(presence: np.ndarray, absent: np.ndarray, score_thr: float) -> np.ndarray:
    """Compute the fraction of the images that lack a class where its score reaches the threshold.

    Args:
        presence: Best score of each class in each image, ``[N, K]``.
        absent: Images known to lack each class, bool ``[N, K]``.
        score_thr: The threshold.

    Returns:
        np.ndarray: float64 ``[K]``; NaN for a class that no image is known to lack.
    """
    count = absent.sum(0).astype(float)
    wrong = (absent & (presence >= score_thr)).sum(0)
    return np.divide(wrong, count, out=np.full(len(count), np.nan), where=count > 0)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Compute the area under the ROC curve: P(positive > negative) + P(equal) / 2 (Hanley and McNeil 1982)."""
    ordered = np.sort(negative)
    below, not_above = np.searchsorted(ordered, positive), np.searchsorted(ordered, positive, side='right')
    return float((below + not_above).mean() / 2 / len(ordered))
