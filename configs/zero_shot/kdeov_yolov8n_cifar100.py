# The student on CIFAR-100.
_base_ = './kdeov_yolov8n_zero-shot.py'

test_dataloader = _base_.test_dataloader[1:2]
test_evaluator = _base_.test_evaluator[1:2]
