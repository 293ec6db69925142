"""Each image's own texts in training: what is drawn, and that padding is never trained."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

from kdeov_mm.models import TextBank, kdeov
from kdeov_mm.models.text_sampling import sample_classes

SIZE = 64


def vocabulary(number):
    return F.normalize(torch.randn(number, 128, generator=torch.Generator().manual_seed(1)), dim=-1)


@pytest.fixture
def student(build_student):
    """A student that guides always and has a trained fusion."""

    def make(number=20, kind='FiLMFusion', **changes):
        model = build_student(**{'text_dropout': 0.0, 'num_negatives': 3, 'fusion.type': kind, **changes}).train()
        for parameter in model.fusion.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        model.set_vocabulary(TextBank([str(i) for i in range(number)], vocabulary(number)))
        return model

    return make


@pytest.fixture
def samples(make_samples):
    """Three images with two objects of names 4 and 7, one of name 7, and none; all with a teacher's embedding."""

    def make(number=3):
        result = make_samples(3, SIZE, labels=(4, 7))
        result[1].gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 8.0, 40.0, 50.0]]), labels=torch.tensor([7]))
        for sample, embedding in zip(result, vocabulary(23)[20:]):
            sample.teacher_embedding = embedding
        return result[:number]

    return make


def images():
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


# ------------------------------------------------------------------------------------ what is drawn
def test_a_set_holds_its_images_positives_and_as_many_negatives_as_asked():
    texts, labels = vocabulary(20), [torch.tensor([4, 7, 4, -1]), torch.tensor([7]), torch.tensor([], dtype=torch.long)]
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        sampled = sample_classes(texts, labels, 3)
        assert sampled.embeddings.shape == (3, 5, 128) and sampled.mask.sum(1).tolist() == [5, 4, 3]
        for i, positive in enumerate(({4, 7}, {7}, set())):
            names = sampled.index[i][sampled.mask[i]].tolist()
            assert len(set(names)) == len(names) and positive <= set(names)
            assert torch.equal(sampled.embeddings[i][sampled.mask[i]], texts[names])
            assert sampled.compete(20)[i].nonzero().flatten().tolist() == sorted(names)
            seen |= set(names)
        assert (sampled.embeddings[~sampled.mask] == 0).all()
    assert seen == set(range(20))


def test_more_negatives_than_names_are_all_names():
    for number in (1, 2, 20):
        sampled = sample_classes(vocabulary(number), [torch.tensor([0]), torch.tensor([], dtype=torch.long)], 100)
        assert sampled.mask.all() and sampled.index.tolist() == [list(range(number))] * 2


def test_torchs_seed_decides():
    labels = [torch.tensor([3]), torch.tensor([5])]
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(sample_classes(vocabulary(100), labels, 20).index)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize('number', [0, -1])
def test_a_number_of_negatives_below_one_is_refused(build_student, number):
    with pytest.raises(ValueError, match=rf'num_negatives.*{number}\b'):
        build_student(num_negatives=number)


# ------------------------------------------------------------------------------------ what is trained
@pytest.mark.parametrize('kind', ['FiLMFusion', 'CrossAttentionFusion'])
def test_the_whole_vocabulary_by_sampling_is_the_whole_vocabulary(student, samples, kind):
    found = []
    for number in (None, 100):
        model = student(kind=kind, num_negatives=number)
        torch.manual_seed(0)
        losses = model.loss(images(), samples())
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        found.append({**losses, **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}})
    for name, value in found[0].items():
        # Another order of summation, which the norms of a random network enlarge.
        torch.testing.assert_close(found[1][name], value, atol=float(5e-3 * value.abs().max() + 1e-6), rtol=0)


@pytest.mark.parametrize('kind', ['FiLMFusion', 'CrossAttentionFusion'])
def test_the_losses_of_a_batch_are_those_of_each_image_with_its_own_vocabulary(student, samples, kind, monkeypatch):
    """In inference mode of the norms, so that images do not see each other."""
    model = student(kind=kind).eval()
    drawn = []

    def remember(*args):
        drawn.append(sample_classes(*args))
        return drawn[-1]

    monkeypatch.setattr(kdeov, 'sample_classes', remember)
    weights, terms = [], []

    def collect(loss, weight):
        weights.append(weight)
        terms.append(loss)
        return (loss * weight).sum() / weight.sum()

    monkeypatch.setattr('kdeov_mm.models.open_vocab_head.weighted_mean', collect)
    batch = float(model.loss(images(), samples())['loss_text'])
    model.num_negatives, names = None, model.texts
    weights, terms, sampled = [], [], drawn[0]
    for i, sample in enumerate(samples(2)):
        chosen = sampled.index[i][sampled.mask[i]]
        labels = sample.gt_instances.labels
        sample.gt_instances.labels = torch.stack([(chosen == label).nonzero()[0, 0] for label in labels])
        model.set_vocabulary(TextBank([str(int(n)) for n in chosen], names[chosen]))
        model.loss(images()[i : i + 1], [sample])
    alone = (torch.cat(weights) * torch.cat(terms)).sum() / torch.cat(weights).sum()
    assert batch == pytest.approx(float(alone), rel=1e-4) and batch > 0


@pytest.mark.parametrize('kind', ['FiLMFusion', 'CrossAttentionFusion'])
@pytest.mark.parametrize('garbage', [1e4, float('nan')])
def test_padding_is_never_trained(student, samples, kind, garbage, monkeypatch):
    found = []
    for padding in (0.0, garbage):
        leaves = []

        def fill(texts, labels, number):
            sampled = sample_classes(texts, labels, number)
            sampled.embeddings = sampled.embeddings.masked_fill(~sampled.mask[..., None], padding).requires_grad_()
            sampled.index[~sampled.mask] = 13
            leaves.append(sampled)
            return sampled

        monkeypatch.setattr(kdeov, 'sample_classes', fill)
        model = student(kind=kind)
        torch.manual_seed(0)
        losses = model.loss(images(), samples())
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        (sampled,) = leaves
        assert not sampled.mask.all() and (sampled.embeddings.grad[~sampled.mask] == 0).all()
        assert (sampled.embeddings.grad[sampled.mask] != 0).any()
        found.append({**losses, **{name: p.grad for name, p in model.named_parameters() if p.grad is not None}})
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]) and value.isfinite().all(), name


def test_names_that_do_not_compete_leave_the_text_loss_alone(student, samples):
    torch.manual_seed(0)
    model = student().eval()
    head, x = model.bbox_head, model.extract_feat(images())
    sampled = model.sample_classes(samples())
    first = head.loss(x, samples(), model.texts, sampled=sampled)['loss_text']
    texts = model.texts.clone()
    texts[~sampled.compete(20)[:2].any(0)] = vocabulary(30)[-1]
    assert torch.equal(head.loss(x, samples(), texts, sampled=sampled)['loss_text'], first)
    assert not torch.equal(head.loss(x, samples(), texts)['loss_text'], first)


@pytest.mark.parametrize('negatives', [None, 1, 5])
def test_a_vocabulary_of_one_name_trains(student, samples, negatives):
    model = student(1, num_negatives=negatives)
    batch = samples()
    for sample in batch:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    losses = model.loss(images(), batch)
    assert losses['loss_text'] == 0  # there is nothing to tell apart
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    assert total.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_images_without_annotations_have_negatives_only(student, samples):
    model, batch = student(), samples()
    del batch[2].gt_instances
    assert model.sample_classes(batch).mask.sum(1).tolist() == [5, 4, 3]
