# The student on your own images, in one folder a class, whose name is the class's: --data-root FOLDER.
_base_ = './kdeov_yolov8n_zero-shot.py'

data_root = 'data/folder'
test_dataloader = [
    dict(
        dataset=dict(
            type='TorchvisionDataset', dataset=dict(type='ImageFolder', root=data_root), pipeline=_base_.pipeline
        ),
        **_base_.zero_shot_loader,
    )
]
test_evaluator = [dict(_base_.test_evaluator[0], prefix='folder')]
