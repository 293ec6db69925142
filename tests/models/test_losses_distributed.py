"""Two processes must give the loss and the gradients of one that holds the joined batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from torch import nn

KINDS = ('CrossModalAlignmentLoss', 'InteractiveContrastiveLoss')
SHARES = {'even': (4, 4), 'ragged': (3, 5), 'none on one rank': (8, 0), 'none': (0, 0)}


class Student(nn.Module):
    """A linear layer in place of the network, and a loss with a learnable scale."""

    def __init__(self, kind):
        super().__init__()
        import kdeov_mm.models

        torch.manual_seed(0)
        self.layer, self.loss = nn.Linear(6, 8), getattr(kdeov_mm.models, kind)(init_scale=10.0)

    def forward(self, images, teacher, captions):
        embeddings = F.normalize(self.layer(images), dim=-1)
        given = dict(student=embeddings, teacher=teacher, captions=captions)
        return self.loss(*(given[name] for name in self.loss.inputs))


def make_batch():
    generator = torch.Generator().manual_seed(1)
    images, teacher, captions = (torch.randn(8, dims, generator=generator) for dims in (6, 8, 8))
    return images, F.normalize(teacher, dim=-1), F.normalize(captions, dim=-1)


class DualEncoder(nn.Module):
    """OpenCLIPDualEncoder, its batch statistics apart."""

    def __init__(self):
        super().__init__()
        import kdeov_mm.models

        torch.manual_seed(0)
        self.model = kdeov_mm.models.OpenCLIPDualEncoder('kdeov-shapes').eval()

    def forward(self, images, captions):
        samples = [DetDataSample(metainfo=dict(captions=[caption])) for caption in captions]
        return self.model(images, samples, mode='loss')['loss_contrastive']


def make_pairs():
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return images, ['a star', 'a ring', 'a star', 'a moon', 'a fish', 'a ring', 'a heart', 'a star']


def step(model, batch):
    loss = model(*batch)
    loss.backward()
    return loss.item(), {
        name.removeprefix('module.'): torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


def work(rank, path):
    dist.init_process_group('gloo', init_method=f'file://{path}/rendezvous', rank=rank, world_size=2)
    try:
        results = {}
        for kind in KINDS:
            for name, (first, second) in SHARES.items():
                own = slice(first) if rank == 0 else slice(first, first + second)
                model = nn.parallel.DistributedDataParallel(Student(kind), find_unused_parameters=True)
                results[kind, name] = step(model, [column[own] for column in make_batch()])
        for name in ('even', 'ragged'):
            own = slice(SHARES[name][0]) if rank == 0 else slice(SHARES[name][0], 8)
            model = nn.parallel.DistributedDataParallel(DualEncoder(), find_unused_parameters=True)
            results['dual encoder', name] = step(model, [column[own] for column in make_pairs()])
        torch.save(results, f'{path}/{rank}.pth')
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """What each rank found."""
    path = tmp_path_factory.mktemp('ranks')
    # The other process is rank 0, this one is rank 1.
    other = mp.start_processes(work, (str(path),), join=False, start_method='forkserver')
    work(1, str(path))
    while not other.join():
        pass
    return [torch.load(path / f'{rank}.pth') for rank in (0, 1)]


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize('kind', KINDS)
def test_two_processes(results, kind, share):
    loss, gradients = step(Student(kind), [column[: sum(SHARES[share])] for column in make_batch()])
    assert (loss > 0) == (share != 'none')
    for found_loss, found_gradients in (result[kind, share] for result in results):
        assert found_loss == pytest.approx(loss, abs=1e-6)
        torch.testing.assert_close(found_gradients, gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize('share', ['even', 'ragged'])
def test_a_dual_encoder_in_two_processes(results, share):
    loss, gradients = step(DualEncoder(), make_pairs())
    for found_loss, found_gradients in (result['dual encoder', share] for result in results):
        assert found_loss == pytest.approx(loss, abs=1e-5)
        torch.testing.assert_close(found_gradients, gradients, atol=1e-5, rtol=1e-4)
