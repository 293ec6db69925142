"""Testing with image embeddings that are cached on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, collect_results
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmyolo.registry import LOOPS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from kdeov_mm.evaluation.base import EmbeddingMetric
from kdeov_mm.models.clip import identify_teacher
from kdeov_mm.models.clip.class_embeddings import cache_dir
from kdeov_mm.utils import unwrap
from kdeov_mm.utils.files import atomic_path, fingerprint_files
from kdeov_mm.version import __version__

from .hooks import CLIPDistillationHook
from .loops import MultiTestLoop


@LOOPS.register_module()
class CachedTestLoop(MultiTestLoop):
    """Keeps image embeddings of a MultiTestLoop on disk, so the next test with other prompts reads no image.

    The cache is used if all metrics compare embeddings and images are tested in their order; otherwise the test runs as
    in a MultiTestLoop. The key covers the model's weights and config, the teacher's config, the images (path, size and
    time of the files, or the data set's own ``fingerprint``), the pipeline and the package version. Files are in
    ``image_bank`` below ``$KDEOV_CACHE`` or ``~/.cache/kdeov_mm``, and may be deleted at any time.

    Args:
        runner, dataloader, evaluator, fp16: See :class:`MultiTestLoop`.
        cache: Whether to use the cache.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, cache: bool = True) -> None:
        loaders = dataloader if isinstance(dataloader, (list, tuple)) else [dataloader]
        self.dataset_cfgs = [loader.get('dataset') if isinstance(loader, dict) else None for loader in loaders]
        self.cache = cache
        super().__init__(runner, dataloader, evaluator, fp16)

    def select(self, index: int) -> None:
        """Make one part the current one."""
        super().select(index)
        self.dataset_cfg = self.dataset_cfgs[index]

    def run_part(self) -> dict[str, float]:
        """Test the current part, with cached embeddings if there are any."""
        path = self.cache_path()
        if path is None:
            return super().run_part()
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        rows = self.load(path)
        if rows is None:
            rows = self.embed()
            self.save(path, rows)
        dataset = self.dataloader.dataset
        self.evaluator.process([{**dataset.get_data_info(i), **row} for i, row in zip(self.dataloader.sampler, rows)])
        metrics = self.evaluator.evaluate(len(dataset))
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def cache_path(self) -> Path | None:
        """Return the cache file of the current part's embeddings; None if they cannot be cached."""
        sampler, dataset, model_cfg = self.dataloader.sampler, self.dataloader.dataset, self.runner.cfg.get('model')
        if not (
            self.cache
            and self.dataset_cfg
            and model_cfg
            and isinstance(sampler, DefaultSampler)
            and not sampler.shuffle
            and all(isinstance(metric, EmbeddingMetric) for metric in self.evaluator.metrics)
        ):
            return None
        images = fingerprint(dataset)
        if images is None:
            return None
        teachers = [
            identify_teacher(hook.find_teacher(unwrap(self.runner.model)))
            for hook in self.runner.hooks
            if isinstance(hook, CLIPDistillationHook)
        ]
        fingerprinted = dict(
            version=__version__,
            images=images,
            pipeline=self.dataset_cfg.get('pipeline', self.dataset_cfg),
            weights=weights_fingerprint(unwrap(self.runner.model)),
            model=without_prompts(model_cfg),
            fp16=self.fp16,
            teachers=teachers,
            fields=self.fields(),
        )
        key = hashlib.sha256(json.dumps(fingerprinted, sort_keys=True, default=str).encode()).hexdigest()[:32]
        return cache_dir() / 'image_bank' / f'{key}.safetensors'

    def fields(self) -> list[str]:
        """Return the fields of data samples that the current part's metrics read."""
        return sorted({field for metric in self.evaluator.metrics for field in metric.fields.values()})

    def embed(self) -> list[dict[str, Tensor]]:
        """Embed this process's images of the current part; return a dict of fields for each."""
        recorder = EmbeddingRecorder(self.fields())
        evaluator, self.evaluator = self.evaluator, Evaluator(recorder)
        try:
            for index, batch in enumerate(self.dataloader):
                self.run_iter(index, batch)
        finally:
            self.evaluator = evaluator
        return recorder.results

    def load(self, path: Path) -> list[dict[str, Tensor]] | None:
        """Return the cached embeddings of this process's images; None unless all processes have the file."""
        try:
            embeddings = load_file(path) if path.is_file() else None
        except Exception:  # a damaged file is only a slower test
            path.unlink(missing_ok=True)
            embeddings = None
        if not all(all_gather_object(embeddings is not None)):
            return None
        print_log(f'Image embeddings from {path}', 'current')
        return [{name: values[i] for name, values in embeddings.items()} for i in self.dataloader.sampler]

    def save(self, path: Path, rows: list[dict[str, Tensor]]) -> None:
        """Write the embeddings of all processes, ``[N, D]`` for each field, if all images have the same fields."""
        rows = collect_results(rows, len(self.dataloader.dataset))  # None but in the main process
        if not rows or any(row.keys() != rows[0].keys() for row in rows) or not rows[0]:
            return
        embeddings = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        if all(values.isfinite().all() for values in embeddings.values()):  # otherwise the metrics report the image
            with atomic_path(path) as partial:
                save_file(embeddings, partial)


class EmbeddingRecorder(BaseMetric):
    """Records some fields of data samples, float32 on the CPU, in place of a metric.

    Args:
        fields: Names of the fields; fields that a sample does not have are skipped.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(prefix='recorded')
        self.fields = fields

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Record one batch."""
        for sample in data_samples:
            self.results.append({name: sample[name].float().cpu() for name in self.fields if name in sample})

    def compute_metrics(self, results: list) -> dict:
        """Return no metrics."""
        return {}


def without_prompts(model_cfg: dict) -> dict:
    """Remove the text encoder's prompts from a model's config, as image embeddings do not depend on them."""
    text_encoder = model_cfg.get('text_encoder') or {}
    kept = {name: value for name, value in text_encoder.items() if name not in ('templates', 'synonyms')}
    return {**model_cfg, 'text_encoder': kept}


def fingerprint(dataset: Dataset) -> str | None:
    """Return a string that changes with a data set's images or their order; None if that needs reading them."""
    if hasattr(dataset, 'fingerprint'):
        return dataset.fingerprint()
    if not hasattr(dataset, 'get_data_info'):
        return None
    return fingerprint_files(dataset.get_data_info(index).get('img_path', '') for index in range(len(dataset)))


def weights_fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
