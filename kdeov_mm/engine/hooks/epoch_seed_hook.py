"""The hook that seeds each epoch."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds all random generators before each epoch, so a resumed run draws the numbers of an uninterrupted run."""

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        """Seed from seed, epoch and rank."""
        set_random_seed((runner.seed + runner.epoch * 10007 + get_rank()) % 2**31)
