"""The list of broken images in the work dir."""

from pathlib import Path
from typing import Iterator

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.datasets.broken_images import BrokenImages


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Lets the training data sets list broken images in one file, over all processes and workers.

    Each line of ``broken_images.tsv`` in the work dir holds data set, image and reason, separated by tabs.
    """

    def before_train(self, runner) -> None:
        """Name the file to the data sets, before their workers start."""
        self.datasets = list(broken_image_sets(runner.train_dataloader.dataset))
        for dataset in self.datasets:
            dataset.list_broken(str(Path(runner.work_dir, 'broken_images.tsv')))


def broken_image_sets(dataset) -> Iterator[BrokenImages]:
    """All data sets that skip broken images, in whatever wrappers."""
    if isinstance(dataset, BrokenImages):
        yield dataset
        return
    for inner in vars(dataset).get('datasets') or filter(None, [vars(dataset).get('dataset')]):
        yield from broken_image_sets(inner)
