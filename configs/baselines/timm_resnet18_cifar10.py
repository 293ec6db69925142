# A supervised classifier: a timm backbone fine-tuned on CIFAR-10's training images, tested as zero-shot models are.
_base_ = ['../_base_/default_runtime.py', '../_base_/zero_shot.py']

data_root = _base_.zero_shot_root
dataset = _base_.zero_shot_datasets.cifar10
max_epochs = 10
image_size = 128
size = (image_size, image_size)
pack = _base_.zero_shot_pack

model = dict(
    type='TimmClassifier',
    model_name='resnet18',
    num_classes=10,
    pretrained=True,  # or a local file
    data_preprocessor=dict(  # of the weights
        type='mmdet.DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        dataset,
        dataset=dict(dataset.dataset, train=True),
        pipeline=[
            dict(type='mmdet.Resize', scale=(image_size * 9 // 8, image_size * 9 // 8)),
            dict(type='mmdet.RandomCrop', crop_size=size),
            dict(type='mmdet.RandomFlip', prob=0.5),
            pack,
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(pipeline=[dict(type='mmdet.Resize', scale=size), pack], **dataset), **_base_.zero_shot_loader
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ClassificationMetric', prefix='cifar10', topk=(1, 3, 5), per_class=True)
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
