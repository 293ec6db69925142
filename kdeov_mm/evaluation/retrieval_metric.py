"""Retrieval of images by text and of texts by image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmyolo.registry import METRICS
from torch import Tensor

from . import pictures
from .base import TIE, EmbeddingMetric, check_same_dimension

AP_DEPTH = 10  # of mAP@10
BLOCK = 128  # queries whose similarities are in memory at one time
NUM_EXAMPLES = 6  # queries, and images, kept for the pictures


@METRICS.register_module()
class RetrievalMetric(EmbeddingMetric):
    """Retrieval of images by text (t2i) and of texts by image (i2t): recall at k, median rank, mAP@10.

    The right answer to a caption is the image it was written for; to an image, any of its captions, of which
    there may be any number. Candidates that score the same as the right one count as ranked before it; so
    does another image's caption of the same wording. Images without captions stay in the gallery and ask
    no question. The keys of either direction are

    - ``R@{k}``: the ratio of queries with a right answer among the first k;
    - ``median_rank`` of the first right answer, from 1; the mean of two middle ranks, rounded down;
    - ``mAP@10``: the mean of ``sum of precision at each right answer in the first 10 / min(right answers, 10)``.

    ``chance`` is what a random order reaches. Needs each data sample's ``captions`` (list of str).

    Args:
        text_encoder: Config of the text encoder, None for the tested model's own.
        templates: Prompt templates; captions need none.
        topk: The values of k.
        fold_size: Evaluate in folds of about so many images, in the data set's order, and average over them: 1000
            is the 1k protocol of COCO's 5,000 test images (Karpathy and Fei-Fei 2015), the batch size gives accuracy
            within batches. None: all images are one gallery.
        queries: Texts for the picture; one that is a caption has its images framed. None: captions spread evenly.
        num_answers: Answers shown of each.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.EmbeddingMetric`.

    Raises:
        ValueError: If a number is not positive, or ``queries`` is not a list of texts.

    Examples:
        >>> RetrievalMetric.calculate(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), topk=[1])['t2i/R@1']
        1.0
    """

    default_prefix = 'retrieval'

    def __init__(
        self,
        text_encoder: dict | None = None,
        templates: str | Sequence[str] = 'none',
        topk: Sequence[int] = (1, 5, 10),
        fold_size: int | None = None,
        queries: Sequence[str] | None = None,
        num_answers: int = 5,
        **kwargs,
    ) -> None:
        for name, value in (('fold_size', fold_size), ('num_answers', num_answers)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if isinstance(queries, str) or queries is not None and not queries:
            raise ValueError(f'queries must be a list of texts or None, got {queries!r}')
        super().__init__(text_encoder, templates, **kwargs)
        self.topk, self.fold_size = topk, fold_size
        self.queries, self.num_answers = queries, num_answers

    def read_target(self, sample: dict) -> dict:
        """Read the image's captions.

        Raises:
            ValueError: If the data sample has no list of texts.
        """
        captions = sample.get('captions')
        if captions is None:
            raise ValueError(
                f'{sample.get("img_path")}: the data sample has no captions; set caption_file in the data '
                "set and 'captions' in PackDetInputs' meta_keys"
            )
        if isinstance(captions, str) or not all(isinstance(text, str) and text.strip() for text in captions):
            raise ValueError(f'{sample.get("img_path")}: captions must be non-empty strings, got {captions!r}')
        return dict(captions=list(captions))

    @staticmethod
    def calculate(
        images: Tensor, texts: Tensor, gt_index: Tensor, topk: Sequence[int] = (1, 5, 10), block_size: int = BLOCK
    ) -> dict[str, float]:
        """Recall at k, median rank and mAP@10 in both directions.

        Args:
            images: ``[N, D]``.
            texts: ``[M, D]``.
            gt_index: int64 ``[M]``, the index of the image that each text was written for.
            topk: The values of k.
            block_size: Rows of the similarity matrix in memory at one time.

        Returns:
            dict: ``{t2i, i2t}/{R@k, median_rank, mAP@10}``.
        """
        check_same_dimension(images, texts)
        images, texts = (F.normalize(rows.double(), dim=-1) for rows in (images, texts))
        everyone, asking = torch.arange(len(images)), gt_index.unique()
        ranked = dict(
            t2i=rank_answers(texts, images, gt_index, everyone, block_size),
            i2t=rank_answers(images[asking], texts, asking, gt_index, block_size),
        )
        return {
            f'{direction}/{name}': value
            for direction, (before, right) in ranked.items()
            for name, value in summarise(before, right, topk).items()
        }

    @staticmethod
    def chance(num_images: int, gt_index: Tensor, topk: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Compute the exact metrics of a random order; arguments as in :meth:`calculate`."""
        own = gt_index.bincount()
        return {
            f'{direction}/{name}': value
            for direction, right, candidates in (
                ('t2i', torch.ones(1), num_images),
                ('i2t', own[own > 0], len(gt_index)),
            )
            for name, value in summarise_chance(right.double(), candidates, topk).items()
        }

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Compute the metrics of student, teacher and chance: means over the folds."""
        captions = [text for result in results for text in result['captions']]
        if not captions:
            raise ValueError(f'RetrievalMetric: none of the {len(results)} images has a caption')
        gt_index = torch.tensor([i for i, result in enumerate(results) for _ in result['captions']])
        texts = self.embed_repeated(captions)
        embeddings = self.stack(results)
        folds: dict[str, list[dict]] = {role: [] for role in (*embeddings, 'chance')}
        for members in torch.arange(len(results)).tensor_split(self.num_folds(len(results))):
            start, end = members[0].item(), members[-1].item() + 1
            asking = (gt_index >= start) & (gt_index < end)
            if not asking.any():
                continue
            own = gt_index[asking] - start
            for role, images in embeddings.items():
                folds[role].append(self.calculate(images[start:end], texts[asking], own, self.topk))
            folds['chance'].append(self.chance(end - start, own, self.topk))
        self.find_examples(results, captions, embeddings['student'], texts, gt_index)
        return {
            role: {name: sum(each[name] for each in values) / len(values) for name in values[0]}
            for role, values in folds.items()
        }

    def num_folds(self, num_images: int) -> int:
        """Return the number of folds closest to ``fold_size``, at least one."""
        return max(round(num_images / self.fold_size), 1) if self.fold_size else 1

    def embed_repeated(self, texts: Sequence[str]) -> Tensor:
        """Embed texts that may be there more than once, ``[M, D]``.

        Raises:
            ValueError: If an embedding is NaN or infinite; names the text.
        """
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        embeddings = self.embed(list(distinct))
        bad = [text for text, row in zip(distinct, embeddings) if not row.isfinite().all()]
        if bad:
            raise ValueError(
                f'the text encoder gives NaN or infinity for {len(bad)} texts, the first is {bad[0]!r}; '
                'its weights are damaged'
            )
        return embeddings[[distinct[text] for text in texts]]

    def find_examples(
        self, results: list[dict], captions: list[str], images: Tensor, texts: Tensor, gt_index: Tensor
    ) -> None:
        """Keep queries with their best answers: texts in ``examples``, images in ``image_examples``."""
        if self.queries is None:
            chosen = spread(len(captions), NUM_EXAMPLES)
            queries, query_texts = [captions[i] for i in chosen], texts[chosen]
        else:
            queries, query_texts = list(self.queries), self.embed_repeated(self.queries)
        images, texts, query_texts = (F.normalize(rows.double(), dim=-1) for rows in (images, texts, query_texts))
        self.examples = []
        for query, row in zip(queries, query_texts @ images.T):
            own = sorted({gt_index[i].item() for i, text in enumerate(captions) if text == query})
            rank = None
            if own:
                before = row >= row[own].max() - TIE
                before[own] = False
                rank = before.sum().item() + 1
            self.examples.append(
                dict(
                    query=query,
                    rank=rank,
                    answers=[
                        dict(img_path=results[i]['img_path'], score=row[i].item(), hit=i in own)
                        for i in row.topk(min(self.num_answers, len(images))).indices.tolist()
                    ],
                )
            )
        self.image_examples = []
        asking = gt_index.unique()
        for image in asking[spread(len(asking), NUM_EXAMPLES)].tolist():
            scores = images[image] @ texts.T
            self.image_examples.append(
                dict(
                    img_path=results[image]['img_path'],
                    answers=[
                        dict(text=captions[i], score=scores[i].item(), hit=gt_index[i].item() == image)
                        for i in scores.topk(min(self.num_answers, len(texts))).indices.tolist()
                    ],
                )
            )

    def draw(self, out_dir: Path) -> list[Path]:
        """Draw queries with the images found, hits framed, and images with the texts found."""
        return [
            pictures.retrieval_grid(self.examples, out_dir / f'{self.task}_grid.png'),
            pictures.caption_list(self.image_examples, out_dir / f'{self.task}_captions.png'),
        ]


def spread(number: int, wanted: int) -> list[int]:
    """Indices of at most ``wanted`` of ``number`` things, spread evenly from the first to the last."""
    return torch.linspace(0, number - 1, min(wanted, number)).long().tolist()


def rank_answers(
    queries: Tensor, candidates: Tensor, query_ids: Tensor, candidate_ids: Tensor, block_size: int
) -> tuple[Tensor, Tensor]:
    """Count the wrong candidates ranked before each right one; ties count against it.

    Args:
        queries: Normalised, float64 ``[Q, D]``.
        candidates: Normalised, float64 ``[C, D]``.
        query_ids, candidate_ids: ``[Q]``, ``[C]``; a candidate is right where the ids are equal. Each query has one.
        block_size: Queries whose similarities are in memory at one time.

    Returns:
        tuple: int64 ``[Q, R]``, the wrong candidates before the r-th best right one (C where there is no r-th one; R is
        at most ``AP_DEPTH``), and how many right ones each query has, int64 ``[Q]``.
    """
    max_right = min(int(candidate_ids.unique(return_counts=True)[1].max()), AP_DEPTH)
    # Made beforehand: small tensors kept between the large ones would leave holes in memory that nothing fits.
    before = torch.empty(len(queries), max_right, dtype=torch.long)
    right = torch.empty(len(queries), dtype=torch.long)
    for block in torch.arange(len(queries)).split(block_size):
        scores = queries[block] @ candidates.T
        own = query_ids[block, None] == candidate_ids
        best = scores.masked_fill(~own, -torch.inf).topk(max_right).values  # of right ones, best first
        scores.masked_fill_(own, -torch.inf)
        for r, level in enumerate(best.T):
            wrong = (scores >= level[:, None] - TIE).sum(1)
            before[block, r] = wrong.masked_fill(level == -torch.inf, len(candidates))
        right[block] = own.sum(1)
    return before, right


def summarise(before: Tensor, right: Tensor, topk: Sequence[int]) -> dict[str, float]:
    """Recall at k, median rank and mAP@10 from what :func:`rank_answers` gives."""
    first, number = before[:, 0], torch.arange(1, before.shape[1] + 1)
    rank = before + number
    precision = (number.double() / rank).masked_fill(rank > AP_DEPTH, 0)
    return {
        **{f'R@{k}': (first < k).double().mean().item() for k in topk},
        'median_rank': float(np.floor(np.median(first.numpy())) + 1),
        f'mAP@{AP_DEPTH}': (precision.sum(1) / right.clamp(max=AP_DEPTH)).mean().item(),
    }


def summarise_chance(right: Tensor, candidates: int, topk: Sequence[int]) -> dict[str, float]:
    """Compute the metrics of a random order of C candidates with ``right`` ``[Q]`` (float64) right ones a query.

    All are exact: the probability that the first k hold none is hypergeometric, ``C(C - R, k) / C(C, k)``, and the
    candidates at two places are both right with probability ``R (R - 1) / (C (C - 1))``.
    """
    missed, found = torch.ones_like(right), []
    while not found or len(found) < max(*topk, 1) or found[-1] < 0.5:  # found[k - 1] is the recall at k
        drawn = len(found)
        missed = missed * ((candidates - right - drawn) / max(candidates - drawn, 1)).clamp(min=0)
        found.append(round((1 - missed).mean().item(), 12))  # without what rounding leaves
    places = torch.arange(1, min(AP_DEPTH, candidates) + 1).double()
    fraction = right / candidates
    both = fraction * (right - 1) / max(candidates - 1, 1)
    precision = (fraction[:, None] + both[:, None] * (places - 1)) / places  # at a right answer, times its probability
    return {
        **{f'R@{k}': found[k - 1] for k in topk},
        'median_rank': 1.0 + next(k for k, recall in enumerate(found) if recall >= 0.5),
        f'mAP@{AP_DEPTH}': (precision.sum(1) / right.clamp(max=AP_DEPTH)).mean().item(),
    }
