"""Text search in many images with an index on a disk or an object store. Needs LanceDB."""

from .build import Report, update_index
from .encoder import IndexEncoder
from .index_files import image_encoder_file, text_encoder_file
from .query import check_text_source, embed_query, remember_text, text_presence
from .store import ImageStore, Model
from .verify import check_index

ImageEncoder = IndexEncoder  # the old name, for one release

__all__ = [
    'ImageEncoder',
    'ImageStore',
    'IndexEncoder',
    'Model',
    'Report',
    'check_index',
    'check_text_source',
    'embed_query',
    'image_encoder_file',
    'remember_text',
    'text_encoder_file',
    'text_presence',
    'update_index',
]
