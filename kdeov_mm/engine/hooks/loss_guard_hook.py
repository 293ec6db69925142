"""The hook that stops or skips a step whose loss or gradient is not finite, or whose loss is too large."""

import json
import logging
import math
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS

from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Protects the weights from a bad batch and reports the batch's files.

    The hook checks the loss before the backward pass and the gradients before the optimizer's step, so the weights are
    still good when it stops. All ranks stop or skip together. With gradient accumulation, one bad batch drops the whole
    update. The loss scaler handles gradients that overflow in half precision; the hook does not count them.

    Each case is logged and added as one line of JSON (``epoch``, ``iter``, ``reason``, ``files``) to
    ``bad_batches.jsonl`` in the work dir.

    Args:
        action: ``stop`` raises an error; ``skip`` leaves weights, optimizer state and running statistics as they were
            before the batch and continues.
        max_loss: Maximum total loss of a good batch.
        max_skips: With ``skip``, the maximum number of consecutive bad batches before training stops.

    Raises:
        ValueError: If the action is unknown.
        FloatingPointError: If training stops because of a bad batch.
    """

    priority = 'HIGH'  # the running statistics are restored before anything averages or saves them

    def __init__(self, action: str = 'stop', max_loss: float = math.inf, max_skips: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f'action: {action!r} is unknown; choose stop or skip')
        self.action, self.max_loss, self.max_skips = action, max_loss, max_skips
        self.consecutive = 0  # number of bad batches since the last good one

    def before_train(self, runner) -> None:
        """Watch the model and its optimizer."""
        self.runner = runner
        self.model = unwrap(runner.model)
        self.bad = False  # whether this batch is bad
        self.drop = False  # whether the update that this batch belongs to is dropped
        self.handles = [
            self.model.register_forward_pre_hook(self.remember),
            self.model.register_forward_hook(self.check_losses, with_kwargs=True),
            runner.optim_wrapper.optimizer.register_step_pre_hook(self.check_gradients),
        ]

    def after_train(self, runner) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Record the batch's files."""
        self.bad = False
        self.files = [str(sample.get('img_path', sample.get('img_id'))) for sample in data_batch['data_samples']]

    def remember(self, model, args) -> None:
        """Copy the running statistics before the forward pass."""
        if self.action == 'skip' and model.training:
            self.buffers = [buffer.clone() for buffer in model.buffers()]

    @torch.no_grad()
    def check_losses(self, model, args, kwargs, losses) -> None:
        """Check the losses after the forward pass."""
        if kwargs.get('mode') != 'loss':
            return
        total, parts = model.parse_losses(losses)
        reason = None
        if not total.isfinite():
            names = [
                name for name, value in parts.items() if 'loss' in name and name != 'loss' and not torch.isfinite(value)
            ]
            reason = f'loss is {total.item()} ({", ".join(names)})'
        elif total > self.max_loss:
            reason = f'loss is {total.item():.6g}, above max_loss={self.max_loss:g}'
        anywhere = torch.tensor(float(reason is not None), device=total.device)
        all_reduce(anywhere, 'max')
        if anywhere:
            self.report(reason)

    def check_gradients(self, optimizer, args, kwargs) -> None:
        """Check the gradients before the optimizer's step; remove them to skip the step."""
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if parameters and not self.drop and not torch.stack([p.grad.sum() for p in parameters]).sum().isfinite():
            self.report('gradient is not finite')
        if self.drop:
            for parameter in parameters:
                parameter.grad = None

    def report(self, reason: str | None) -> None:
        """Record a bad batch, then stop or skip; all ranks call this method, and at least one has a reason.

        Raises:
            FloatingPointError: If training stops.
        """
        self.bad = self.drop = True
        cases = [case for case in all_gather_object((reason, self.files)) if case[0]]
        where = dict(epoch=self.runner.epoch + 1, iter=self.runner.iter + 1)
        reasons, files = '; '.join(dict.fromkeys(reason for reason, _ in cases)), sum((names for _, names in cases), [])
        record = Path(self.runner.work_dir, 'bad_batches.jsonl')
        if is_main_process():
            with record.open('a') as file:
                file.write(json.dumps(dict(**where, reason=reasons, files=files)) + '\n')
        message = (
            f'epoch {where["epoch"]}, iteration {where["iter"]}: {reasons}; files: {first_of(files)}, see {record}'
        )
        self.consecutive += 1
        if self.action == 'stop':
            raise FloatingPointError(
                f"{message}. Look at these files, lower the learning rate, or set LossGuardHook's action='skip'"
            )
        if self.consecutive > self.max_skips:
            raise FloatingPointError(
                f'{message}. More than max_skips={self.max_skips} consecutive batches are bad, '
                'so the files are not the cause; lower the learning rate or resume from an earlier checkpoint'
            )
        print_log(f'{message}; the step is skipped', 'current', logging.WARNING)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Restore the running statistics that a bad batch has changed."""
        if self.bad:
            for buffer, value in zip(self.model.buffers(), self.buffers):
                buffer.copy_(value)
        else:
            self.consecutive = 0
        if runner.optim_wrapper.should_update():
            self.drop = False


def first_of(files: list[str], count: int = 8) -> str:
    """Return the first ``count`` files of a list and the number of the others, for a message."""
    more = f' and {len(files) - count} more' if len(files) > count else ''
    return ', '.join(files[:count]) + more
