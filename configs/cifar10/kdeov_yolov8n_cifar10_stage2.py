# The student, trained on from its last epoch.
_base_ = './kdeov_yolov8n_cifar10_stage1.py'

max_epochs = 14
load_from = 'work_dirs/cifar10_student/epoch_20.pth'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
