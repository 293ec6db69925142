# Stage 1 with SigLIP's sigmoid loss on captions in place of InfoNCE.
_base_ = '../../configs/kdeov_yolov8n_pretrain.py'

custom_imports = dict(imports=['kdeov_mm', 'projects.sigmoid_loss.sigmoid_loss'], allow_failed_imports=False)
model = dict(loss_image=dict(losses=dict(align=None, sigmoid=dict(type='SigmoidLoss', loss_weight=0.1))))
