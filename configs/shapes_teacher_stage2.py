# The teacher's second stage: batches of one colour, in which textures and shapes differ.
_base_ = './shapes_teacher.py'

max_epochs = 4
load_from = 'work_dirs/shapes_teacher/epoch_20.pth'
train_dataloader = dict(sampler=dict(words=(1,)))
optim_wrapper = dict(optimizer=dict(lr=8e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
