"""The weighted sum of losses of the image embedding."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmyolo.registry import MODELS
from torch import Tensor, nn

INPUTS = ('student', 'teacher', 'captions', 'vocabulary')


@MODELS.register_module()
class FeatureAlignmentLoss(nn.Module):
    """Adds up losses of the image embedding; each has its own ``loss_weight``.

    A loss is an ``nn.Module`` whose attribute ``inputs`` lists what its forward takes, in order: of ``student``,
    ``teacher``, ``captions`` (all ``[N, D]``) and ``vocabulary`` (``[K, D]``). A loss that takes captions gets
    only the images that have one; N is 0 if none has.

    Args:
        losses: Configs by name; a name whose config is None is skipped. ``distill`` is logged as ``loss_distill``.

    Raises:
        ValueError: If there is no loss, or a loss lists no inputs or unknown ones.

    Examples:
        >>> loss = FeatureAlignmentLoss(dict(distill=dict(type='DistillationLoss')))
        >>> sorted(loss(torch.eye(2), torch.zeros(0, 2), teacher=list(torch.eye(2))))
        ['loss_distill', 'teacher_cosine', 'teacher_cosine_p5']
    """

    def __init__(self, losses: dict[str, dict | None]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in losses.items() if cfg})
        if not self.losses:
            raise ValueError(f'losses: none is left of {list(losses)}; give at least one, or set loss_image=None')
        for name, loss in self.losses.items():
            inputs = getattr(loss, 'inputs', ())
            if not inputs or not set(inputs) <= set(INPUTS):
                raise ValueError(
                    f'losses.{name}: {type(loss).__name__}.inputs is {tuple(inputs)}; '
                    f'list what its forward takes, of {", ".join(INPUTS)}'
                )

    @property
    def inputs(self) -> set[str]:
        """The inputs of all losses."""
        return {name for loss in self.losses.values() for name in loss.inputs}

    def forward(
        self,
        student: Tensor,
        vocabulary: Tensor,
        teacher: Sequence[Tensor | None] = (),
        captions: Sequence[Tensor | None] = (),
    ) -> dict[str, Tensor]:
        """Compute the losses whose inputs are given; a loss leaves out the images without its targets.

        Args:
            student: The student's image embeddings, ``[N, D]``.
            vocabulary: The training vocabulary's class embeddings, ``[K, D]``.
            teacher: The teacher's embedding of each image, ``[D]``, or None; empty: no image has one.
            captions: The text feature of each image's caption, ``[D]``, or None; empty: no image has one.

        Returns:
            dict: ``loss_{name}`` of each loss, ``{name}_temperature`` of losses with a learnt scale, and the images'
            cosine to the teacher in [-1, 1]: ``teacher_cosine`` (mean) and ``teacher_cosine_p5`` (5th percentile).

        Raises:
            ValueError: If a loss needs a vocabulary and none is set.
        """
        targets = dict(teacher=teacher, captions=captions)
        rows = {name: rows_with(values) for name, values in targets.items()}
        results = {}
        if rows['teacher']:
            embeddings = select(teacher, rows['teacher'], student)
            cosine = (student.detach()[rows['teacher']] * embeddings).sum(-1)
            results.update(teacher_cosine=cosine.mean(), teacher_cosine_p5=cosine.quantile(0.05))
        has_teacher = 'teacher' in self.inputs and any_rank(bool(rows['teacher']), student.device)
        # In full precision: bfloat16 cannot tell cosines near 1 apart, which scales of up to 100 then multiply.
        with torch.autocast(student.device.type, enabled=False):
            for name, loss in self.losses.items():
                if 'teacher' in loss.inputs and not has_teacher:
                    continue
                if 'vocabulary' in loss.inputs and not len(vocabulary):
                    raise ValueError(
                        f'losses.{name}: {type(loss).__name__} compares over the training vocabulary, and '
                        'none is set; add a VocabularyHook to custom_hooks'
                    )
                # Also for N = 0: a loss over the batch of all ranks needs every rank.
                needed = [set(rows[key]) for key in loss.inputs if key in rows]
                left = [row for row in range(len(student)) if all(row in each for each in needed)]
                given = dict(vocabulary=vocabulary, student=student if len(left) == len(student) else student[left])
                given.update({key: select(targets[key], left, student) for key in loss.inputs if key in rows})
                results[f'loss_{name}'] = loss(*(given[key] for key in loss.inputs))
                if hasattr(loss, 'temperature'):
                    results[f'{name}_temperature'] = loss.temperature
        return results


def any_rank(flag: bool, device: torch.device) -> bool:
    """Return whether a flag is set in any process."""
    if get_world_size() == 1:
        return flag
    total = torch.tensor(float(flag), device=device)
    all_reduce(total)
    return bool(total)


def select(targets: Sequence[Tensor | None], rows: Sequence[int], like: Tensor) -> Tensor:
    """Stack the targets of some images, ``[n, D]``, on the device of ``like`` ``[N, D]``."""
    return torch.stack([targets[row] for row in rows]).to(like.device) if rows else like.new_zeros(0, like.shape[-1])


def rows_with(embeddings: Sequence[Tensor | None]) -> list[int]:
    """Return the indices of the images that have an embedding."""
    return [index for index, embedding in enumerate(embeddings) if embedding is not None]
