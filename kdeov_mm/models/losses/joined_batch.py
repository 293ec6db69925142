"""The base of losses over pairs in a batch: the joined batch of all ranks and a learnable logit scale."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor, nn

from kdeov_mm.models.logit_scale import LogitScaleMixin


def join_ranks(*columns: Tensor) -> tuple[Tensor, ...]:
    """Join the rows of all ranks, in the order of the ranks, with gradients to this rank's rows.

    A loss computed on the result, by every rank alike, has the value and, after DDP's averaging, the gradients of
    one process that holds the joined batch.

    Args:
        columns: This rank's ``[n, ...]`` tensors. All have the same n. It may differ between ranks and be 0, but
            every rank must call this function.

    Returns:
        tuple: As many tensors ``[N, ...]``, N being the sum of n over the ranks; ``columns`` in a single process.
    """
    if get_world_size() == 1:
        return columns
    size = torch.tensor([len(columns[0])], device=columns[0].device)
    sizes = torch.cat(all_gather(size)).tolist()
    return tuple(_join(column, sizes) for column in columns) if any(sizes) else columns


def _join(own: Tensor, sizes: Sequence[int]) -> Tensor:
    padded = own.new_zeros(max(sizes), *own.shape[1:])  # a collective takes tensors of one shape
    padded[: len(own)] = own.detach()
    parts = [part[:size] for part, size in zip(all_gather(padded), sizes)]
    # Each rank computes the whole loss but sends gradients through its own rows only. The gradient is their sum over
    # the ranks, but DDP takes the mean, so the rows' gradients are multiplied by the number of ranks. The loss itself
    # is not multiplied: its own parameters have the whole gradient on each rank, for which the mean is right.
    if own.requires_grad:
        own = own.view_as(own)
        own.register_hook(lambda grad: grad * len(sizes))
    parts[get_rank()] = own
    return torch.cat(parts)


class JoinedBatchLoss(LogitScaleMixin, nn.Module):
    """Compares each pair of the batch with all other pairs of all ranks; the base class of such losses.

    Every rank computes the whole matrix, so its memory grows with the square of the global batch: 256 MiB in
    float32 for 8,192 pairs. A subclass implements ``compare``.

    Args:
        init_scale: Initial logit scale, the inverse of a temperature; > 0.
        loss_weight: Factor.

    Raises:
        ValueError: If ``init_scale`` is not positive.
    """

    inputs: Sequence[str] = ('student', 'captions')

    def __init__(self, init_scale: float = 1 / 0.07, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.init_logit_scale(init_scale)
        self.loss_weight = loss_weight

    @property
    def temperature(self) -> Tensor:
        """The scale's inverse, for the log."""
        return 1 / self.scale.detach()

    def forward(self, *embeddings: Tensor) -> Tensor:
        """Compare this rank's embeddings, as :attr:`inputs` lists them, ``[n, D]`` each; row i is pair i.

        Returns:
            Tensor: Scalar; 0 if no rank has a pair.
        """
        self.clamp_logit_scale()
        joined = join_ranks(*embeddings)
        if not len(joined[0]):
            return embeddings[0].sum() * 0
        return self.loss_weight * self.compare(*joined)

    def compare(self, *embeddings: Tensor) -> Tensor:
        """Compute the loss of the joined batch, ``[N, D]`` for each of :attr:`inputs`. Scalar."""
        raise NotImplementedError
