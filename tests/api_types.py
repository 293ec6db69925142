"""The types that users of the API see; mypy checks this file, nothing runs it."""

from typing import Iterator

from typing_extensions import assert_type

from kdeov_mm.apis import (
    ClassificationResult,
    Detections,
    EmbeddingResult,
    KDEOVInferencer,
    Results,
    SearchResult,
)

inferencer = KDEOVInferencer('kdeov_yolov8n')
assert_type(inferencer.detect('a.jpg', ['dog']), Results[Detections])
assert_type(inferencer.detect('a.jpg', ['dog'], stream=True), Iterator[Detections])
assert_type(inferencer.classify('a.jpg', ['dog'])[0], ClassificationResult)
assert_type(inferencer.classify('a.jpg', stream=True), Iterator[ClassificationResult])
assert_type(inferencer.embed('a.jpg'), EmbeddingResult)
assert_type(inferencer.embed('a.jpg', stream=True), Iterator[EmbeddingResult])
assert_type(inferencer.search('a dog', 'photos'), SearchResult)
