"""What the demo's tabs do, without the web around it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from PIL import Image

from kdeov_mm.deploy.runtime import Runtime
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.image_files import open_image
from .drawing import draw_boxes
from .uploads import Limits, read_query, read_upload, read_words

THUMBNAIL_PIXELS = 2**20  # those of an index have less
SCALE = 100.0  # from cosine similarity to logit, as in CLIP; for student and teacher


@dataclass
class Detected:
    """What was found in an image.

    Attributes:
        picture: The image with boxes.
        teacher_picture: The same boxes with the teacher's names, or None.
        rows: Name, score and box of each, and the teacher's name and its probability if there is one.
        summary: One line with the latency.
    """

    picture: Image.Image
    teacher_picture: Optional[Image.Image]
    rows: List[list]
    summary: str


@dataclass
class Classified:
    """How well names fit an image: probabilities of the student's and the teacher's, and one line with the latency."""

    student: Dict[str, float]
    teacher: Optional[Dict[str, float]]
    summary: str


@dataclass
class Found:
    """Images that fit a query, as pairs of picture and caption, best first, and one line with the latency."""

    images: List[Tuple[Image.Image, str]]
    summary: str


@dataclass
class Demo:
    """The demo's models and limits.

    Attributes:
        runtime: Exported image encoder, open detector and text encoder.
        store: The images to search, a ``kdeov_mm.search.ImageStore``, or None.
        teacher: A :class:`~kdeov_mm.demo.teacher.Teacher`, or None.
        limits: What visitors may give.
    """

    runtime: Runtime
    store: Optional[Any] = None
    teacher: Optional[Any] = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for kind in ('image_encoder', 'open_detector', 'text_encoder'):
            self.runtime.need(kind)

    def detect(self, path: str, words: str, threshold: float) -> Detected:
        """Find names in a visitor's image; ValueError says what is wrong with what was given."""
        image, names = read_upload(path, self.limits), read_words(words, self.limits)
        texts = self.runtime.embed_names(names)
        start = time.perf_counter()
        (found,) = self.runtime.detect([image], names, texts, score_threshold=threshold)
        summary = (
            f'{len(found.scores) or "Nothing"} found in {image.shape[1]} x {image.shape[0]} pixels: '
            f'{milliseconds(start)}'
        )
        rows = [
            [name, round(float(score), 3), ', '.join(f'{side:.0f}' for side in box)]
            for name, score, box in zip(found.names, found.scores, found.boxes)
        ]
        captions = [f'{name} {score:.2f}' for name, score in zip(found.names, found.scores)]
        picture, teacher_picture = draw_boxes(image, found.boxes, found.labels, captions), None
        if self.teacher:
            start = time.perf_counter()
            probabilities = softmax(self.teacher.encode_regions(image, found.boxes) @ texts.T)
            summary += f'; teacher, of these boxes: {milliseconds(start)}'
            labels = probabilities.argmax(axis=1) if len(probabilities) else []
            best = [(names[k], float(row[k])) for k, row in zip(labels, probabilities)]
            rows = [[*row, name, round(probability, 3)] for row, (name, probability) in zip(rows, best)]
            captions = [f'{name} {probability:.2f}' for name, probability in best]
            teacher_picture = draw_boxes(image, found.boxes, labels, captions)
        return Detected(picture, teacher_picture, rows, summary)

    def classify(self, path: str, words: str) -> Classified:
        """Say which names fit a visitor's image; ValueError says what is wrong with what was given."""
        image, names = read_upload(path, self.limits), read_words(words, self.limits)
        texts = self.runtime.embed_names(names)
        start = time.perf_counter()
        (student,) = softmax(self.runtime.encode_image([image]) @ texts.T)
        summary, teacher = f'Student: {milliseconds(start)}', None
        if self.teacher:
            start = time.perf_counter()
            (probabilities,) = softmax(self.teacher.encode_image(image) @ texts.T)
            teacher = dict(zip(names, probabilities.tolist()))
            summary += f'; teacher: {milliseconds(start)}'
        return Classified(dict(zip(names, student.tolist())), teacher, summary)

    def search(self, words: str, path: Optional[str] = None, top: int = 12) -> Found:
        """Find images of the index by words, or like an image; ValueError says what is wrong with what was given."""
        if self.store is None:
            raise ValueError('There is no folder to search: whoever started this demo gave none.')
        if path:
            image = read_upload(path, self.limits)
            start = time.perf_counter()
            (query,) = self.runtime.encode_image([image])
        else:
            words, start = read_query(words, self.limits), time.perf_counter()
            (query,) = self.runtime.encode_text([words])
        found = self.store.search(query, top)
        summary = f'{len(found)} of {len(self.store)} images: {milliseconds(start)}'
        return Found([(thumbnail(row), caption(row)) for row in found], summary)


def thumbnail(row: dict) -> Image.Image:
    """Return the small picture in a row of the index, or a grey one if there is none that can be read."""
    try:
        image = open_image(row['thumbnail'])
        if image.width * image.height <= THUMBNAIL_PIXELS:
            return image.convert('RGB')  # reads it
    except Exception:  # Pillow raises anything
        pass
    return Image.new('RGB', (160, 120), 'grey')


def caption(row: dict) -> str:
    """Return what stands below an image of the folder: its score and its name, not where the folder is."""
    return f'{row["score"]:.3f} {printable(Path(row["path"]).name)}'


def softmax(similarities: np.ndarray) -> np.ndarray:
    """Probabilities of cosine similarities, ``[N, K]``."""
    logits = SCALE * similarities
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def milliseconds(start: float) -> str:
    """Since a time of ``time.perf_counter``."""
    return f'{1000 * (time.perf_counter() - start):.0f} ms'
