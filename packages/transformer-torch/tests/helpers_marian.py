"""Hugging Face's Marian, an independent implementation of the paper, with the same weights."""

import torch
from transformer_torch import Transformer, TransformerConfig
from transformers import MarianConfig, MarianMTModel

PAD, EOS = 0, 2  # Marian starts a target with padding


def marian_config(vocab_size, d_model=32, heads=4, layers=2, d_ff=64, max_length=128):
    return MarianConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=d_ff,
        decoder_ffn_dim=d_ff,
        max_position_embeddings=max_length,
        activation_function="relu",
        scale_embedding=True,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        bos_token_id=None,
        forced_eos_token_id=None,
        attn_implementation="eager",
    )


def copy_to_marian(ours, theirs):
    """Copy the weights of a model into a Marian of the same sizes."""
    own = ours.state_dict()
    state = theirs.state_dict()

    def attention(source, target):
        for part, (w, b) in zip(
            "qkv",
            zip(own[f"{source}.w_qkv.weight"].chunk(3), own[f"{source}.w_qkv.bias"].chunk(3), strict=True),
            strict=True,
        ):
            state[f"{target}.{part}_proj.weight"].copy_(w)
            state[f"{target}.{part}_proj.bias"].copy_(b)
        for kind in ("weight", "bias"):
            state[f"{target}.out_proj.{kind}"].copy_(own[f"{source}.w_o.{kind}"])

    for stack, parts in (("encoder", ["self", "ffn"]), ("decoder", ["self", "cross", "ffn"])):
        for n in range(ours.config.n_layers):
            source, target = f"{stack}.{n}", f"model.{stack}.layers.{n}"
            attention(f"{source}.self_attn", f"{target}.self_attn")
            if stack == "decoder":
                attention(f"{source}.cross_attn", f"{target}.encoder_attn")
            for i in (1, 2):
                for kind in ("weight", "bias"):
                    state[f"{target}.fc{i}.{kind}"].copy_(own[f"{source}.ffn.w_{i}.{kind}"])
            names = {
                "self": "self_attn_layer_norm",
                "cross": "encoder_attn_layer_norm",
                "ffn": "final_layer_norm",
            }
            for part in parts:
                for gamma, weight in (("gamma", "weight"), ("beta", "bias")):
                    state[f"{target}.{names[part]}.{weight}"].copy_(own[f"{source}.norm_{part}.norm.{gamma}"])
    for name in (
        "model.shared.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "lm_head.weight",
    ):
        if name in state:
            state[name].copy_(own["embedding.weight"])
    # Marian has all sines before all cosines; its positions are weights, so ours are copied into both stacks
    for stack in ("encoder", "decoder"):
        state[f"model.{stack}.embed_positions.weight"].copy_(ours.positions.table)


def marian_pair(vocab_size, seed=0, **sizes):
    """A Marian and a Transformer with the same random weights."""
    torch.manual_seed(seed)
    theirs = MarianMTModel(marian_config(vocab_size, **sizes)).eval()
    c = theirs.config
    ours = Transformer(
        TransformerConfig(
            vocab_size, c.d_model, c.encoder_attention_heads, c.encoder_layers, c.encoder_ffn_dim, 0.0,
            max_length=c.max_position_embeddings,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for p in ours.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)
        copy_to_marian(ours, theirs)
    return theirs, ours
