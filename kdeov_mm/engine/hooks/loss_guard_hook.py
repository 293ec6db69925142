"""The hook that stops training before a loss or gradient that is not finite reaches the weights."""

import json
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Protects the weights from a bad batch and reports the batch's files.

    The hook checks the loss before the backward pass and the gradients before the optimizer's step, so the weights are
    still good when it stops. All ranks stop together. The loss scaler handles gradients that overflow in half
    precision; the hook does not see them.

    The case is added as one line of JSON (``epoch``, ``iter``, ``reason``, ``files``) to ``bad_batches.jsonl`` in the
    work dir.

    Raises:
        FloatingPointError: If the loss or a gradient of a batch is not finite.
    """

    def before_train(self, runner) -> None:
        """Watch the model and its optimizer."""
        self.runner = runner
        model = unwrap(runner.model)
        self.handles = [
            model.register_forward_hook(self.check_losses, with_kwargs=True),
            runner.optim_wrapper.optimizer.register_step_pre_hook(self.check_gradients),
        ]

    def after_train(self, runner) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Record the batch's files."""
        self.files = [str(sample.get('img_path', sample.get('img_id'))) for sample in data_batch['data_samples']]

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
        anywhere = torch.tensor(float(reason is not None), device=total.device)
        all_reduce(anywhere, 'max')
        if anywhere:
            self.stop(reason)

    def check_gradients(self, optimizer, args, kwargs) -> None:
        """Check the gradients, which all ranks share, before the optimizer's step."""
        sums = [p.grad.sum() for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if sums and not torch.stack(sums).sum().isfinite():
            self.stop('gradient is not finite')

    def stop(self, reason: str | None) -> None:
        """Record a bad batch and stop; all ranks call this method, and at least one has a reason.

        Raises:
            FloatingPointError: Always.
        """
        cases = [case for case in all_gather_object((reason, self.files)) if case[0]]
        where = dict(epoch=self.runner.epoch + 1, iter=self.runner.iter + 1)
        reasons, files = '; '.join(dict.fromkeys(reason for reason, _ in cases)), sum((names for _, names in cases), [])
        record = Path(self.runner.work_dir, 'bad_batches.jsonl')
        if is_main_process():
            with record.open('a') as file:
                file.write(json.dumps(dict(**where, reason=reasons, files=files)) + '\n')
        raise FloatingPointError(
            f'epoch {where["epoch"]}, iteration {where["iter"]}: {reasons}; files: {first_of(files)}, see {record}. '
            'Look at these files, or lower the learning rate'
        )


def first_of(files: list[str], count: int = 8) -> str:
    """Return the first ``count`` files of a list and the number of the others, for a message."""
    more = f' and {len(files) - count} more' if len(files) > count else ''
    return ', '.join(files[:count]) + more
