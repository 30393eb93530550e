"""Our weights as a model of CTranslate2, the C++ engine that translators are served with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec
from torch import Tensor, nn
from transformer_torch import Transformer
from transformer_torch.vocab import SIGNS


def tokens_of(ids: list[int]) -> list[str]:
    """The names of ids in CTranslate2's vocabulary."""
    return [SIGNS[i] if i < len(SIGNS) else str(i) for i in ids]


def _numbers(tensor: Tensor) -> Any:
    return tensor.detach().float().numpy().astype(np.float32)


def _linear(spec: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    spec.weight = _numbers(weight)
    if bias is not None:
        spec.bias = _numbers(bias)


def _attention(spec: Any, module: Any, norm: Any, cross: bool) -> None:
    weight, bias = module.w_qkv.weight, module.w_qkv.bias
    width = module.widths[0]
    parts = [slice(0, width), slice(width, None)] if cross else [slice(None)]
    for linear, part in zip(spec.linear, parts, strict=False):
        _linear(linear, weight[part], bias[part])
    _linear(spec.linear[-1], module.w_o.weight, module.w_o.bias)
    _norm(spec.layer_norm, norm)


def _norm(spec: Any, around: Any) -> None:
    spec.gamma, spec.beta = _numbers(around.norm.gamma), _numbers(around.norm.beta)


def _feed_forward(spec: Any, layer: Any) -> None:
    _linear(spec.linear_0, layer.feed_forward.w_1.weight, layer.feed_forward.w_1.bias)
    _linear(spec.linear_1, layer.feed_forward.w_2.weight, layer.feed_forward.w_2.bias)
    _norm(spec.layer_norm, layer.around_feed_forward)


def convert(model: Transformer, folder: Path) -> ctranslate2.Translator:
    """A post-norm model with sinusoidal positions, in float32 on one thread; its files go into `folder`."""
    config = model.config
    spec = TransformerSpec.from_config((config.n_layers, config.n_layers), config.n_heads, pre_norm=False)
    for stack in (spec.encoder, spec.decoder):
        stack.position_encodings.encodings = _numbers(model.positions.table)
    spec.encoder.embeddings[0].weight = _numbers(model.embedding.weight)
    spec.decoder.embeddings.weight = _numbers(model.embedding.weight)
    _linear(spec.decoder.projection, model.embedding.weight)
    encoder: Any = nn.ModuleList(model.encoder)
    for its, layer in zip(spec.encoder.layer, encoder, strict=True):
        _attention(its.self_attention, layer.self_attention, layer.around_self, cross=False)
        _feed_forward(its.ffn, layer)
    decoder: Any = nn.ModuleList(model.decoder)
    for its, layer in zip(spec.decoder.layer, decoder, strict=True):
        _attention(its.self_attention, layer.self_attention, layer.around_self, cross=False)
        _attention(its.attention, layer.cross_attention, layer.around_cross, cross=True)
        _feed_forward(its.ffn, layer)
    names = tokens_of(list(range(config.vocab_size)))
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.validate()
    folder.mkdir()
    spec.save(str(folder))
    return ctranslate2.Translator(str(folder), compute_type="float32", inter_threads=1, intra_threads=1)
