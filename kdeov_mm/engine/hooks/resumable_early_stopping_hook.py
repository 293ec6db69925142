"""Early stopping that remembers across an interruption."""

from typing import Dict, Optional

from mmengine.hooks import EarlyStoppingHook
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """MMEngine's hook, whose best score and patience are kept in checkpoints.

    Args:
        *args, **kwargs: Of MMEngine's ``EarlyStoppingHook``; its ``min_delta`` is 0.1 by default, which is much for an
            accuracy.
    """

    def before_train(self, runner) -> None:
        """Take up what the checkpoint says."""
        state = runner.message_hub.runtime_info.get('early_stopping', (self.best_score, self.wait_count))
        self.best_score, self.wait_count = state

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Decide whether to stop."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info('early_stopping', [float(self.best_score), self.wait_count])
