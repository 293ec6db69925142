# The shapes dataset's teacher: a small OpenCLIP model, trained on all concepts with captions as CLIP was. Here shapes
# are the hard negatives; shapes_teacher_stage2 and _stage3 continue with textures. `make teacher` runs all three.
_base_ = ['_base_/default_runtime.py', '_base_/shapes.py', '_base_/adamw.py']

max_epochs = 20
shapes_world = dict(splits=('teacher', 'test_single'))

model = dict(
    type='OpenCLIPDualEncoder',
    model_name='kdeov-shapes',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='HardNegativeSampler', words=(0, 1), shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='OVCocoDataset',
        data_root=_base_.data_root,
        ann_file='annotations/instances_teacher.json',
        caption_file='annotations/captions_teacher.json',
        data_prefix=dict(img='teacher/'),
        groups=None,
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=[
            dict(type='LoadImageFromFile', backend_args=None),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='ObjectSafeCrop'),
            dict(type='mmdet.Resize', scale=(64, 64)),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys),
        ],
    ),
)

optim_wrapper = dict(optimizer=dict(lr=1.5e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
