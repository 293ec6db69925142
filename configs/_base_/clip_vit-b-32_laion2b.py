# OpenCLIP's ViT-B/32, trained on LAION-2B.
# A config takes the text encoder and its dimension by model = dict(**_base_.clip_space).
clip = dict(model_name='ViT-B-32', pretrained='laion2b_s34b_b79k')
clip_space = dict(embed_dims=512, text_encoder=dict(type='OpenCLIPTextEncoder', **clip))
# What competes with a class name, see docs/scores.md. The background is not calibrated: it is a round number between
# CLIP's cosine similarities of photographs with other and with their own captions.
scoring = dict(lexicon='nouns', background=0.25)
