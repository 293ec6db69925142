"""What the demo's tabs do, without the web around it."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
from PIL import Image

from kdeov_mm.apis import InputImage, KDEOVInferencer
from kdeov_mm.structures import ClassificationResult, Detections, Match, SearchResult, softmax
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.image_files import open_image
from .uploads import Limits, read_query, read_upload, read_words

THUMBNAIL_PIXELS = 2**20  # those of an index have less


@dataclass
class Demo:
    """The demo's models and limits.

    Attributes:
        inferencer: With exported image encoder, open detector and text encoder.
        store: The images to search, a ``kdeov_mm.search.ImageStore``, or None.
        teacher: A :class:`~kdeov_mm.demo.teacher.Teacher`, or None.
        limits: What visitors may give.
    """

    inferencer: KDEOVInferencer
    store: Optional[Any] = None
    teacher: Optional[Any] = None
    limits: Limits = field(default_factory=Limits)

    def detect(self, path: str, words: str, threshold: float) -> Tuple[Detections, Optional[Detections], str]:
        """Detect class names in a visitor's image.

        Returns:
            tuple: The student's detections; the same boxes with the teacher's class names and probabilities, or None;
            one line with the latency.

        Raises:
            ValueError: If something is wrong with what the visitor gave; the message is for the visitor.
        """
        image, names = self.read_image(path), read_words(words, self.limits)
        texts = self.inferencer.embed_names(names)
        start = time.perf_counter()
        (student,) = self.inferencer.detect(image, names, threshold)
        summary = (
            f'{len(student) or "Nothing"} found in {student.width} x {student.height} pixels: {milliseconds(start)}'
        )
        if not self.teacher:
            return student, None, summary
        start = time.perf_counter()
        probabilities = softmax(self.teacher.encode_regions(image.read(), student.boxes) @ texts.T)
        summary += f'; teacher, of these boxes: {milliseconds(start)}'
        teacher = replace(student, labels=probabilities.argmax(axis=1), scores=probabilities.max(axis=1, initial=0))
        return student, teacher, summary

    def classify(self, path: str, words: str) -> Tuple[ClassificationResult, Optional[ClassificationResult], str]:
        """Classify a visitor's image.

        Returns:
            tuple: Probabilities of all class names by the student, and by the teacher or None; one line with the
            latency.

        Raises:
            ValueError: See :meth:`detect`.
        """
        image, names = self.read_image(path), read_words(words, self.limits)
        texts = self.inferencer.embed_names(names)
        start = time.perf_counter()
        (student,) = self.inferencer.classify(image, names, top=len(names))
        summary = f'Student: {milliseconds(start)}'
        if not self.teacher:
            return student, None, summary
        start = time.perf_counter()
        probabilities = softmax(self.teacher.encode_image(image.read()) @ texts.T)
        summary += f'; teacher: {milliseconds(start)}'
        (teacher,) = ClassificationResult.top(probabilities, names, len(names), [image])
        return student, teacher, summary

    def search(self, words: str, path: Optional[str] = None, top: int = 12) -> Tuple[SearchResult, str]:
        """Find images of the index by words, or like an image.

        Returns:
            tuple: The thumbnails that fit best, named by their files, not by their folders; one line with the latency.

        Raises:
            ValueError: See :meth:`detect`.
        """
        if self.store is None:
            raise ValueError('There is no folder to search: whoever started this demo gave none.')
        image = self.read_image(path) if path else None
        query = image.name if image else read_query(words, self.limits)
        start = time.perf_counter()
        vector = self.inferencer.embed(image).embeddings[0] if image else self.inferencer.embed_text(query)
        rows = self.store.search(vector, top)
        summary = f'{len(rows)} of {len(self.store)} images: {milliseconds(start)}'
        return SearchResult(query, [Match(thumbnail(row), row['score']) for row in rows]), summary

    def read_image(self, path: Optional[str]) -> InputImage:
        """Read a visitor's upload; ValueError says what is wrong with it."""
        return InputImage('upload', pixels=read_upload(path, self.limits))


def thumbnail(row: dict) -> InputImage:
    """Return the small picture in a row of the index, or a grey one if none can be read, named by the file alone."""
    picture = Image.new('RGB', (160, 120), 'grey')
    try:
        image = open_image(row['thumbnail'])
        if image.width * image.height <= THUMBNAIL_PIXELS:
            picture = image.convert('RGB')  # reads it
    except Exception:  # Pillow raises anything
        pass
    return InputImage(printable(Path(row['path']).name), pixels=np.asarray(picture))


def milliseconds(start: float) -> str:
    """Since a time of ``time.perf_counter``."""
    return f'{1000 * (time.perf_counter() - start):.0f} ms'
