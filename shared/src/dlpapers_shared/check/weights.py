"""Find the projections of multi-head attention among the parameters of an implementation, by name or by shape."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlpapers_shared.check.backend import Array

ROLES = ("q", "k", "v", "o")
NAMES = {
    "q": {"q", "query", "queries", "wq", "toq"},
    "k": {"k", "key", "keys", "wk", "tok"},
    "v": {"v", "value", "values", "wv", "tov"},
    "o": {"o", "wo", "out", "output", "proj", "projection", "final", "fc", "dense", "unify", "combine", "mix"},
}
BIASES = {"bias", "b", "bq", "bk", "bv", "bo", "beta"}

Arrays = Mapping[str, Array]
Reader = Callable[[Arrays], dict[str, Array]]
"""Returns wq, wk, wv, wo as (in, out), and bq, bk, bv, bo where there are biases, from the named parameters."""


@dataclass(frozen=True)
class Layout:
    """One way to read the parameters, and a sentence about it where the names leave it open."""

    read: Reader
    how: str = ""


def tokens(path: str) -> list[str]:
    """Split a parameter's path into lower-case words.

    >>> tokens("heads.0.W_q.weight"), tokens("bq")
    (['heads', '0', 'w', 'q', 'weight'], ['bq'])
    """
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", path)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]


def role_of(path: str) -> str | None:
    """Return q, k, v or o if the name of a parameter says which projection it belongs to.

    >>> role_of("q_proj.weight"), role_of("out_proj.bias"), role_of("c_attn.weight")
    ('q', 'o', None)
    """
    words = set(tokens(path))
    words |= {word.removeprefix("b") for word in words if word in ("bq", "bk", "bv", "bo")}
    return next((role for role in ROLES if words & NAMES[role]), None)


def is_bias(path: str, value: Array) -> bool:
    """Return whether a parameter is a bias: a vector, or one row whose name says so."""
    return value.ndim == 1 or (1 in value.shape and tokens(path)[-1] in BIASES)


def layouts(named: Arrays, d_model: int, linear: Iterable[str]) -> Iterator[Layout]:
    """Yield every way to read the parameters that fits their names and shapes, the most probable one first.

    linear: names of weights of torch.nn.Linear, which are (out, in); other matrices may be stored in either direction.
    """
    matrices = [name for name, value in named.items() if not is_bias(name, value)]
    biases = [name for name, value in named.items() if is_bias(name, value)]
    stored = set(linear)
    unknown = [name for name in matrices if name not in stored]
    for flipped in (False, True) if unknown else (False,):
        transposed = {name for name in matrices if name in stored or flipped}
        how = "matrices stored as (out, in)" if flipped else ""
        yield from _by_name(named, matrices, biases, transposed, d_model, how)
    for flipped in (False, True) if unknown else (False,):
        transposed = {name for name in matrices if name in stored or flipped}
        yield from _by_shape(named, matrices, biases, transposed, d_model)


def _by_name(
    named: Arrays, matrices: list[str], biases: list[str], transposed: set[str], d_model: int, how: str
) -> Iterator[Layout]:
    of: dict[str, list[str]] = {}
    for name in matrices:
        of.setdefault(_fused(name, named[name], d_model) or role_of(name) or "?", []).append(name)
    bias_of: dict[str, list[str]] = {}
    for name in biases:
        wide = named[name].size == 3 * d_model
        bias_of.setdefault("fused" if wide else role_of(name) or "?", []).append(name)
    if "fused" in of and len(of["fused"]) == 1 and len(of.get("o", of.get("?", []))) == 1:
        out = of.get("o", of.get("?", []))
        out_bias = bias_of.get("o", bias_of.get("?", []))
        order = "kqv" if "kqv" in of["fused"][0].lower() else "qkv"
        for per_head in (False, True):
            yield Layout(
                _fused_reader(of["fused"][0], bias_of.get("fused", []), out[0], out_bias, transposed, order, per_head),
                "the fused projection holds q, k, v head by head" if per_head else how,
            )
    elif all(of.get(role) for role in ROLES) and len({len(of[r]) for r in "qkv"}) == 1 and "?" not in of:
        yield Layout(_reader({r: of[r] for r in ROLES}, {r: bias_of.get(r, []) for r in ROLES}, transposed), how)


def _fused(name: str, value: Array, d_model: int) -> str:
    wide = value.ndim == 2 and sorted(value.shape) == [d_model, 3 * d_model]
    return "fused" if wide and role_of(name) in (None, "o") else ""


def _fused_reader(
    fused: str, fused_bias: list[str], out: str, out_bias: list[str], transposed: set[str], order: str, per_head: bool
) -> Reader:
    def read(named: Arrays, n_heads: int = 1) -> dict[str, Array]:
        wide = named[fused].shape[1] > named[fused].shape[0]  # (d_model, 3 d_model): the shape shows the direction
        weight = named[fused] if wide else named[fused].T
        parts: dict[str, Array] = {}
        for key, value in (("w", weight), *((("b", named[b])) for b in fused_bias)):
            if per_head:
                split = value.reshape(*value.shape[:-1], n_heads, 3, -1)
                thirds = [split[..., i, :].reshape(*value.shape[:-1], -1) for i in range(3)]
            else:
                thirds = np.split(value, 3, axis=-1)
            parts |= {key + role: third for role, third in zip(order, thirds, strict=True)}
        parts["wo"] = named[out].T if out in transposed else named[out]
        return parts | ({"bo": named[out_bias[0]]} if out_bias else {})

    return read


def _reader(weights: Mapping[str, list[str]], biases: Mapping[str, list[str]], transposed: set[str]) -> Reader:
    """Matrices of their own for q, k, v: one each, or one for each head, which are put side by side."""

    def read(named: Arrays, n_heads: int = 1) -> dict[str, Array]:
        parts: dict[str, Array] = {}
        for role in ROLES:
            found = [named[n].T if n in transposed else named[n] for n in weights[role]]
            matrix = found[0] if len(found) == 1 else np.concatenate(found, axis=-1)
            if matrix.ndim == 3:  # (heads, d_model, d_k), or (heads, d_k, d_model) for the output
                matrix = matrix.reshape(-1, matrix.shape[-1]) if role == "o" else np.concatenate(list(matrix), axis=-1)
            parts["w" + role] = matrix
            if biases[role]:
                parts["b" + role] = np.concatenate([named[n].reshape(-1) for n in biases[role]])
        return parts

    return read


def _by_shape(
    named: Arrays, matrices: list[str], biases: list[str], transposed: set[str], d_model: int
) -> Iterator[Layout]:
    """Four square matrices without telling names: any of them may be any projection; first in their own order."""
    if len(matrices) != 4 or any(named[m].shape != (d_model, d_model) for m in matrices):
        return
    if len(biases) not in (0, 4):
        return
    for order in itertools.permutations(range(4)):
        weights = {role: [matrices[i]] for role, i in zip(ROLES, order, strict=True)}
        bias = {role: [biases[i]] if biases else [] for role, i in zip(ROLES, order, strict=True)}
        shown = ", ".join(f"{names[0]} is W_{role}" for role, names in weights.items())
        yield Layout(_reader(weights, bias, transposed), f"read by shape: {shown}")


def linear_weights(module: Any) -> set[str]:
    """Return the names of the weights of torch.nn.Linear in a module; also of the fused one of MultiheadAttention."""
    torch = __import__("torch")
    found = {f"{n}.weight".lstrip(".") for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)}
    return found | {name for name, _ in module.named_parameters() if name.split(".")[-1] == "in_proj_weight"}
