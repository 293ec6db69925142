"""YOLO-World, implemented from its paper for comparison; the authors' weights do not fit.

Cheng et al. 2024, "YOLO-World: Real-Time Open-Vocabulary Object Detection" (CVPR). Choices where the paper is open: one
attention head and a 1x1 projection of the class embeddings in each text-guided CSP layer, 256 dimensions and 8 heads in
the image-pooling attention, alpha and beta for each level, binary cross-entropy over the vocabulary as YOLOv8 has it.
"""

import math
from collections.abc import Sequence
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from mmdet.models.utils import multi_apply
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from mmyolo.models.detectors import YOLODetector
from mmyolo.models.dense_heads import YOLOv8Head, YOLOv8HeadModule
from mmyolo.models.layers import CSPLayerWithTwoConv
from mmyolo.models.necks import YOLOv8PAFPN
from mmyolo.models.utils import make_divisible, make_round
from mmyolo.registry import MODELS
from torch import Tensor, nn

from kdeov_mm.models.clip import ClassEmbeddings
from kdeov_mm.models.embedding_space import EmbeddingSpaceMixin, with_dims
from kdeov_mm.models.logit_scale import LogitScaleMixin
from kdeov_mm.text import Lexicon


class TextGuidedCSPLayer(CSPLayerWithTwoConv):
    """Adds max-sigmoid attention to YOLOv8's CSP layer, after its last block (section 3.3 of the paper).

    ``X' = X * sigmoid(max_j(X w_j))``, concatenated with the other branches.

    Args:
        embed_dims: Dimension D of the class embeddings.
        num_blocks: Number of bottleneck blocks, without the attention.
        *args, **kwargs: Of ``CSPLayerWithTwoConv``.
    """

    def __init__(self, *args, embed_dims: int, num_blocks: int = 1, **kwargs) -> None:
        super().__init__(*args, num_blocks=num_blocks + 1, **kwargs)  # one more branch to concatenate
        self.blocks = self.blocks[:-1]
        self.guide = nn.Linear(embed_dims, self.mid_channels)

    def forward(self, x: Tensor, class_embeddings: Tensor) -> Tensor:
        """Condition features ``[B, C, H, W]`` on class embeddings ``[B, K, D]``."""
        branches = list(self.main_conv(x).chunk(2, 1))
        for block in self.blocks:
            branches.append(block(branches[-1]))
        last = branches[-1]
        similarity = self.guide(class_embeddings) @ last.flatten(2) / math.sqrt(self.mid_channels)
        attention = similarity.amax(1).sigmoid().view(len(x), 1, *x.shape[2:])
        return self.final_conv(torch.cat([*branches, last * attention], 1))


class ImagePoolingAttention(nn.Module):
    """Lets class embeddings attend to 3 x 3 max-pooled patches of each level: ``W' = W + MultiHeadAttention(W, X, X)``.

    Args:
        in_channels: Channels of the levels.
        embed_dims: Dimension D of the class embeddings.
        attn_dims: Width of queries, keys and values.
        num_heads: Attention heads.
    """

    def __init__(self, in_channels: Sequence[int], embed_dims: int, attn_dims: int = 256, num_heads: int = 8) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.levels = nn.ModuleList(nn.Linear(channels, attn_dims) for channels in in_channels)
        self.query = nn.Sequential(nn.LayerNorm(embed_dims), nn.Linear(embed_dims, attn_dims))
        self.key, self.value = (
            nn.Sequential(nn.LayerNorm(attn_dims), nn.Linear(attn_dims, attn_dims)) for _ in range(2)
        )
        self.output = nn.Linear(attn_dims, embed_dims)

    def forward(self, class_embeddings: Tensor, feats: Sequence[Tensor]) -> Tensor:
        """Update class embeddings ``[B, K, D]`` with the image."""
        patches = torch.cat(
            [layer(F.adaptive_max_pool2d(x, 3).flatten(2).transpose(1, 2)) for layer, x in zip(self.levels, feats)], 1
        )
        query, key, value = (
            x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.query(class_embeddings), self.key(patches), self.value(patches))
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return class_embeddings + self.output(attended.transpose(1, 2).flatten(2))


