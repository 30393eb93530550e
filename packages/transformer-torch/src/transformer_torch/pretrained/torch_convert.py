"""Convert to torch.nn.Transformer and back: the same weights under other names."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transformer_torch._common.errors import invalid
from transformer_torch.config import TransformerConfig
from transformer_torch.model import Transformer

# our name -> PyTorch's, in a layer of the encoder and of the decoder
ATTENTION = {
    "w_qkv.weight": "in_proj_weight",
    "w_qkv.bias": "in_proj_bias",
    "w_o.weight": "out_proj.weight",
    "w_o.bias": "out_proj.bias",
}
FFN = {f"ffn.w_{i}.{p}": f"linear{i}.{p}" for i in (1, 2) for p in ("weight", "bias")}
NORM = {"gamma": "weight", "beta": "bias"}


def _layer_names(decoder: bool) -> dict[str, str]:
    names = {f"self_attn.{ours}": f"self_attn.{theirs}" for ours, theirs in ATTENTION.items()} | FFN
    norms = ["norm_self", "norm_ffn"]
    if decoder:
        names |= {f"cross_attn.{ours}": f"multihead_attn.{theirs}" for ours, theirs in ATTENTION.items()}
        norms.insert(1, "norm_cross")
    for number, name in enumerate(norms, 1):
        names |= {f"{name}.norm.{ours}": f"norm{number}.{theirs}" for ours, theirs in NORM.items()}
    return names


def names_of(config: TransformerConfig) -> dict[str, str]:
    """Return our name -> PyTorch's name of every tensor that torch.nn.Transformer has."""
    names: dict[str, str] = {}
    for stack in ("encoder", "decoder"):
        for number in range(config.n_layers):
            pairs = _layer_names(stack == "decoder").items()
            names |= {f"{stack}.{number}.{ours}": f"{stack}.layers.{number}.{theirs}" for ours, theirs in pairs}
        if config.has_final_norm:
            names |= {f"{stack}_norm.{ours}": f"{stack}.norm.{theirs}" for ours, theirs in NORM.items()}
    return names


