# OpenAI's CLIP ViT-B/32. Its weights need the -quickgelu model. A local file works too:
# pretrained='weights/ViT-B-32.safetensors'.
# A config takes the text encoder and its dimension by model = dict(**_base_.clip_space).
clip = dict(model_name='ViT-B-32-quickgelu', pretrained='openai')
clip_space = dict(embed_dims=512, text_encoder=dict(type='OpenCLIPTextEncoder', **clip))
# What competes with a class name, see docs/scores.md. The background is not calibrated: it is a round number between
# CLIP's cosine similarities of photographs with other and with their own captions.
scoring = dict(lexicon='nouns', background=0.25)
