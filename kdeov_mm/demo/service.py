"""The functions of the demo's tabs, independent of the web page."""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdeov_mm.apis import InputImage, KDEOVInferencer
from kdeov_mm.apis.inferencer import matches
from kdeov_mm.structures import ClassificationResult, Detections, SearchResult, softmax
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.image_files import open_image
from .uploads import Limits, read_query, read_upload, read_class_names

THUMBNAIL_PIXELS = 2**20  # thumbnails of an index are smaller


@dataclass
class Demo:
    """Runs the demo's models within its limits.

    Attributes:
        inferencer: Inferencer with exported image encoder, open detector and text encoder.
        store: The images to search, a ``kdeov_mm.search.ImageStore``, or None.
        teacher: A :class:`~kdeov_mm.demo.teacher.Teacher`, or None.
        limits: Limits of the inputs.
    """

    inferencer: KDEOVInferencer
    store: Any | None = None
    teacher: Any | None = None
    limits: Limits = field(default_factory=Limits)

    def detect(self, path: str, words: str, threshold: float) -> tuple[Detections, Detections | None, str]:
        """Detect objects in an uploaded image.

        Returns:
            tuple: The student's detections; the same boxes with the teacher's class names and probabilities, or None;
            one line with the latency.

        Raises:
            ValueError: If an input is invalid; the message is for the visitor.
        """
        image, names = self.read_image(path), read_class_names(words, self.limits)
        class_embeddings = self.inferencer.embed_names(names)
        start = time.perf_counter()
        (student,) = self.inferencer.detect(image, names, threshold)
        summary = f'{len(student)} detected in {student.width} x {student.height} pixels: {milliseconds(start)}'
        if not self.teacher:
            return student, None, summary
        start = time.perf_counter()
        probabilities = softmax(self.teacher.encode_regions(image.read(), student.boxes) @ class_embeddings.T)
        summary += f'; teacher, of these boxes: {milliseconds(start)}'
        teacher = replace(student, labels=probabilities.argmax(axis=1), scores=probabilities.max(axis=1, initial=0))
        return student, teacher, summary

    def classify(self, path: str, words: str) -> tuple[ClassificationResult, ClassificationResult | None, str]:
        """Classify an uploaded image.

        Returns:
            tuple: Probabilities of all class names by the student, and by the teacher or None; one line with the
            latency.

        Raises:
            ValueError: See :meth:`detect`.
        """
        image, names = self.read_image(path), read_class_names(words, self.limits)
        class_embeddings = self.inferencer.embed_names(names)
        start = time.perf_counter()
        (student,) = self.inferencer.classify(image, names, top=len(names))
        summary = f'Student: {milliseconds(start)}'
        if not self.teacher:
            return student, None, summary
        start = time.perf_counter()
        probabilities = softmax(self.teacher.encode_image(image.read()) @ class_embeddings.T)
        summary += f'; teacher: {milliseconds(start)}'
        (teacher,) = ClassificationResult.top(probabilities, names, len(names), [image])  # has no "none of these"
        return student, teacher, summary

    def search(
        self, words: str, path: str | None = None, top: int = 12, threshold: float = 0.0
    ) -> tuple[SearchResult, str]:
        """Find images of the index by a text, with at least a probability, or by an image.

        Returns:
            tuple: The best thumbnails, with file names but without folders; one line with the latency.

        Raises:
            ValueError: See :meth:`detect`.
        """
        if self.store is None:
            raise ValueError('There is no folder to search: the demo was started without one.')
        image = self.read_image(path) if path else None
        query = image.name if image else read_query(words, self.limits)
        start = time.perf_counter()
        vector = self.inferencer.embed(image).embeddings[0] if image else self.inferencer.embed_text(query)
        rows = self.store.search(vector, top)
        competitors = None if image else self.inferencer.backend.image_competitors
        presence = None if competitors is None else partial(competitors.presence, text=vector, query=query)
        result = SearchResult(query, matches(rows, [thumbnail(row) for row in rows], presence))
        if presence is not None:
            result = result.above(threshold)
        found = f'{len(result)} of {len(self.store)} images' if len(result) else 'No image matches'
        return result, f'{found}: {milliseconds(start)}'

    def read_image(self, path: str | None) -> InputImage:
        """Read an uploaded image; raise ValueError if it is invalid."""
        return InputImage('upload', pixels=read_upload(path, self.limits))


def thumbnail(row: dict) -> InputImage:
    """Return the thumbnail of a row of the index, or a grey picture if it is invalid, with the file name only."""
    picture = Image.new('RGB', (160, 120), 'grey')
    try:
        image = open_image(row['thumbnail'])
        if image.width * image.height <= THUMBNAIL_PIXELS:
            picture = image.convert('RGB')  # decodes it
    except Exception:  # Pillow raises anything
        pass
    return InputImage(printable(Path(row['path']).name), pixels=np.asarray(picture))


def milliseconds(start: float) -> str:
    """Format the time since ``start``, a value of ``time.perf_counter``."""
    return f'{1000 * (time.perf_counter() - start):.0f} ms'
