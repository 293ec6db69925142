"""A runtime and a teacher that are arithmetic."""

import numpy as np

from kdeov_mm.deploy.runtime import Detections


class Colours:
    """In place of the runtime and the teacher: an image's embedding is its mean colour, a name's is that colour."""

    def need(self, *kinds):
        return kinds

    def embed_names(self, names):
        return np.eye(3, dtype=np.float32)[[('red', 'green', 'blue').index(name) for name in names]]

    encode_text = embed_names

    def encode_image(self, images):
        means = np.stack(
            [
                np.asarray(image, dtype=np.float32).reshape(-1, 3).mean(axis=0)
                for image in (images if isinstance(images, list) else [images])
            ]
        )
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_regions(self, image, boxes):
        crops = [image[int(y1) : int(y2), int(x1) : int(x2)] for x1, y1, x2, y2 in boxes]
        return np.concatenate([self.encode_image(crop) for crop in crops]) if crops else np.zeros((0, 3), np.float32)

    def detect(self, images, names, texts, score_threshold):
        """One box, of the left half, with the second name."""
        height, width = images[0].shape[:2]
        scores = np.array([0.6], np.float32)[: int(score_threshold <= 0.6)]
        return [
            Detections(
                np.array([[0, 0, width // 2, height]], np.float32)[: len(scores)],
                scores,
                np.array([1])[: len(scores)],
                names[1:2][: len(scores)],
            )
        ]
