"""Write the figures of the README: the attention of a trained GPT that sorts letters.

`python figures/sorting.py` computes the forward pass of the published nano-GPT (3 layers, 3 heads, d_model 48; registry
name models/gpt-nano-sort-model.json) in NumPy. It writes attention.png beside this file, and attention.html, the
interactive page, into the current folder.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
from dlpapers_shared import data, viz
from dlpapers_shared.viz.activations import gelu_tanh
from numpy.typing import NDArray

Array = NDArray[np.float64]
PROMPT = "CBABBC"  # the model continues it with the same letters in order


def load() -> dict[str, Array]:
    """Return the parameters of the model by name."""
    model = json.loads(data.read_text("models/gpt-nano-sort-model.json"))
    return {
        name: np.frombuffer(base64.b64decode(tensor["data"]), "<f4").astype(np.float64).reshape(tensor["shape"])
        for name, tensor in model.items()
        if isinstance(tensor, dict) and "data" in tensor
    }


def softmax(x: Array) -> Array:
    """Normalize the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def forward(p: dict[str, Array], ids: list[int]) -> tuple[Array, Array]:
    """Return logits (time, vocab) and attention weights (layers, heads, queries, keys)."""

    def norm(x: Array, name: str) -> Array:
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return np.asarray(z * p[f"{name}.weight"] + p[f"{name}.bias"])

    def linear(x: Array, name: str) -> Array:
        return np.asarray(x @ p[f"{name}.weight"].T + p[f"{name}.bias"])

    n = len(ids)
    x = p["transformer.wte.weight"][ids] + p["transformer.wpe.weight"][:n]
    weights = []
    for layer in range(3):
        block = f"transformer.h.{layer}"
        qkv = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn")
        q, k, v = (part.reshape(n, 3, 16).swapaxes(0, 1) for part in np.split(qkv, 3, axis=-1))  # (heads, n, 16)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(16)
        weights.append(softmax(np.where(np.tri(n) > 0, scores, -np.inf)))
        mixed = (weights[-1] @ v).swapaxes(0, 1).reshape(n, 48)
        x = x + linear(mixed, f"{block}.attn.c_proj")
        x = x + linear(gelu_tanh(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ p["lm_head.weight"].T, np.array(weights)


def main() -> None:
    """Sort the letters of PROMPT and write the figures."""
    folder = Path(__file__).parent
    parameters = load()
    ids = ["ABC".index(letter) for letter in PROMPT]
    for _ in range(len(PROMPT) - 1):
        ids.append(int(forward(parameters, ids)[0][-1].argmax()))
    logits, weights = forward(parameters, ids)
    tokens = ["ABC"[i] for i in ids]
    assert tokens[len(PROMPT) :] == sorted(PROMPT)[:-1]
    title = f"A GPT sorts {PROMPT}: attention of all heads"
    viz.attention_heatmap(weights, tokens, title=title).savefig(folder / "attention.png", dpi=100)
    viz.attention_html(weights, tokens, "attention.html", title=title, logits=logits, vocabulary=list("ABC"))


if __name__ == "__main__":
    main()
