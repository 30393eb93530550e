"""A page with a trained model in it: it writes in the browser and shows its probabilities and its attention."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lets_build_gpt._common.atomic import write_text
from lets_build_gpt._common.errors import invalid
from lets_build_gpt._common.live import live_page
from lets_build_gpt.model import Model
from lets_build_gpt.tokenizer import CharTokenizer

# what the page's model computes: each option with its allowed values
SUPPORTED: dict[str, tuple[object, ...]] = {
    "activation": ("relu", "gelu"),
    "attention": ("softmax",),
    "residual": (True,),
    "norm_type": ("layer",),
    "positions": ("learned",),
    "qk_norm": (False,),
    "value_embeddings": (False,),
    "x0_skip": (False,),
    "logit_cap": (None,),
}

# names of this package's tensors, and those of the page's model (_common/live_model.js)
NAMES = {
    "token_embedding": "embedding",
    "position_embedding": "positions",
    "self_attn.projection": "self_attn.o",
    "ffn.proj_up": "ffn.up",
    "ffn.proj_down": "ffn.down",
    "blocks": "layers",
}


def export_page(
    model: Model,
    tokenizer: CharTokenizer,
    path: str | os.PathLike[str],
    *,
    title: str = "A character-level GPT",
    about: str = "",
    prompt: str | None = None,
) -> None:
    """Write one HTML file that holds the model and writes with it, with no network and no other file.

    The weights are stored in float16; the page computes in float32. Greedy text equals that of `model.generate` with
    weights rounded to float16. about: a sentence below the title; prompt: by default a character of the vocabulary.
    Raises: ValueError for a model with a part that the page does not compute, if the tokenizer is not the model's, for
    a prompt outside its vocabulary, and for weights that float16 cannot hold.
    """
    config = model.config
    if tokenizer.vocab_size != config.vocab_size:
        raise invalid("tokenizer", f"have the model's {config.vocab_size} characters", tokenizer.vocab_size)
    for name, allowed in SUPPORTED.items():
        if (value := getattr(config, name)) not in allowed:
            raise invalid(name, f"be {' or '.join(map(repr, allowed))} for a page", value)
    if config.d_ff == 0:
        raise invalid("d_ff", "be at least 1 for a page", 0)
    norm = model.norm
    assert isinstance(norm, nn.LayerNorm)
    prompt = tokenizer.start if prompt is None else prompt
    try:
        tokenizer.encode(prompt)
    except ValueError as error:
        raise ValueError(str(error).replace("`text`", "`prompt`")) from None
    shape = f"{model.num_parameters():,} parameters, {config.n_layers} layers with {config.n_heads} heads"
    content = {
        "config": {
            "d_model": config.d_model,
            "n_heads": config.n_heads,
            "n_layers": config.n_layers,
            "context_length": config.context_length,
            "activation": config.activation,
            "norm_eps": norm.eps,
            "pre_norm": True,
        },
        "characters": list(tokenizer.characters),
        "about": f"{about} {shape}, a context of {config.context_length} characters.".strip(),
        "prompt": prompt,
    }
    page = live_page("lets_build_gpt", "page", title, content, page_tensors(model))
    write_text(path, page)


def page_tensors(model: Model) -> dict[str, NDArray[Any]]:
    """Return the weights under the names of the page's model, with separate queries, keys and values."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if name.endswith("self_attn.qkv.weight"):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                tensors[name.replace("qkv", part)] = _array(rows)
        elif not (model.config.tie_embeddings and name == "head.weight"):
            tensors[name] = _array(tensor)
    return tensors


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(tensor.detach().cpu().float())
    return array
