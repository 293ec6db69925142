"""Early stopping whose state survives an interruption."""

from mmengine.hooks import EarlyStoppingHook
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """Stores the best score and patience of MMEngine's hook in checkpoints.

    Args:
        *args, **kwargs: Arguments of MMEngine's ``EarlyStoppingHook``. Its default ``min_delta`` of 0.1 is large for an
            accuracy.
    """

    def before_train(self, runner) -> None:
        """Restore the state from the checkpoint."""
        state = runner.message_hub.runtime_info.get('early_stopping', (self.best_score, self.wait_count))
        self.best_score, self.wait_count = state

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Decide whether to stop."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info('early_stopping', [float(self.best_score), self.wait_count])
