"""The sum of any losses of the image embedding."""

from typing import Dict, List, Optional, Sequence, Set

import torch
from mmyolo.registry import MODELS
from torch import Tensor, nn

INPUTS = ('student', 'teacher', 'captions', 'vocabulary')


@MODELS.register_module()
class FeatureAlignmentLoss(nn.Module):
    """The weighted sum of any losses of the image embedding; each brings its own ``loss_weight``.

    A loss is an ``nn.Module`` whose attribute ``inputs`` lists what its forward takes, in order: of ``student``,
    ``teacher``, ``captions`` (all ``[N, D]``) and ``vocabulary`` (``[K, D]``). One that takes captions is given only
    the images that have one, N = 0 if none has.

    Args:
        losses: Configs by name; a name whose config is None is left out. ``distill`` is logged as ``loss_distill``.

    Raises:
        ValueError: There is no loss, or one lists no inputs, or unknown ones.

    Examples:
        >>> loss = FeatureAlignmentLoss(dict(distill=dict(type='DistillationLoss', mode='cosine')))
        >>> sorted(loss(torch.eye(2), torch.zeros(0, 2), teacher=list(torch.eye(2))))
        ['loss_distill', 'teacher_cosine', 'teacher_cosine_p5']
    """

    def __init__(self, losses: Dict[str, Optional[dict]]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in losses.items() if cfg})
        if not self.losses:
            raise ValueError(f'losses: none is left of {list(losses)}; name at least one, or set loss_image=None')
        for name, loss in self.losses.items():
            inputs = getattr(loss, 'inputs', ())
            if not inputs or not set(inputs) <= set(INPUTS):
                raise ValueError(
                    f'losses.{name}: {type(loss).__name__}.inputs is {tuple(inputs)}; '
                    f'list what its forward takes, of {", ".join(INPUTS)}'
                )

    @property
    def inputs(self) -> Set[str]:
        """All that the losses take."""
        return {name for loss in self.losses.values() for name in loss.inputs}

    def forward(
        self,
        student: Tensor,
        vocabulary: Tensor,
        teacher: Sequence[Optional[Tensor]] = (),
        captions: Sequence[Optional[Tensor]] = (),
    ) -> Dict[str, Tensor]:
        """Compute all losses that can be computed: without teacher embeddings those that need one are left out.

        Args:
            student: The student's image embeddings, ``[N, D]``.
            vocabulary: The training vocabulary's embeddings, ``[K, D]``.
            teacher: The teacher's embedding of each image, ``[D]``; empty or all None: there is no teacher.
            captions: The embedding of each image's caption, ``[D]``, or None for an image without one.

        Returns:
            dict: ``loss_{name}`` of each loss, ``{name}_temperature`` of those with a learnt one, and the images'
            cosine to the teacher in [-1, 1]: ``teacher_cosine`` (mean) and ``teacher_cosine_p5`` (5th percentile).

        Raises:
            ValueError: Only some of the images have a teacher embedding, or a loss needs a vocabulary and none is set.
        """
        given = dict(student=student, vocabulary=vocabulary)
        results = {}
        taught = rows_with(teacher)
        if taught:
            if len(taught) < len(student):
                raise ValueError(
                    f'teacher: {len(taught)} of {len(student)} images have a teacher_embedding; '
                    'fill it for all images or for none'
                )
            given['teacher'] = torch.stack(tuple(teacher))
            cosine = (student.detach() * given['teacher']).sum(-1)
            results.update(teacher_cosine=cosine.mean(), teacher_cosine_p5=cosine.quantile(0.05))
        captioned = rows_with(captions)
        given['captions'] = (
            torch.stack([captions[i] for i in captioned]) if captioned else student.new_zeros(0, student.shape[-1])
        )
        # In full precision: bfloat16 cannot tell cosines near 1 apart, which scales of up to 100 then multiply.
        with torch.autocast(student.device.type, enabled=False):
            for name, loss in self.losses.items():
                if 'teacher' in loss.inputs and not taught:
                    continue
                if 'vocabulary' in loss.inputs and not len(vocabulary):
                    raise ValueError(
                        f'losses.{name}: {type(loss).__name__} compares over the training vocabulary, and '
                        'none is set; add a VocabularyHook to custom_hooks'
                    )
                inputs = [given[key] for key in loss.inputs]
                if 'captions' in loss.inputs:  # also where none has one: a loss over all ranks' batch needs every rank
                    inputs = [
                        given[key][captioned] if key in ('student', 'teacher') else given[key] for key in loss.inputs
                    ]
                results[f'loss_{name}'] = loss(*inputs)
                if hasattr(loss, 'temperature'):
                    results[f'{name}_temperature'] = loss.temperature
        return results


def rows_with(embeddings: Sequence[Optional[Tensor]]) -> List[int]:
    """The images that have an embedding."""
    return [index for index, embedding in enumerate(embeddings) if embedding is not None]
