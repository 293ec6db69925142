"""Results of detection: boxes with class names and scores."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from .drawing import draw_boxes
from .results import ImageResult, ImageSource, need

CORNERS = ('x1', 'y1', 'x2', 'y2')
DTYPES = dict(boxes=np.float32, scores=np.float32, labels=np.int64)


@dataclass
class Detections(ImageResult):
    """Holds the objects detected in one image, best first.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the image, float32 ``[M, 4]``.
        scores: float32 ``[M]`` in [0, 1].
        labels: Indices into ``class_names``, int64 ``[M]``.
        class_names: The K given class names.
        height, width: Size of the image in pixels.
        image: The image, or None.

    Raises:
        ValueError: If boxes, scores and labels have other shapes, or a label is no index into ``class_names``.
    """

    columns = ('image', 'name', 'score', *CORNERS)

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: list[str] = field(repr=False)
    height: int
    width: int
    image: ImageSource | None = None

    def __post_init__(self) -> None:
        for name, dtype in DTYPES.items():
            setattr(self, name, np.asarray(getattr(self, name), dtype))
        count = len(self.boxes)
        for name, shape in dict(boxes=(count, 4), scores=(count,), labels=(count,)).items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f'{name}: must be {list(shape)} for {count} boxes, got {list(getattr(self, name).shape)}'
                )
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f'labels: must be from 0 to {len(self.class_names) - 1}, indices into class_names, got '
                f'{self.labels.min()} to {self.labels.max()}'
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class name of each box."""
        return [self.class_names[label] for label in self.labels]

    @property
    def vocabulary(self) -> list[str]:
        """The old name of ``class_names``."""
        return self.class_names

    def above(self, score_threshold: float | np.ndarray) -> 'Detections':
        """Return the detections whose score is at least ``score_threshold``, a number or one for each class ``[K]``."""
        threshold = np.asarray(score_threshold)
        keep = self.scores >= (threshold[self.labels] if threshold.ndim else score_threshold)
        return Detections(
            self.boxes[keep],
            self.scores[keep],
            self.labels[keep],
            self.class_names,
            self.height,
            self.width,
            self.image,
        )

    def to_supervision(self):
        """Return ``supervision.Detections`` with the class names in ``data['class_name']``; needs supervision."""
        return need('supervision').Detections(
            xyxy=self.boxes.reshape(-1, 4),
            confidence=self.scores,
            class_id=self.labels,
            data=dict(class_name=np.array(self.names, dtype=object)),
        )

    def to_coco(self) -> dict[str, list]:
        """Return the content of a COCO annotation file with this image alone, see :meth:`add_to_coco`."""
        content: dict[str, list] = dict(images=[], categories=[], annotations=[])
        self.add_to_coco(content)
        return content

    def add_to_coco(self, content: dict[str, list]) -> None:
        """Add the image and its boxes to the content of a COCO annotation file.

        Ids of images and categories count from 0, ids of annotations from 1. Each annotation has a ``score``.

        Raises:
            ValueError: If the content has other class names.
        """
        categories = [dict(id=i, name=name) for i, name in enumerate(self.class_names)]
        if content['images'] and content['categories'] != categories:
            raise ValueError('to_coco: the results have different class names; write one file for each vocabulary')
        content['categories'] = categories
        image_id = len(content['images'])
        content['images'].append(dict(id=image_id, file_name=self.image_name, width=self.width, height=self.height))
        for (x1, y1, x2, y2), label, score in zip(self.boxes, self.labels, self.scores):
            bbox = [round(float(value), 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image_id,
                    category_id=int(label),
                    bbox=bbox,
                    area=round(bbox[2] * bbox[3], 2),
                    iscrowd=0,
                    score=round(float(score), 4),
                )
            )

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict for each box: image, name, score and corners in pixels."""
        return [
            dict(image=self.image_name, name=name, score=float(score), **dict(zip(CORNERS, box)))
            for name, score, box in zip(self.names, self.scores, self.boxes.tolist())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return dict(
            image=self.image_name,
            height=self.height,
            width=self.width,
            detections=[{key: value for key, value in row.items() if key != 'image'} for row in self.rows()],
        )

    def draw(self) -> Image.Image:
        """Draw the image with boxes, class names and scores."""
        captions = [f'{name} {score:.2f}' for name, score in zip(self.names, self.scores)]
        return draw_boxes(self.pixels(), self.boxes, self.labels, captions)
