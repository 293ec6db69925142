# The student on CIFAR-10.
_base_ = './kdeov_yolov8n_zero-shot.py'

test_dataloader = _base_.test_dataloader[0:1]
test_evaluator = _base_.test_evaluator[0:1]
