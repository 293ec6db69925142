"""Handling of images that cannot be read: skip, count and list them, and stop the run if there are too many."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.image_files import BrokenImageError, image_defect


def check_inside(paths: Iterable[str], folder: str, source: str) -> None:
    """Refuse image names that lead out of the image folder, such as ``/etc/motd`` or ``../../photo.jpg``.

    Links inside the folder may lead anywhere, as its owner has made them. Anybody may have made the names.

    Args:
        paths: The names, joined to the folder.
        folder: The image folder.
        source: The file with the names, for messages.

    Raises:
        InputError: If a name leads out of the folder; the message names it.
    """
    start = '' if os.path.normpath(folder) == '.' else os.path.join(os.path.normpath(folder), '')
    for path in paths:
        normal = os.path.normpath(path)
        if (
            not normal.startswith(start)
            or not start
            and (os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir)
        ):
            raise InputError(
                f'"{printable(source)}": the image "{printable(path)}" lies outside of the image folder '
                f'"{printable(folder)}"; correct its name, or set data_prefix to a folder that holds all images, such '
                "as dict(img='/')"
            )


class BrokenImages:
    """Records the broken images of a data set.

    Attributes:
        broken: Reason for each broken image, by path as ``printable`` shows it.
        max_broken: Maximum ratio of broken images. One broken image is always allowed, unless this is 0.
        source: Name of the data set, for messages and the list.
    """

    source: str
    max_broken = 0.05
    _broken_list = None

    def set_max_broken(self, ratio: float) -> None:
        """Set ``max_broken``.

        Raises:
            ValueError: If the ratio is not in [0, 1].
        """
        if not 0 <= ratio <= 1:
            raise ValueError(f'max_broken is a ratio of the images, between 0 and 1, got {ratio}')
        self.max_broken = ratio
        self.broken: dict[str, str] = {}

    def list_broken(self, path: str) -> None:
        """List broken images in a file that all processes share, and skip those that it lists already.

        Each line holds source, image and reason, separated by tabs. Delete the file when images have been restored.
        """
        self._broken_list = path
        known = self._read_list()
        if is_main_process():
            self._append_list({image: reason for image, reason in self.broken.items() if image not in known})
        self.broken.update(known)

    def _read_list(self) -> dict[str, str]:
        if not os.path.isfile(self._broken_list):
            return {}
        with open(self._broken_list, encoding='utf-8') as file:
            lines = [line.rstrip('\n').split('\t') for line in file]
        return {line[1]: line[2] for line in lines if len(line) == 3 and line[0] == printable(self.source)}

    def _append_list(self, broken: Mapping[str, str]) -> None:
        source = printable(self.source)
        lines = ''.join(f'{source}\t{image}\t{reason}\n' for image, reason in broken.items())
        if lines:
            file = os.open(self._broken_list, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(file, lines.encode())  # in one piece: other processes write too
            os.close(file)

    def report_broken(self, broken: Mapping[str, str], total: int) -> None:
        """Count, list and log broken images of ``total`` images.

        Raises:
            RuntimeError: If more than ``max_broken`` are broken, over all processes that share the list.
        """
        shown = {printable(image): printable(' '.join(reason.split())) for image, reason in broken.items()}
        new = {image: reason for image, reason in shown.items() if image not in self.broken}
        if not new:
            return
        self.broken.update(new)
        if self._broken_list:
            self._append_list(new)
            self.broken.update(self._read_list())
        examples = '; '.join(f'{image}: {reason}' for image, reason in list({**new, **self.broken}.items())[:5])
        message = f'{len(self.broken)} of {total} images of "{printable(self.source)}" cannot be read ({examples})'
        allowed = max(1, int(self.max_broken * total)) if self.max_broken else 0
        if len(self.broken) > allowed or len(self.broken) >= total:
            listed = f' and delete {self._broken_list}' if self._broken_list else ''
            raise RuntimeError(
                f'{message}; max_broken={self.max_broken} allows {allowed}. Restore them{listed}, or raise max_broken'
            )
        print_log(f'{message}; they are skipped', 'current', logging.WARNING)


class SkipBrokenImages(BrokenImages):
    """Lets a data set with an index skip broken images.

    Attributes:
        check_images: ``start`` checks all images before the run; ``read`` checks each when it is read, for
            collections that are too large.
    """

    check_images = 'start'

    @property
    def source(self) -> str:
        """The annotation file."""
        return self.ann_file

    def readable(self, data_list: list[dict]) -> list[dict]:
        """Return the data infos whose images can be read, as far as they are checked before the run.

        Raises:
            ValueError: If there are no images, or one lies outside of the image folder.
        """
        if not data_list:
            raise ValueError(f'"{self.source}" lists no images')
        check_inside([info['img_path'] for info in data_list], self.data_prefix.get('img') or '', self.source)
        self._num_images = len(data_list)
        if self.check_images == 'start' and self._local:
            defects = {info['img_path']: image_defect(info['img_path']) for info in data_list}
            self.report_broken({path: defect for path, defect in defects.items() if defect}, self._num_images)
        return [info for info in data_list if printable(info['img_path']) not in self.broken]

    @property
    def _local(self) -> bool:
        return getattr(self, 'backend_args', None) is None

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on a sample; return None for a training image that cannot be read.

        Raises:
            BrokenImageError: If it is a test image, as no test image may be missing.
        """
        path = self.get_data_info(idx)['img_path']
        defect = None
        if self.check_images == 'read' and self._local:
            defect = self.broken.get(printable(path)) or image_defect(path)
            if defect and self.test_mode:
                raise BrokenImageError(f'image {printable(path)}: {defect}')
        if defect is None:
            try:
                return super().prepare_data(idx)
            except Exception as error:
                if not self.test_mode:
                    defect = (
                        str(error)
                        if isinstance(error, BrokenImageError)
                        else image_defect(path)
                        if self._local
                        else None
                    )
                if defect is None:
                    raise
        self.report_broken({path: defect}, self._num_images)
        return None

    def __getitem__(self, idx: int) -> dict:
        """Return a sample; after an image that the pipeline refuses, try the next images, not random ones."""
        if self.test_mode:
            return super().__getitem__(idx)
        for step in range(min(len(self), self.max_refetch + 1)):
            data = self.prepare_data((idx + step) % len(self))
            if data is not None:
                return data
        raise RuntimeError(f'the pipeline refused image {idx} of "{self.source}" and all images tried after it')
