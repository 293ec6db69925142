# The CLIP of the shapes dataset: a small OpenCLIP model whose weights come with this package.
# A config takes the text encoder and its dimension by model = dict(**_base_.clip_space).
clip = dict(model_name='kdeov-shapes', pretrained='shapes')
clip_space = dict(embed_dims=128, text_encoder=dict(type='OpenCLIPTextEncoder', **clip))
# What competes with a class name
scoring = dict(lexicon='shapes', background=0.55, image_background=0.62)
