"""Read `.pt` checkpoints of nanoGPT and minGPT, which store projections (out, in). Pickled code is never run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt2.config import GPT2Config

PROJECTION = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
NOT_WEIGHTS = re.compile(r"\.attn\.(bias|masked_bias)$")  # the causal mask, which old files keep as a buffer


def read_pt(path: Path, n_heads: int | None) -> tuple[GPT2Config, dict[str, Tensor]]:
    """Return the config and the weights of a nanoGPT checkpoint, or of a state dictionary of minGPT.

    n_heads: overrides that of the file; minGPT's files have none.
    Raises: ValueError that names what is wrong.
    """
    found: Any
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises many types for files that are not checkpoints
        raise ValueError(f"{path}: not a checkpoint that can be read without running code ({_short(error)})") from None
    arguments = found.get("model_args", {}) if isinstance(found, dict) else {}
    state = found["model"] if isinstance(found, dict) and isinstance(found.get("model"), dict) else found
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path}: has no state dictionary of a model")
    # torch.compile and DistributedDataParallel leave prefixes
    state = {re.sub(r"^(_orig_mod\.|module\.|transformer\.)*", "", name): t for name, t in state.items()}
    state = {name: t for name, t in state.items() if not NOT_WEIGHTS.search(name)}
    try:
        (vocab_size, d_model), context_length = state["wte.weight"].shape, state["wpe.weight"].shape[0]
        d_ff = state["h.0.mlp.c_fc.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None
    n_heads = n_heads or arguments.get("n_head")
    if n_heads is None:
        raise ValueError(f"{path}: does not store the number of heads. Give `n_heads`")
    head = state.get("lm_head.weight", state["wte.weight"])
    try:
        config = GPT2Config(
            vocab_size=vocab_size,
            context_length=context_length,
            d_model=d_model,
            n_heads=n_heads,
            n_layers=len({name.split(".")[1] for name in state if name.startswith("h.")}),
            dropout=arguments.get("dropout", 0.0),
            d_ff=None if d_ff == 4 * d_model else d_ff,
            tie_embeddings=torch.equal(head, state["wte.weight"]),
            # nanoGPT's checkpoints store their arguments, and its GELU is the exact one; minGPT's is GPT-2's
            activation="gelu" if arguments else "gelu_tanh",
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    state = {name: t.T.contiguous() if PROJECTION.search(name) else t for name, t in state.items()}
    for name in [n for n in state if n.endswith(".weight") and re.search(r"ln_|c_", n)]:
        bias = name.removesuffix("weight") + "bias"  # nanoGPT can omit biases, which equals a bias of zero
        state.setdefault(bias, torch.zeros(state[name].shape[-1]))
    return config, state


def _short(error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else ""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", first)  # torch's messages have terminal codes
    return f"{type(error).__name__}: {plain}"[:160]
