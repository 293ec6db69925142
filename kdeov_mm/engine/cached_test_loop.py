"""Testing that embeds each image once, whatever is asked of the embeddings later."""

import hashlib
import json
from pathlib import Path
from typing import Dict, List, Optional, Sequence

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
from kdeov_mm.models.clip.text_bank import cache_dir
from kdeov_mm.utils import unwrap
from kdeov_mm.utils.files import atomic_path, fingerprint_files
from kdeov_mm.version import __version__

from .hooks import CLIPDistillationHook
from .loops import MultiTestLoop


@LOOPS.register_module()
class CachedTestLoop(MultiTestLoop):
    """A MultiTestLoop that keeps image embeddings on disk, so that the next test with other prompts needs no image.

    It does so where all metrics are of embeddings and images are tested in their order; other data sets are tested as
    in a MultiTestLoop. The key is made of the model's weights and config, its teacher's, the images (path, size and
    time of the files, or the data set's own ``fingerprint``), the pipeline and this package's version. Files lie in
    ``image_bank`` below ``$KDEOV_CACHE``, else ``~/.cache/kdeov_mm``, and may be deleted at any time.

    Args:
        runner, dataloader, evaluator, fp16: See :class:`MultiTestLoop`.
        cache: Whether to read and write such files.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, cache: bool = True) -> None:
        loaders = dataloader if isinstance(dataloader, (list, tuple)) else [dataloader]
        self.dataset_cfgs = [loader.get('dataset') if isinstance(loader, dict) else None for loader in loaders]
        self.cache = cache
        super().__init__(runner, dataloader, evaluator, fp16)

    def select(self, index: int) -> None:
        super().select(index)
        self.dataset_cfg = self.dataset_cfgs[index]

    def run_part(self) -> Dict[str, float]:
        """Test the current part, from the cache if its embeddings are there."""
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

    def cache_path(self) -> Optional[Path]:
        """The file of the current part's embeddings; None where they cannot be cached."""
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
        identity = dict(
            version=__version__,
            images=images,
            pipeline=self.dataset_cfg.get('pipeline', self.dataset_cfg),
            weights=weights_digest(unwrap(self.runner.model)),
            model=without_prompts(model_cfg),
            fp16=self.fp16,
            teachers=teachers,
            fields=self.fields(),
        )
        key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]
        return cache_dir() / 'image_bank' / f'{key}.safetensors'

    def fields(self) -> List[str]:
        """The fields of data samples that the current part's metrics read."""
        return sorted({field for metric in self.evaluator.metrics for field in metric.fields.values()})

    def embed(self) -> List[Dict[str, Tensor]]:
        """Embed this process's share of the current part's images: a dict of fields for each."""
        recorder = EmbeddingRecorder(self.fields())
        evaluator, self.evaluator = self.evaluator, Evaluator(recorder)
        try:
            for number, batch in enumerate(self.dataloader):
                self.run_iter(number, batch)
        finally:
            self.evaluator = evaluator
        return recorder.results

    def load(self, path: Path) -> Optional[List[Dict[str, Tensor]]]:
        """This process's share of cached embeddings; None unless all processes have the file."""
        try:
            embeddings = load_file(path) if path.is_file() else None
        except Exception:  # a damaged file is only a slower test
            path.unlink(missing_ok=True)
            embeddings = None
        if not all(all_gather_object(embeddings is not None)):
            return None
        print_log(f'Image embeddings from {path}', 'current')
        return [{name: values[i] for name, values in embeddings.items()} for i in self.dataloader.sampler]

    def save(self, path: Path, rows: List[Dict[str, Tensor]]) -> None:
        """Write all processes' embeddings, ``[N, D]`` a field, if each image has the same fields."""
        rows = collect_results(rows, len(self.dataloader.dataset))  # None but in the main process
        if not rows or any(row.keys() != rows[0].keys() for row in rows) or not rows[0]:
            return
        embeddings = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        if all(values.isfinite().all() for values in embeddings.values()):  # else the metrics name the image
            with atomic_path(path) as partial:
                save_file(embeddings, partial)


class EmbeddingRecorder(BaseMetric):
    """A metric that only keeps some fields of data samples, float32 on the CPU.

    Args:
        fields: Their names; those that a sample lacks are left out.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(prefix='recorded')
        self.fields = fields

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep one batch."""
        for sample in data_samples:
            self.results.append({name: sample[name].float().cpu() for name in self.fields if name in sample})

    def compute_metrics(self, results: list) -> dict:
        """None."""
        return {}


def without_prompts(model_cfg: dict) -> dict:
    """Leave the prompts of the text encoder out of a model's config: embeddings of images do not depend on them."""
    text_encoder = model_cfg.get('text_encoder') or {}
    kept = {name: value for name, value in text_encoder.items() if name not in ('templates', 'synonyms')}
    return {**model_cfg, 'text_encoder': kept}


def fingerprint(dataset: Dataset) -> Optional[str]:
    """What changes with a data set's images or their order; None where that is not known without reading them."""
    if hasattr(dataset, 'fingerprint'):
        return dataset.fingerprint()
    if not hasattr(dataset, 'get_data_info'):
        return None
    return fingerprint_files(dataset.get_data_info(index).get('img_path', '') for index in range(len(dataset)))


def weights_digest(model: nn.Module) -> str:
    """The SHA-256 of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f'{name} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
