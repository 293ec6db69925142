"""COCO annotations restricted to some groups of classes."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from mmyolo.datasets import YOLOv5CocoDataset
from mmyolo.registry import DATASETS

from .broken_images import SkipBrokenImages
from .coco_file import CAPTION_FIELDS, INSTANCE_FIELDS, load_coco
from .general import generalize
from .splits import check_known, class_groups


@DATASETS.register_module()
class OVCocoDataset(SkipBrokenImages, YOLOv5CocoDataset):
    """Reads an open-vocabulary data set in COCO's format.

    The classes are the file's categories of the kept groups, in the file's order. Annotations of other classes are
    dropped. Images without annotations stay, unless ``filter_cfg=dict(filter_empty_gt=True)``: there the student learns
    from the teacher only. ``metainfo['classes']``, ``metainfo['groups']`` and ``metainfo['supercategories']`` hold each
    class's name, group and supercategory; labels index them.

    Boxes smaller than one by one pixel inside the image are dropped, and boxes that reach out of the image are clipped;
    a warning counts both. Images that are missing, truncated or otherwise unreadable are skipped and listed in
    ``broken``.

    Args:
        groups: Groups of classes to keep; None keeps all.
        vocabulary: A name in :data:`~kdeov_mm.datasets.splits.VOCABULARIES` or ``{group: class names}``. Classes
            without a group are dropped. By default the ``group`` field of the file's categories; a class without it is
            base. General names have their own.
        caption_file: Captions in COCO's format, absolute or below data_root. Adds ``captions``, a list of str that may
            be empty, to each data info.
        general: Whether the classes are general names of the file's, such as "animal", see
            :func:`~kdeov_mm.datasets.general.generalize`. Their groups are the levels of generality.
        gt_label: Whether to add ``gt_label``, the label of the only instance, to each data info.
        max_broken: Maximum ratio of unreadable images. One is always allowed, unless this is 0.
        **kwargs: Arguments of MMYOLO's ``YOLOv5CocoDataset``: ann_file, data_root, data_prefix=dict(img=...),
            pipeline, metainfo (its ``classes`` restrict the classes), filter_cfg, test_mode, ...

    Raises:
        FileNotFoundError: If the data root, the image folder or a file is missing or empty.
        ValueError: If a file is not JSON, lacks a field or has a wrong value, a name or group is unknown, no class or
            no image is left, or ``gt_label`` is asked for and an image has not exactly one instance.
        RuntimeError: If more images than ``max_broken`` are unreadable.
    """

    METAINFO: dict = {}
    fields = INSTANCE_FIELDS  # that the annotation file must have

    def __init__(
        self,
        *args,
        groups: Sequence[str] | None = ('base',),
        vocabulary: str | Mapping[str, Sequence[str]] | None = None,
        caption_file: str | None = None,
        general: bool = False,
        gt_label: bool = False,
        max_broken: float = 0.05,
        **kwargs,
    ) -> None:
        self.set_max_broken(max_broken)
        self.groups = (groups,) if isinstance(groups, str) else groups
        self.vocabulary, self.caption_file = vocabulary, caption_file
        self.general, self.gt_label = general, gt_label
        self._defects: Counter = Counter()  # of boxes
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------------------------------ reading
    def load_data_list(self) -> list[dict]:
        """Read the annotations of the kept classes."""
        self._check_folders()
        content = load_coco(self.ann_file, self.fields)
        if self.general:
            content = generalize(content)
        kept = self._kept_classes(content['categories'])
        kinds = {
            category['name']: category['name'] if category.get('supercategory') is None else category['supercategory']
            for category in content['categories']
        }
        self._metainfo.update(
            classes=tuple(kept), groups=tuple(kept.values()), supercategories=tuple(kinds[name] for name in kept)
        )
        self.cat_ids = [category['id'] for category in content['categories'] if category['name'] in kept]
        self.cat2label = {category_id: label for label, category_id in enumerate(self.cat_ids)}

        annotations, self.cat_img_map = defaultdict(list), defaultdict(list)
        for annotation in content['annotations']:
            if annotation['category_id'] in self.cat2label:
                annotations[annotation['image_id']].append(annotation)
                self.cat_img_map[annotation['category_id']].append(annotation['image_id'])
        captions = self._load_captions()

        data_list = []
        for image in content['images']:
            info = self.parse_data_info(
                dict(raw_img_info={**image, 'img_id': image['id']}, raw_ann_info=annotations[image['id']])
            )
            if captions is not None:
                info['captions'] = captions[image['id']]
            if self.gt_label:
                if len(info['instances']) != 1:
                    raise ValueError(
                        f'gt_label needs exactly one instance an image, but image {image["id"]} '
                        f'({info["img_path"]}) of "{self.ann_file}" has {len(info["instances"])} '
                        'of the kept classes'
                    )
                info['gt_label'] = info['instances'][0]['bbox_label']
            data_list.append(info)
        if self._defects:
            defects = ', '.join(f'{count} {what}' for what, count in sorted(self._defects.items()))
            print_log(f'Boxes in "{self.ann_file}": {defects}', 'current', logging.WARNING)
        return self.readable(data_list)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image, with small boxes dropped and others clipped."""
        image = raw_data_info['raw_img_info']
        cleaned = [self._clean(annotation, image) for annotation in raw_data_info['raw_ann_info']]
        return super().parse_data_info({**raw_data_info, 'raw_ann_info': [item for item in cleaned if item]})

    def _clean(self, annotation: dict, image: dict) -> dict | None:
        x, y, w, h = map(float, annotation['bbox'])
        if w <= 0 or h <= 0:
            self._defects['dropped without a positive size'] += 1
            return None
        x1, y1 = max(x, 0), max(y, 0)
        w1, h1 = min(x + w, image['width']) - x1, min(y + h, image['height']) - y1
        if w1 <= 0 or h1 <= 0:
            self._defects['dropped outside their image'] += 1
            return None
        if w1 < 1 or h1 < 1 or annotation['area'] <= 0:
            self._defects['dropped smaller than a pixel'] += 1
            return None
        if max(w - w1, h - h1) > 1:  # COCO's boxes often exceed the border by a fraction of a pixel
            self._defects['clipped to their image'] += 1
        return {**annotation, 'bbox': [x1, y1, w1, h1]}

    def _check_folders(self) -> None:
        if self.data_root and not os.path.isdir(self.data_root):
            raise FileNotFoundError(
                f'data_root "{self.data_root}" is not a folder; put or link the data set there, or '
                'set data_root to where it is'
            )
        if self.data_root and not os.listdir(self.data_root):
            raise FileNotFoundError(
                f'data_root "{self.data_root}" is empty; put the data set there, or set data_root to where it is'
            )
        if 'img' not in self.data_prefix:
            raise ValueError(
                f'data_prefix must name the image folder, as in dict(img="train2017/"), got {dict(self.data_prefix)}'
            )
        if self.backend_args is None and not os.path.isdir(self.data_prefix['img']):
            raise FileNotFoundError(
                f'image folder "{self.data_prefix["img"]}" does not exist; check data_root and data_prefix'
            )

    def _kept_classes(self, categories: list[dict]) -> dict[str, str]:
        """Return the group of each kept class, in the file's order."""
        names = [category['name'] for category in categories]
        if self.vocabulary is None or self.general:
            groups = {category['name']: category.get('group') or 'base' for category in categories}
        else:
            groups = class_groups(self.vocabulary, categories)
        if self.groups is not None:
            check_known(self.groups, sorted(set(groups.values())), f'groups of "{self.ann_file}"')
        wanted = self._metainfo.get('classes', names)
        check_known(wanted, names, f'metainfo classes, against "{self.ann_file}"')
        kept = {
            name: groups[name]
            for name in names
            if name in groups and name in wanted and (self.groups is None or groups[name] in self.groups)
        }
        if not kept:
            raise ValueError(
                f'no class of "{self.ann_file}" is left with groups={self.groups}, vocabulary={self.vocabulary}'
            )
        return kept

    def _load_captions(self) -> dict[int, list[str]] | None:
        if self.caption_file is None:
            return None
        path = os.path.join(self.data_root or '', self.caption_file)
        captions = defaultdict(list)
        for record in load_coco(path, CAPTION_FIELDS)['annotations']:
            captions[record['image_id']].append(record['caption'].strip())
        return captions
