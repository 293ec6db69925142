# The same with both towers learning, slower than the projections.
_base_ = './vit-distilbert_flickr8k_frozen.py'

model = dict(frozen=[])
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'clip.visual.trunk': dict(lr_mult=0.1), 'clip.text.transformer': dict(lr_mult=0.01)}
    )
)
