"""A model and a teacher that are arithmetic."""

import numpy as np

from kdeov_mm.structures import Detections


class Colours:
    """In place of a backend and the teacher: an image's embedding is its mean colour, a name's is that colour."""

    folded = None
    embed_dims = 3
    image_competitors = None

    def embed_names(self, names, templates=None, embeddings=None):
        return np.eye(3, dtype=np.float32)[[('red', 'green', 'blue').index(name) for name in names]]

    def as_array(self, texts):
        return texts

    def embed_text(self, text):
        return self.embed_names([text])[0]

    def embed(self, images):
        means = np.stack([np.asarray(image, dtype=np.float32).reshape(-1, 3).mean(axis=0) for image in images])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_image(self, image):
        return self.embed([image])

    def encode_regions(self, image, boxes):
        crops = [image[int(y1) : int(y2), int(x1) : int(x2)] for x1, y1, x2, y2 in boxes]
        return self.embed(crops) if crops else np.zeros((0, 3), np.float32)

    def detect(self, images, names, texts, score_threshold):
        """One box, of the left half, with the second name."""
        boxes = [np.array([[0, 0, image.shape[1] // 2, image.shape[0]]], np.float32) for image in images]
        score, label = np.array([0.6], np.float32), np.array([1])
        return [
            Detections(box, score, label, names, *image.shape[:2]).above(score_threshold)
            for box, image in zip(boxes, images)
        ]
