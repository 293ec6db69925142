# The teacher's third stage: batches of few colours and shapes, in which textures differ.
_base_ = './shapes_teacher_stage2.py'

max_epochs = 3
load_from = 'work_dirs/shapes_teacher_stage2/epoch_4.pth'
train_dataloader = dict(sampler=dict(words=(1, 2)))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=25),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
