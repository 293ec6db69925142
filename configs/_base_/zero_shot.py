# Zero-shot classification: data sets of torchvision with OpenCLIP's class names and templates. A config that inherits
# this gives each a pipeline.
zero_shot_root = 'data/'
zero_shot_datasets = dict(
    cifar10=dict(type='TorchvisionDataset', dataset=dict(type='CIFAR10', root=zero_shot_root + 'cifar10', train=False)),
    cifar100=dict(
        type='TorchvisionDataset', dataset=dict(type='CIFAR100', root=zero_shot_root + 'cifar100', train=False)
    ),
    imagenet=dict(
        type='TorchvisionDataset',
        dataset=dict(type='ImageFolder', root=zero_shot_root + 'imagenet/val'),
        classes='imagenet',
    ),
)
zero_shot_loader = dict(
    batch_size=128,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
)
zero_shot_metric = dict(type='ZeroShotMetric', templates='openai_imagenet_80', topk=(1, 3, 5), per_class=True)
zero_shot_pack = dict(
    type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'gt_label')
)
