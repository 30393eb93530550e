"""To torch.nn.Transformer and back: the same weights under other names."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from transformer_torch.config import TransformerConfig
from transformer_torch.layers import LayerNorm
from transformer_torch.model import Transformer

# our name -> torch's, in a layer of the encoder and of the decoder
SELF = {
    "w_qkv.weight": "in_proj_weight",
    "w_qkv.bias": "in_proj_bias",
    "w_o.weight": "out_proj.weight",
    "w_o.bias": "out_proj.bias",
}
FEED_FORWARD = {f"feed_forward.w_{i}.{p}": f"linear{i}.{p}" for i in (1, 2) for p in ("weight", "bias")}
NORM = {"gamma": "weight", "beta": "bias"}


def _layer_names(decoder: bool) -> dict[str, str]:
    names = {f"self_attention.{ours}": f"self_attn.{theirs}" for ours, theirs in SELF.items()} | FEED_FORWARD
    around = ["self", "feed_forward"]
    if decoder:
        names |= {f"cross_attention.{ours}": f"multihead_attn.{theirs}" for ours, theirs in SELF.items()}
        around.insert(1, "cross")
    for number, name in enumerate(around, 1):
        names |= {f"around_{name}.norm.{ours}": f"norm{number}.{theirs}" for ours, theirs in NORM.items()}
    return names


def names_of(config: TransformerConfig) -> dict[str, str]:
    """Our name -> torch's name, of every tensor that torch.nn.Transformer has."""
    names: dict[str, str] = {}
    for stack in ("encoder", "decoder"):
        for number in range(config.n_layers):
            pairs = _layer_names(stack == "decoder").items()
            names |= {f"{stack}.{number}.{ours}": f"{stack}.layers.{number}.{theirs}" for ours, theirs in pairs}
        if config.has_final_norm:
            names |= {f"{stack}_norm.{ours}": f"{stack}.norm.{theirs}" for ours, theirs in NORM.items()}
    return names


def to_torch(model: Transformer) -> nn.Transformer:
    """A torch.nn.Transformer (batch first) with copies of the weights; embeddings and positions stay outside of it.

    ValueError where torch has no such model: d_k or d_v other than d_model / n_heads.
    """
    config = model.config
    if {config.key_width, config.value_width} != {config.d_model / config.n_heads}:
        raise ValueError("d_k, d_v: torch.nn.Transformer knows only d_model / n_heads")
    sizes = (config.d_model, config.n_heads, config.d_ff, config.dropout)
    pre = config.norm == "pre"
    # the stacks are made here because nn.Transformer would put a LayerNorm even after layers that end in one
    norms = [nn.LayerNorm(config.d_model) if config.has_final_norm else None for _ in range(2)]
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=pre),
        config.n_layers,
        norms[0],
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(*sizes, batch_first=True, norm_first=pre), config.n_layers, norms[1]
    )
    theirs = nn.Transformer(
        config.d_model, config.n_heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
    )
    theirs.to(model.embedding.weight)
    ours = model.state_dict()
    theirs.load_state_dict({name: ours[own] for own, name in names_of(config).items()})
    return theirs.train(model.training)


def from_torch(
    theirs: nn.Transformer, embedding: nn.Embedding | Tensor, pad_id: int = 0, max_length: int = 512
) -> Transformer:
    """A model with copies of the weights of a torch.nn.Transformer and of the matrix it is used with.

    ValueError for what the paper's model is not: another activation than ReLU, stacks of different depth, no biases.
    """
    weight = embedding.weight.detach() if isinstance(embedding, nn.Embedding) else embedding
    encoder, decoder = theirs.encoder.layers, theirs.decoder.layers
    first = encoder[0]
    if len(encoder) != len(decoder):
        raise ValueError(
            f"nn_transformer: {len(encoder)} and {len(decoder)} layers; the paper's stacks are of one depth"
        )
    if getattr(first.activation, "__name__", "") != "relu" and not isinstance(first.activation, nn.ReLU):
        raise ValueError(f"nn_transformer: activation {first.activation}; the paper has ReLU")
    norms = (theirs.encoder.norm is not None, theirs.decoder.norm is not None)
    if norms[0] != norms[1]:
        raise ValueError("nn_transformer: one stack has a last LayerNorm, the other has none")
    if first.linear1.bias is None:
        raise ValueError("nn_transformer: built with bias=False; the paper's layers have biases")
    if weight.size(1) != first.linear1.in_features:
        raise ValueError(f"embedding: width {weight.size(1)}; the transformer has d_model {first.linear1.in_features}")
    config = TransformerConfig(
        vocab_size=weight.size(0),
        d_model=weight.size(1),
        n_heads=first.self_attn.num_heads,
        n_layers=len(encoder),
        d_ff=first.linear1.out_features,
        dropout=first.dropout1.p,
        norm="pre" if first.norm_first else "post",
        max_length=max_length,
        pad_id=pad_id,
    )
    model = Transformer(replace(config, final_norm=norms[0])).to(weight)
    for norm in model.modules():
        if isinstance(norm, LayerNorm):
            norm.eps = first.norm1.eps
    state = theirs.state_dict()
    weights = {own: state[name] for own, name in names_of(model.config).items()}
    model.load_state_dict(weights | {"embedding.weight": weight}, strict=True)
    return model.train(theirs.training)
