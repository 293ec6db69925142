# CLIP ViT-B/32 by OpenAI: the one teacher of all stages, tests and comparisons on photographs. Its weights need the
# -quickgelu model. A local file works too: pretrained='weights/ViT-B-32.safetensors'. Another CLIP is another file like
# this one, see docs/tutorials/own_teacher.md.
# A config takes the text encoder and its dimension by model = dict(**_base_.clip_space).
clip = dict(model_name='ViT-B-32-quickgelu', pretrained='openai')
clip_space = dict(embed_dims=512, text_encoder=dict(type='OpenCLIPTextEncoder', **clip))
logit_scale = 100.0  # with which it was trained
# What competes with a class name, see docs/scores.md. The background is not calibrated: it is a round number between
# CLIP's cosine similarities of photographs with other and with their own captions.
scoring = dict(lexicon='nouns', background=0.25)
