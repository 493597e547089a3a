"""Sapiens v1 in plain torch. Names of parameters are those of the published files, so that a file loads as it is."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fmgs_core.priors.sapiens.architecture import PATCH, NetworkSpec

_LAYER_NORM_EPS = 1e-6
_MLP_RATIO = 4


class SapiensNetwork(nn.Module):
    """Picture to the raw output of one head: normals before normalisation, relative depth, class scores or heat maps.

    Random weights until some are loaded. 0.3b at full size is 4.7 TFLOP per picture.
    """

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec)
        self.add_module(spec.head.prefix, DecodeHead(spec))

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """`pixels` are normalised RGB of `spec.input_hw`; the output is of `spec.output_hw`.

        Raises:
            RuntimeError: pixels of another size, from the addition of the position embedding.
        """
        return self.get_submodule(self.spec.head.prefix)(self.backbone(pixels))


class Backbone(nn.Module):
    """Vision transformer over 16 x 16 px patches with learned positions; gives the feature map of its last layer."""

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        dim, (rows, columns) = spec.architecture.embed_dim, spec.tokens_hw
        self._grid = rows, columns
        self.patch_embed = PatchEmbedding(dim, spec.padding)
        self.pos_embed = nn.Parameter(torch.randn(1, rows * columns, dim) * 0.02)
        self.layers = nn.ModuleList(Layer(dim, spec.architecture.heads) for _ in range(spec.architecture.layers))
        self.ln1 = nn.LayerNorm(dim, _LAYER_NORM_EPS)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d rows columns"]:
        tokens = self.patch_embed(pixels) + self.pos_embed
        for layer in self.layers:
            tokens = layer(tokens)
        return self.ln1(tokens).transpose(1, 2).unflatten(2, self._grid)


class PatchEmbedding(nn.Module):
    """One convolution. A padding of 2 px shifts the patches but leaves their number, since sides are multiples of 16."""

    def __init__(self, dim: int, padding: int):
        super().__init__()
        self.projection = nn.Conv2d(3, dim, PATCH, stride=PATCH, padding=padding)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        return self.projection(pixels).flatten(2).transpose(1, 2)


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim, _LAYER_NORM_EPS)
        self.attn = Attention(dim, heads)
        self.ln2 = nn.LayerNorm(dim, _LAYER_NORM_EPS)
        self.ffn = FeedForward(dim)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        tokens = tokens + self.attn(self.ln1(tokens))
        return tokens + self.ffn(self.ln2(tokens))


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection of queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self._split = 3, heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = self.qkv(tokens).unflatten(2, self._split).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with the exact GELU between; numbered as in the files."""

    def __init__(self, dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(dim, _MLP_RATIO * dim), nn.GELU()), nn.Linear(_MLP_RATIO * dim, dim)
        )

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.layers(tokens)


class DecodeHead(nn.Module):
    """Transposed convolutions that double the size, 1 x 1 convolutions, then one to the task's channels."""

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        width, first = spec.head_width, spec.architecture.embed_dim
        inputs = (first, *[width] * (spec.head.deconvs - 1))
        self.deconv_layers = nn.Sequential(
            *(m for c in inputs for m in _normed(nn.ConvTranspose2d(c, width, 4, stride=2, padding=1, bias=False)))
        )
        self.conv_layers = nn.Sequential(*(m for _ in range(spec.head.convs) for m in _normed(nn.Conv2d(width, width, 1))))
        self._final = spec.head.final
        self.add_module(self._final, nn.Conv2d(width, spec.channels, 1))

    def forward(self, features: Float[Tensor, "b d rows columns"]) -> Float[Tensor, "b c h w"]:
        return self.get_submodule(self._final)(self.conv_layers(self.deconv_layers(features)))


def _normed(convolution: nn.Module) -> tuple[nn.Module, ...]:
    """With what follows each of the head's convolutions; the norm has no parameters."""
    width = convolution.out_channels
    assert isinstance(width, int)
    return convolution, nn.InstanceNorm2d(width), nn.SiLU(inplace=True)
