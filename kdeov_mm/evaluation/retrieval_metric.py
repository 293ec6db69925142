"""Retrieval of images by text and of texts by image."""
from pathlib import Path
from typing import Dict, List, Sequence, Union

import torch
from mmyolo.registry import METRICS
from torch import Tensor

from . import pictures
from .base import EmbeddingMetric, check_same_dimension, pessimistic_rank, similarity


@METRICS.register_module()
class RetrievalMetric(EmbeddingMetric):
    """Recall at k of text-to-image (t2i) and image-to-text (i2t) retrieval.

    The right answer to a caption is the image it was written for; to an image, any of its captions, of which
    there may be any number. Candidates that score the same as the right one count as ranked before it; so
    does another image's caption of the same wording. Images without captions stay in the gallery and ask
    no question. Chance is exact: k / N for t2i, and for i2t the mean over images of the hypergeometric
    probability that k of all captions hold at least one of the image's own. Needs each data sample's
    ``captions`` (list of str).

    Args:
        text_encoder: Config of the text encoder.
        templates: Prompt templates; captions need none.
        topk: The values of k.
        block_size: Queries whose similarities are in memory at one time.
        num_examples: Queries kept for the picture.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.EmbeddingMetric`.

    Examples:
        >>> RetrievalMetric.calculate(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), topk=[1])
        {'t2i/R@1': 1.0, 'i2t/R@1': 1.0}
    """

    default_prefix = 'retrieval'

    def __init__(self,
                 text_encoder: dict,
                 templates: Union[str, Sequence[str]] = 'none',
                 topk: Sequence[int] = (1, 5, 10),
                 block_size: int = 512,
                 num_examples: int = 6,
                 **kwargs) -> None:
        super().__init__(text_encoder, templates, **kwargs)
        self.topk, self.block_size, self.num_examples = topk, block_size, num_examples

    def read_target(self, sample: dict) -> dict:
        """The image's captions.

        Raises:
            ValueError: The data sample has no list of texts.
        """
        captions = sample.get('captions')
        if captions is None:
            raise ValueError(
                f'{sample.get("img_path")}: the data sample has no captions; set caption_file in the data '
                "set and 'captions' in PackDetInputs' meta_keys")
        if isinstance(captions, str) or not all(isinstance(text, str) and text.strip() for text in captions):
            raise ValueError(
                f'{sample.get("img_path")}: captions must be non-empty strings, got {captions!r}')
        return dict(captions=list(captions))

    @staticmethod
    def calculate(images: Tensor,
                  texts: Tensor,
                  owner: Tensor,
                  topk: Sequence[int] = (1, 5, 10),
                  block_size: int = 512) -> Dict[str, float]:
        """Recall at k in both directions.

        Args:
            images: ``[N, D]``.
            texts: ``[M, D]``.
            owner: int64 ``[M]``, the index of the image that each text was written for.
            topk: The values of k.
            block_size: Rows of the similarity matrix in memory at one time.

        Returns:
            dict: ``t2i/R@{k}`` and ``i2t/R@{k}`` in [0, 1].
        """
        check_same_dimension(images, texts)
        asking = owner.unique()
        ranks: Dict[str, List[Tensor]] = dict(t2i=[], i2t=[])
        for block in torch.arange(len(texts)).split(block_size):
            scores = similarity(texts[block], images)
            ranks['t2i'].append(pessimistic_rank(scores, scores.gather(1, owner[block, None])[:, 0]))
        for block in asking.split(block_size):
            scores, own = similarity(images[block], texts), owner == block[:, None]
            ranks['i2t'].append(pessimistic_rank(scores, scores.masked_fill(~own, -2.).amax(1), own))
        return {
            f'{direction}/R@{k}': (torch.cat(rank) < k).double().mean().item()
            for direction, rank in ranks.items()
            for k in topk
        }

    @staticmethod
    def chance(num_images: int, owner: Tensor, topk: Sequence[int] = (1, 5, 10)) -> Dict[str, float]:
        """What a random order reaches; arguments as in :meth:`calculate`."""
        num_texts = len(owner)
        own = owner.bincount()
        own = own[own > 0].double()
        recall = {f't2i/R@{k}': min(k / num_images, 1.) for k in topk}
        for k in topk:
            missed = torch.ones_like(own)
            for drawn in range(min(k, num_texts)):  # C(M - own, k) / C(M, k), one draw at a time
                missed *= ((num_texts - own - drawn) / (num_texts - drawn)).clamp(min=0)
            recall[f'i2t/R@{k}'] = (1 - missed).mean().item()
        return recall

    def compute_by_role(self, results: List[dict]) -> Dict[str, Dict[str, float]]:
        """Recall of student, teacher and chance."""
        captions = [text for result in results for text in result['captions']]
        if not captions:
            raise ValueError(f'RetrievalMetric: none of the {len(results)} images has a caption')
        owner = torch.tensor([i for i, result in enumerate(results) for _ in result['captions']])
        distinct = {text: i for i, text in enumerate(dict.fromkeys(captions))}
        texts = self.embed(distinct)[[distinct[text] for text in captions]]
        embeddings = self.stack(results)
        values = {
            role: self.calculate(images, texts, owner, self.topk, self.block_size)
            for role, images in embeddings.items()
        }
        values['chance'] = self.chance(len(results), owner, self.topk)
        self.examples = self.find_examples(results, captions, embeddings['student'], texts, owner)
        return values

    def find_examples(self, results: List[dict], captions: List[str], images: Tensor, texts: Tensor,
                      owner: Tensor) -> List[dict]:
        """Queries spread evenly over the data set with their five best images."""
        chosen = torch.linspace(0, len(captions) - 1, min(self.num_examples, len(captions))).long()
        best = similarity(texts[chosen], images).topk(min(5, len(images)))
        return [
            dict(
                query=captions[query],
                answers=[
                    dict(img_path=results[i]['img_path'], score=score, hit=i == owner[query].item())
                    for i, score in zip(row.tolist(), scores.tolist())
                ]) for query, row, scores in zip(chosen.tolist(), best.indices, best.values)
        ]

    def draw(self, out_dir: Path) -> List[Path]:
        """Draw queries with the images found, hits framed."""
        return [pictures.retrieval_grid(self.examples, out_dir / f'{self.task}_grid.png')]
