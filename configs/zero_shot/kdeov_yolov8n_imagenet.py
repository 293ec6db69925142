# The student on ImageNet-1k.
_base_ = './kdeov_yolov8n_zero-shot.py'

test_dataloader = _base_.test_dataloader[2:3]
test_evaluator = _base_.test_evaluator[2:3]
