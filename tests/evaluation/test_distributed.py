"""Two processes must give one process's numbers, also for an odd number of images."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

NUMBER = 7


def make_samples():
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            img_id=i,
            img_path=f'{i}.jpg',
            gt_label=i % 3,
            captions=[f'text {i}'] * (i % 3),
            pred_score=torch.randn(3, generator=generator),
            image_embedding=torch.randn(8, generator=generator),
        )
        for i in range(NUMBER)
    ]


def evaluate(samples):
    import kdeov_mm  # noqa: F401
    from kdeov_mm.evaluation import ClassificationMetric, RetrievalMetric, ZeroShotMetric

    def embed(texts):
        return torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(1))

    metrics = {}
    for metric in (
        ZeroShotMetric(text_encoder={}, topk=(1, 2), per_class=True),
        RetrievalMetric(text_encoder={}),
        RetrievalMetric(text_encoder={}, fold_size=3, prefix='retrieval_folds'),
        ClassificationMetric(topk=(1, 2), per_class=True),
    ):
        metric.embed, metric.dataset_meta = embed, dict(classes=['a', 'b', 'c'])
        metric.process(None, samples)
        metrics.update(metric.evaluate(NUMBER))
    return metrics


def work(rank, path):
    dist.init_process_group('gloo', init_method=f'file://{path}/rendezvous', rank=rank, world_size=2)
    try:
        samples = make_samples()
        own = [samples[i % NUMBER] for i in range(rank, NUMBER + 1, 2)]  # padded, as DefaultSampler does
        torch.save(evaluate(own), f'{path}/{rank}.pth')
    finally:
        dist.destroy_process_group()


def test_two_processes(tmp_path):
    # The other process is rank 0, this one is rank 1.
    other = mp.start_processes(work, (str(tmp_path),), join=False, start_method='forkserver')
    work(1, str(tmp_path))
    while not other.join():
        pass
    expected = evaluate(make_samples())
    assert 0 < expected['zero_shot/all/top1'] < 1 and 0 < expected['retrieval_folds/i2t/mAP@10'] < 1
    assert [torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1)] == [expected, expected]
