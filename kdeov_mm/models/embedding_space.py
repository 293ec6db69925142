"""The embedding space of a model: the CLIP that it comes from, and one dimension D for all parts."""

from functools import cached_property

from .clip.text_encoder import TextEncoder, build_text_encoder


class EmbeddingSpaceMixin:
    """Gives a model the text encoder of its config, which shares its embedding space.

    Attributes:
        text_encoder_cfg: Config of the text encoder, or None.
    """

    text_encoder_cfg: dict | None = None

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The frozen text encoder, built on first use. It is no module, so it is in no checkpoint.

        Raises:
            ValueError, FileNotFoundError: See :func:`~kdeov_mm.models.clip.build_text_encoder`.
        """
        return build_text_encoder(dict(type=type(self).__name__, text_encoder=self.text_encoder_cfg))


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
