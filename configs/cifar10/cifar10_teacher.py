# A small stand-in for CLIP: OpenCLIP's dual encoder, trained on CIFAR-10's training images with their class names as
# captions. tools/model_converters/export_weights.py makes weights of its checkpoint.
_base_ = ['../_base_/default_runtime.py', '../_base_/cifar10_folder.py', '../_base_/adamw.py']

max_epochs = 12

model = dict(
    type='OpenCLIPDualEncoder',
    model_name='kdeov-shapes',  # an architecture; it starts from random weights
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
)

train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(captions='a photo of a {}', **_base_.train_dataset),
)

optim_wrapper = dict(optimizer=dict(lr=1.5e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