@MODELS.register_module()
class YOLOWorldPAFPN(YOLOv8PAFPN):
    """Builds RepVL-PAN: YOLOv8's neck of text-conditioned CSP layers, image-pooling attention after the top-down path.

    Args:
        embed_dims: Dimension D of the class embeddings.
        *args, **kwargs: Of ``YOLOv8PAFPN``, with three levels.
    """

    def __init__(self, *args, embed_dims: int, **kwargs) -> None:
        self.embed_dims = embed_dims
        super().__init__(*args, **kwargs)
        pooled = [*self.out_channels[:2], self.in_channels[2]]  # the top-down path leaves its topmost level as it is
        self.text_enhancer = ImagePoolingAttention([make_divisible(c, self.widen_factor) for c in pooled], embed_dims)

    def build_csp_layer(self, inputs: int, outputs: int) -> nn.Module:
        """Build a text-conditioned CSP layer; the channels are those before ``widen_factor``."""
        return TextGuidedCSPLayer(
            make_divisible(inputs, self.widen_factor),
            make_divisible(outputs, self.widen_factor),
            num_blocks=make_round(self.num_csp_blocks, self.deepen_factor),
            add_identity=False,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
            embed_dims=self.embed_dims,
        )

    def build_top_down_layer(self, idx: int) -> nn.Module:
        return self.build_csp_layer(self.in_channels[idx - 1] + self.in_channels[idx], self.out_channels[idx - 1])

    def build_bottom_up_layer(self, idx: int) -> nn.Module:
        return self.build_csp_layer(self.out_channels[idx] + self.out_channels[idx + 1], self.out_channels[idx + 1])

    def forward(self, feats: Sequence[Tensor], class_embeddings: Tensor) -> tuple[Tensor, ...]:
        """Fuse the backbone's three levels ``[B, C_l, H_l, W_l]`` with class embeddings ``[K, D]``."""
        p3, p4, p5 = feats
        class_embeddings = class_embeddings.expand(len(p3), -1, -1)
        p4 = self.top_down_layers[0](torch.cat([self.upsample_layers[0](p5), p4], 1), class_embeddings)
        p3 = self.top_down_layers[1](torch.cat([self.upsample_layers[1](p4), p3], 1), class_embeddings)
        class_embeddings = self.text_enhancer(class_embeddings, (p3, p4, p5))
        p4 = self.bottom_up_layers[0](torch.cat([self.downsample_layers[0](p3), p4], 1), class_embeddings)
        p5 = self.bottom_up_layers[1](torch.cat([self.downsample_layers[1](p4), p5], 1), class_embeddings)
        return p3, p4, p5


@MODELS.register_module()
class YOLOWorldHeadModule(LogitScaleMixin, YOLOv8HeadModule):
    """Adds the text contrastive head to YOLOv8's towers: logit = alpha * cosine(object embedding, text) + beta.

    Args:
        embed_dims: Dimension D of the class embeddings.
        *args, **kwargs: Of ``YOLOv8HeadModule``; ``num_classes`` only sets the towers' width.
    """

    def __init__(self, *args, embed_dims: int, **kwargs) -> None:
        self.embed_dims = embed_dims
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        for tower in self.cls_preds:
            tower[-1] = nn.Conv2d(tower[-1].in_channels, self.embed_dims, 1)
        self.init_logit_scale(1 / 0.07, (self.num_levels,))
        self.shift = nn.Parameter(torch.zeros(self.num_levels))

    def init_weights(self) -> None:
        super(YOLOv8HeadModule, self).init_weights()
        for reg_pred in self.reg_preds:
            reg_pred[-1].bias.data[:] = 1.0
        strides = self.shift.new_tensor(self.featmap_strides)
        self.shift.data = torch.log(5 / self.num_classes / (640 / strides) ** 2)  # YOLOv8's prior

    def contrast(self, x: Tensor, tower: nn.Module, level: int, class_embeddings: Tensor) -> Tensor:
        """Compute similarity logits ``[B, K, H, W]``."""
        objects = F.normalize(tower(x), dim=1)
        weight = (self.scale[level] * F.normalize(class_embeddings, dim=1))[:, :, None, None]
        return F.conv2d(objects, weight, self.shift[level].expand(len(class_embeddings)))

    def forward(self, x: Sequence[Tensor], class_embeddings: Tensor) -> tuple[list[Tensor], ...]:
        """Run the towers for the classes ``class_embeddings`` ``[K, D]``; returns what ``YOLOv8HeadModule`` returns."""
        if self.training:
            self.clamp_logit_scale()
        towers = [
            partial(self.contrast, tower=tower, level=level, class_embeddings=class_embeddings)
            for level, tower in enumerate(self.cls_preds)
        ]
        return multi_apply(self.forward_single, x, towers, self.reg_preds)


