"""Convert a model to CTranslate2, a C++ inference engine for translation models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec
from torch import Tensor, nn
from transformer_torch import Transformer
from transformer_torch.data.tokenizer import SPECIAL_TOKENS


def tokens_of(ids: list[int]) -> list[str]:
    """Return the names of ids in the vocabulary of the converted model."""
    return [SPECIAL_TOKENS[i] if i < len(SPECIAL_TOKENS) else str(i) for i in ids]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().numpy().astype(np.float32)


def _linear(spec: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _attention(spec: Any, module: Any, norm: Any, cross: bool) -> None:
    weight, bias = module.w_qkv.weight, module.w_qkv.bias
    width = module.widths[0]
    parts = [slice(0, width), slice(width, None)] if cross else [slice(None)]
    for linear, part in zip(spec.linear, parts, strict=False):
        _linear(linear, weight[part], bias[part])
    _linear(spec.linear[-1], module.w_o.weight, module.w_o.bias)
    _norm(spec.layer_norm, norm)


def _norm(spec: Any, add_and_norm: Any) -> None:
    spec.gamma, spec.beta = _array(add_and_norm.norm.gamma), _array(add_and_norm.norm.beta)


def _feed_forward(spec: Any, layer: Any) -> None:
    _linear(spec.linear_0, layer.ffn.w_1.weight, layer.ffn.w_1.bias)
    _linear(spec.linear_1, layer.ffn.w_2.weight, layer.ffn.w_2.bias)
    _norm(spec.layer_norm, layer.norm_ffn)


def convert(model: Transformer, folder: Path) -> ctranslate2.Translator:
    """Return a CTranslate2 translator of a post-norm model with sinusoidal positions: float32, one thread.

    Its files are written into `folder`.
    """
    config = model.config
    spec = TransformerSpec.from_config((config.n_layers, config.n_layers), config.n_heads, pre_norm=False)
    for stack in (spec.encoder, spec.decoder):
        stack.position_encodings.encodings = _array(model.positions.table)
    spec.encoder.embeddings[0].weight = _array(model.embedding.weight)
    spec.decoder.embeddings.weight = _array(model.embedding.weight)
    _linear(spec.decoder.projection, model.embedding.weight)
    encoder: Any = nn.ModuleList(model.encoder)
    for target, layer in zip(spec.encoder.layer, encoder, strict=True):
        _attention(target.self_attention, layer.self_attn, layer.norm_self, cross=False)
        _feed_forward(target.ffn, layer)
    decoder: Any = nn.ModuleList(model.decoder)
    for target, layer in zip(spec.decoder.layer, decoder, strict=True):
        _attention(target.self_attention, layer.self_attn, layer.norm_self, cross=False)
        _attention(target.attention, layer.cross_attn, layer.norm_cross, cross=True)
        _feed_forward(target.ffn, layer)
    names = tokens_of(list(range(config.vocab_size)))
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.validate()
    folder.mkdir()
    spec.save(str(folder))
    return ctranslate2.Translator(str(folder), compute_type="float32", inter_threads=1, intra_threads=1)
