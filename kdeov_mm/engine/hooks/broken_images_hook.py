"""The list of broken images in the work dir."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.datasets.broken_images import BrokenImages


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Lets the training data sets list broken images in one file, over all processes and workers.

    Each line of ``broken_images.tsv`` in the work dir holds data set, image and reason, separated by tabs.
    """

    def before_train(self, runner) -> None:
        """Pass the file to the data sets before their workers start."""
        self.datasets = list(broken_image_sets(runner.train_dataloader.dataset))
        for dataset in self.datasets:
            dataset.list_broken(str(Path(runner.work_dir, 'broken_images.tsv')))


def broken_image_sets(dataset) -> Iterator[BrokenImages]:
    """Yield all data sets that skip broken images, also inside wrappers."""
    if isinstance(dataset, BrokenImages):
        yield dataset
        return
    for inner in vars(dataset).get('datasets') or filter(None, [vars(dataset).get('dataset')]):
        yield from broken_image_sets(inner)
