"""Search among many images: an index on a disk or an object store, filled once and asked in words. Needs LanceDB."""

from .build import Report, update_index
from .encoder import ImageEncoder
from .index_files import image_encoder_file, text_encoder_file
from .query import check_text_source, embed_query, remember_text
from .store import ImageStore, Model
from .verify import check_index

__all__ = [
    'ImageEncoder',
    'ImageStore',
    'Model',
    'Report',
    'check_index',
    'check_text_source',
    'embed_query',
    'image_encoder_file',
    'remember_text',
    'text_encoder_file',
    'update_index',
]