@MODELS.register_module()
class YOLOWorldHead(YOLOv8Head):
    """Applies YOLOv8's assignment, losses and decoding to the classes of the vocabulary."""

    def forward(self, x: tuple[Sequence[Tensor], Tensor]) -> tuple[list[Tensor], ...]:
        feats, class_embeddings = x
        return self.head_module(feats, class_embeddings)

    def predict(
        self,
        x: tuple[Sequence[Tensor], Tensor],
        batch_data_samples: SampleList,
        rescale: bool = False,
        fill_presence: bool = False,
    ) -> list[InstanceData]:
        """Detect; ``fill_presence`` adds each class's best score anywhere in the image, ``presence`` ``[K]``."""
        outputs = self(x)
        if fill_presence:
            presence = torch.stack([logits.amax((2, 3)) for logits in outputs[0]]).amax(0).sigmoid()
            for sample, scores in zip(batch_data_samples, presence):
                sample.presence = scores
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat(*outputs, batch_img_metas=metas, rescale=rescale)

    def set_num_classes(self, num_classes: int) -> None:
        """Set the number of classes of the next forward pass."""
        for part in (self, self.head_module, getattr(self, 'assigner', self)):
            part.num_classes = num_classes


@MODELS.register_module()
class YOLOWorld(EmbeddingSpaceMixin, YOLODetector):
    """Detects with a vocabulary that is set as in ``KDEOV``.

    The score of a class is a sigmoid, but depends on the vocabulary, because the neck reads all class names. With a
    ``lexicon`` the neck reads the lexicon's names in inference, and scores are independent of the vocabulary. Then data
    samples get ``presence``.

    Args:
        neck: Config of a YOLOWorldPAFPN.
        bbox_head: Config of a YOLOWorldHead.
        embed_dims: Dimension D of the class embeddings.
        text_encoder: Config of the text encoder, see ``KDEOV``.
        lexicon: Names that condition the neck in inference, see :meth:`kdeov_mm.text.Lexicon.read`; None: the
            vocabulary.
        **kwargs: Of ``YOLODetector``.
    """

    def __init__(
        self,
        neck: dict,
        bbox_head: dict,
        embed_dims: int,
        text_encoder: dict | None = None,
        lexicon: str | Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        head_module = with_dims(bbox_head['head_module'], embed_dims, 'model.bbox_head.head_module')
        neck, bbox_head = with_dims(neck, embed_dims, 'model.neck'), {**bbox_head, 'head_module': head_module}
        super().__init__(neck=neck, bbox_head=bbox_head, **kwargs)
        self.text_encoder_cfg = text_encoder
        self.lexicon, self.closed = Lexicon.read(lexicon), not lexicon
        self.register_buffer('class_embeddings', torch.zeros(0, embed_dims), persistent=False)

    def set_vocabulary(self, vocabulary: ClassEmbeddings, closed: bool = False) -> None:
        """Set the classes to detect or, in training, to learn.

        Args:
            vocabulary: The K classes.
            closed: Whether the vocabulary conditions the neck, instead of the lexicon.

        Raises:
            ValueError: If the dimension of the embeddings differs from the model's.
        """
        if vocabulary.embeddings.shape[1:] != self.class_embeddings.shape[1:]:
            raise ValueError(
                f'vocabulary: embeddings have shape {tuple(vocabulary.embeddings.shape)}, but this model needs '
                f'(K, {self.class_embeddings.shape[1]}); set model.embed_dims'
            )
        self.class_embeddings = vocabulary.embeddings.to(self.class_embeddings)
        self.closed = closed or not self.lexicon
        self.bbox_head.set_num_classes(len(self.class_embeddings))

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Return the neck's text-conditioned features and the class embeddings for the head."""
        context = self.class_embeddings if self.training or self.closed else self.lexicon_embeddings
        return self.neck(self.backbone(batch_inputs), context.to(batch_inputs)), self.class_embeddings

    @cached_property
    def lexicon_embeddings(self) -> Tensor:
        """The class embeddings of the lexicon ``[L, D]``, computed on first use."""
        return ClassEmbeddings.build(self.lexicon.entries, self.text_encoder).embeddings

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Fill ``pred_instances``, and ``presence`` if scores are independent of the vocabulary."""
        feats, class_embeddings = self.extract_feat(batch_inputs)
        results = self.bbox_head.predict((feats, class_embeddings), batch_data_samples, rescale, not self.closed)
        return self.add_pred_to_datasample(batch_data_samples, results)
