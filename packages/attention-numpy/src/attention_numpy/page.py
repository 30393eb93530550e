"""A page with a trained encoder-decoder in it, which translates in the browser and shows its cross-attention."""

from __future__ import annotations

import math
import os

import numpy as np

from attention_numpy._common.atomic import write_text
from attention_numpy._common.live import live_page
from attention_numpy.checkpoint import Run
from attention_numpy.data.number_words import NumberWords
from attention_numpy.data.tasks import BOS_ID, EOS_ID, PAD_ID, SPECIAL, Task
from attention_numpy.layers import new_rng
from attention_numpy.model import Transformer
from attention_numpy.module import Array

# parts of the names of this package's tensors, and what the page's model (_common/live_model.js) calls them
NAMES = {
    "src_embed": "encoder.embedding",
    "tgt_embed": "decoder.embedding",
    "generator": "head",
    "multihead_attn": "cross_attn",
    "out_proj": "o",
    "linear1": "ffn.up",
    "linear2": "ffn.down",
}


def export_page(
    run: Run, path: str | os.PathLike[str], *, title: str = "A Transformer in NumPy", text: str | None = None
) -> None:
    """Write one HTML file that holds the model and translates with it, with no network and no other file.

    The weights are stored in float16; the page computes in float32. Its greedy decoding and beam search give what
    `model.generate` gives with weights rounded to float16. text: what it translates first; by default a held-out input.
    Raises: ValueError for a language model, for a text outside the vocabulary, and for weights that float16 cannot
    hold.
    """
    model, task = run.model, run.tokenizer
    if not isinstance(model, Transformer) or not isinstance(task, Task):
        raise ValueError("this run holds a language model; the page shows an encoder-decoder")
    if text is None:
        text = task.separator.join(task.held_out_pairs(new_rng(0), 1)[0][0])
    task.encode(text)
    config = model.config
    layers = f"{config.n_layers} layers" if config.n_layers > 1 else "1 layer"
    content = {
        "config": {
            "d_model": config.d_model,
            "n_heads": config.n_heads,
            "n_layers": config.n_layers,
            "activation": "relu",
            "norm_eps": model.encoder.layers[0].norm1.eps,
            "pre_norm": config.norm == "pre",
            "embedding_scale": math.sqrt(config.d_model),
        },
        "task": {
            "source": task.source_names,
            "target": task.target_names,
            "separator": task.separator,
            "joiner": task.decode([EOS_ID, EOS_ID])[len(SPECIAL[EOS_ID]) : -len(SPECIAL[EOS_ID])],
            "words": isinstance(task, NumberWords),
            "special": len(SPECIAL),
            "bos_id": BOS_ID,
            "eos_id": EOS_ID,
            "banned": [PAD_ID, BOS_ID],
        },
        "about": f"{model.num_parameters():,} parameters, {layers} with {config.n_heads} heads in encoder and decoder.",
        "text": text,
    }
    page = live_page("attention_numpy", "page", title, content, page_tensors(model))
    write_text(path, page)


def page_tensors(model: Transformer) -> dict[str, Array]:
    """Return the weights under the names of the page's model, with separate queries, keys and values."""
    tensors: dict[str, Array] = {}
    for name, values in model.state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if "in_proj_" in name:
            for part, rows in zip("qkv", np.split(values, 3), strict=True):
                tensors[name.replace("in_proj_", f"{part}.")] = rows
        else:
            tensors[name] = values
    return tensors