def to_torch(model: Transformer) -> nn.Transformer:
    """Return a torch.nn.Transformer (batch first) with copies of the weights, without embeddings and positions.

    Raises: ValueError for d_k or d_v other than d_model / n_heads, which PyTorch does not support.
    """
    config = model.config
    for name, width in (("d_k", config.key_width), ("d_v", config.value_width)):
        if width * config.n_heads != config.d_model:
            raise invalid(name, "be d_model / n_heads in a torch.nn.Transformer", width)
    pre = config.norm == "pre"

    def layer(kind: type[nn.TransformerEncoderLayer] | type[nn.TransformerDecoderLayer]) -> nn.Module:
        return kind(
            config.d_model,
            config.n_heads,
            config.d_ff,
            config.dropout,
            layer_norm_eps=config.layer_norm_eps,
            batch_first=True,
            norm_first=pre,
        )

    # the stacks are made here, because nn.Transformer adds a LayerNorm even after layers that end with one
    norms = [nn.LayerNorm(config.d_model, config.layer_norm_eps) if config.has_final_norm else None for _ in range(2)]
    encoder = nn.TransformerEncoder(
        layer(nn.TransformerEncoderLayer),  # type: ignore[arg-type]
        config.n_layers,
        norms[0],
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(layer(nn.TransformerDecoderLayer), config.n_layers, norms[1])  # type: ignore[arg-type]
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
    """Return a model with copies of the weights of a torch.nn.Transformer and of the matrix it is used with.

    Every layer of both stacks is compared with the first. Raises: ValueError that names what this model cannot be:
    an activation other than ReLU, layers without biases or of different sizes, stacks of different depth or norms.
    """
    weight = embedding.weight.detach() if isinstance(embedding, nn.Embedding) else embedding
    encoder: Any = getattr(theirs.encoder, "layers", [])
    decoder: Any = getattr(theirs.decoder, "layers", [])
    if len(encoder) != len(decoder) or not len(encoder):
        raise invalid("nn_transformer", "have as many decoder layers as encoder layers", (len(encoder), len(decoder)))
    first = _layer_settings(encoder[0], "encoder layer 0")
    for stack, layers in (("encoder", encoder), ("decoder", decoder)):
        for number, layer in enumerate(layers):
            settings = _layer_settings(layer, f"{stack} layer {number}")
            for name, value in settings.items():
                if value != first[name]:
                    raise ValueError(
                        f"`nn_transformer` must have the same {name} in every layer, got {first[name]!r} and "
                        f"{value!r} in {stack} layer {number}"
                    )
    final = [_norm_eps(getattr(stack, "norm", None), "a final norm") for stack in (theirs.encoder, theirs.decoder)]
    if final[0] != final[1] or final[0] not in (None, first["layer_norm_eps"]):
        raise invalid("nn_transformer", f"have no final norms or two with eps {first['layer_norm_eps']}", tuple(final))
    if weight.size(1) != first["d_model"]:
        raise invalid("embedding", f"have the width d_model = {first['d_model']}", weight.size(1))
    config = TransformerConfig(
        vocab_size=weight.size(0),
        d_model=first["d_model"],
        n_heads=first["n_heads"],
        n_layers=len(encoder),
        d_ff=first["d_ff"],
        dropout=first["dropout"],
        norm="pre" if first["norm_first"] else "post",
        max_length=max_length,
        pad_id=pad_id,
        final_norm=final[0] is not None,
        layer_norm_eps=first["layer_norm_eps"],
    )
    model = Transformer(config).to(weight)
    state = theirs.state_dict()
    names = names_of(config)
    if unknown := sorted(state.keys() - set(names.values())):
        raise ValueError(f"`nn_transformer` must have only the tensors of nn.Transformer, got {unknown[0]}")
    weights = {own: state[name] for own, name in names.items()}
    model.load_state_dict(weights | {"embedding.weight": weight}, strict=True)
    return model.train(theirs.training)


def _layer_settings(layer: Any, where: str) -> dict[str, Any]:
    """Return the settings of a layer that must be equal in all of them. Raises: ValueError for what is unsupported."""

    def refuse(what: str, value: object) -> ValueError:
        return ValueError(f"`nn_transformer` must have {what}, got {value} in {where}")

    if not isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        raise refuse("layers of torch.nn.Transformer", type(layer).__name__)
    activation = layer.activation
    if getattr(activation, "__name__", "") not in ("relu", "relu_") and not isinstance(activation, nn.ReLU):
        raise refuse("the activation ReLU", activation)
    attentions = [layer.self_attn, *([layer.multihead_attn] if isinstance(layer, nn.TransformerDecoderLayer) else [])]
    norms = [layer.norm1, layer.norm2, *([layer.norm3] if isinstance(layer, nn.TransformerDecoderLayer) else [])]
    attention: Any
    for attention in attentions:
        if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
            raise refuse("attention with one embed_dim and without bias_kv or zero_attn", attention)
    linear: Any = layer.linear1
    if linear.bias is None or any(a.in_proj_bias is None for a in attentions):
        raise refuse("biases", "bias=False")
    eps = [_norm_eps(norm, where) for norm in norms]
    heads = [attention.num_heads for attention in attentions]
    for name, values in (("layer_norm_eps", eps), ("n_heads", heads)):
        if len(set(values)) > 1:
            raise refuse(f"one {name} in a layer", values)
    return {
        "d_model": layer.linear1.in_features,
        "n_heads": heads[0],
        "d_ff": layer.linear1.out_features,
        "norm_first": layer.norm_first,
        "layer_norm_eps": eps[0],
        "dropout": layer.dropout1.p,
    }


def _norm_eps(norm: Any, where: str) -> float | None:
    """Return the eps of a LayerNorm with weight and bias, or None where there is no norm."""
    if norm is None:
        return None
    if not isinstance(norm, nn.LayerNorm) or None in (norm.weight, getattr(norm, "bias", None)):
        raise ValueError(f"`nn_transformer` must have LayerNorm with weight and bias, got {norm} in {where}")
    return norm.eps
