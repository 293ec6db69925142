"""The embedding space of a model: the CLIP that it comes from, and one dimension D for all parts."""

from functools import cached_property

from mmyolo.registry import MODELS


class EmbeddingSpaceMixin:
    """Gives a model the text encoder of its config, which shares its embedding space.

    Attributes:
        text_encoder_cfg: Config of the text encoder, or None.
    """

    text_encoder_cfg: dict | None = None

    @cached_property
    def text_encoder(self) -> object:
        """The frozen text encoder, built on first use. It is no module, so it is in no checkpoint.

        Raises:
            ValueError: If the model's config has none, or its arguments are wrong.
            FileNotFoundError: If a file of weights does not exist.
        """
        if not self.text_encoder_cfg:
            raise ValueError(
                f'model.text_encoder: {type(self).__name__} has none, but class names must be embedded; set '
                "model.text_encoder=dict(type='OpenCLIPTextEncoder', ...) in the config, or give ready embeddings"
            )
        return MODELS.build(self.text_encoder_cfg)


def with_dims(part: dict | None, embed_dims: int, name: str) -> dict | None:
    """Give the config of a model's part the model's dimension D.

    Args:
        part: Config of the part, or None.
        embed_dims: The model's D.
        name: The part's field in the config, for messages.

    Raises:
        ValueError: If the part's config has another dimension.
    """
    if not part:
        return None
    own = part.get('embed_dims', embed_dims)
    if own != embed_dims:
        raise ValueError(
            f'{name}.embed_dims: {own} differs from model.embed_dims={embed_dims}; set model.embed_dims alone'
        )
    return {**part, 'embed_dims': embed_dims}
