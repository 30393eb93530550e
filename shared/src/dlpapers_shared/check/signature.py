"""Match the parameters of an implementation by name, or refuse it with the expected signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlpapers_shared._common.errors import check_choice, check_integer
from dlpapers_shared.check.backend import is_module

ALIASES: dict[str, tuple[str, ...]] = {
    "q": ("query", "queries"),
    "k": ("key", "keys"),
    "v": ("value", "values"),
    "mask": ("attn_mask", "attention_mask", "may_attend", "src_mask", "tgt_mask", "causal_mask"),
    "causal": ("is_causal",),
    "x": ("inputs", "input", "hidden", "hidden_states", "tgt", "z", "scores", "a"),
    "memory": ("encoder_output", "encoder_out", "enc_out", "context", "mem"),
    "memory_mask": ("src_padding_mask", "cross_mask"),
    "gamma": ("weight", "g", "scale", "w"),
    "beta": ("bias", "b", "shift"),
    "eps": ("epsilon", "layer_norm_eps"),
    "axis": ("dim",),
    "logits": ("z", "scores", "x", "inputs", "input"),
    "targets": ("target", "y", "labels", "ids"),
    "label_smoothing": ("smoothing", "eps", "epsilon", "alpha"),
    "context_length": ("n_positions", "positions", "max_len", "max_length", "seq_len", "length", "n", "t", "time"),
    "d_model": ("d", "dim", "embed_dim", "emb_dim", "n_embd", "hidden_size", "model_dim", "d_in", "d_out"),
    "step": ("t", "step_number", "step_num", "n", "i"),
    "warmup_steps": ("warmup", "n_warmup", "warmup_step"),
    "top_k": ("k",),
    "top_p": ("p",),
    "temperature": ("t", "temp", "tau"),
    "w": ("weight", "weights", "param", "params", "p", "theta"),
    "g": ("grad", "gradient", "dw"),
    "t": ("step",),
    "lr": ("learning_rate", "alpha", "eta"),
    "beta1": ("b1",),
    "beta2": ("b2",),
    "dout": ("dy", "d_out", "grad", "grad_out", "grad_output", "upstream"),
    "dy": ("dout", "grad", "grad_out", "grad_output", "upstream"),
    "dp": ("dy", "dout", "grad", "grad_out", "grad_output", "upstream"),
    "p": ("y", "probs", "out", "s"),
    "n_heads": ("num_heads", "n_head", "nhead", "heads", "h", "nheads"),
}
"""Canonical name -> other names under which implementations take the same argument."""


@dataclass(frozen=True)
class Binding:
    """How to call an implementation: the canonical name of each of its parameters."""

    function: Callable[..., Any]
    names: Mapping[str, str]  # canonical name -> parameter of the implementation
    positional: tuple[str, ...]  # canonical names that can only be passed by position, in order
    needed: tuple[str, ...] = ()  # optional arguments without a default; None where a case has no value

    def accepts(self, name: str) -> bool:
        """Return whether the implementation has this argument."""
        return name in self.names

    def __call__(self, **arguments: Any) -> Any:
        """Call the implementation with canonical names; those that it does not take are left out."""
        arguments = {**dict.fromkeys(self.needed), **arguments}
        first = [arguments[name] for name in self.positional if name in arguments]
        named = {p: arguments[c] for c, p in self.names.items() if c in arguments and c not in self.positional}
        return self.function(*first, **named)


def name_of(target: Any) -> str:
    """Return the name that messages use for a function, a class or an object."""
    return str(getattr(target, "__name__", type(target).__name__))


def bind(function: Any, required: tuple[str, ...], optional: tuple[str, ...] = (), name: str = "") -> Binding:
    """Match parameters by name. Raises ValueError, with the expected signature, if the match is not clear.

    >>> def mine(query, key, value): ...
    >>> bind(mine, ("q", "k", "v"), ("mask",)).names
    {'q': 'query', 'k': 'key', 'v': 'value'}
    >>> bind(lambda a, b: a, ("q", "k", "v"), ("mask",), "mine")
    Traceback (most recent call last):
    ValueError: `mine` must have the signature mine(q, k, v, mask=…), got mine(a, b)
    """
    name = name or name_of(function)
    expected = f"{name}({', '.join([*required, *(f'{o}=…' for o in optional)])})"
    condition = f"have the signature {expected}"
    if not callable(function):
        raise ValueError(f"`{name}` must be a function with the signature {expected}, got {type(function).__name__}")
    try:
        found = inspect.signature(function.forward if is_module(function) else function)
    except (ValueError, TypeError):
        raise ValueError(f"`{name}` must {condition}, got a callable without one. Wrap it in a function") from None
    got = f"{name}({', '.join(str(p).partition(':')[0].partition('=')[0] for p in found.parameters.values())})"
    error = ValueError(f"`{name}` must {condition}, got {got}")
    names: dict[str, str] = {}
    positional: list[str] = []
    needed: list[str] = []
    for parameter in found.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        canonical = _canonical(parameter.name, [n for n in (*required, *optional) if n not in names])
        if canonical is None:
            if parameter.default is parameter.empty:
                raise error
            continue
        names[canonical] = parameter.name
        if canonical in optional and parameter.default is parameter.empty:
            needed.append(canonical)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(canonical)
    if not set(required) <= set(names):
        raise error
    return Binding(function, names, tuple(positional), tuple(needed))


def _canonical(parameter: str, wanted: list[str]) -> str | None:
    """The wanted name that a parameter stands for: exact names first, then other names, then q_heads and the like."""
    lowered = parameter.lower().strip("_")
    for name in wanted:
        if lowered == name:
            return name
    return next((name for name in wanted if lowered in ALIASES.get(name, ())), None)


def construct(target: Any, values: Mapping[str, Any]) -> Any:
    """Return an instance of a class, made with the sizes that its constructor asks for by name.

    A function without parameters is called. Raises ValueError if a parameter is unknown and has no default.
    """
    parameters = inspect.signature(target).parameters.values()
    arguments = {}
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        canonical = _constructor_name(p.name, values)
        if canonical is not None:
            arguments[p.name] = values[canonical]
        elif p.default is p.empty:
            got = f"{name_of(target)}({', '.join(q.name for q in parameters)})"
            raise ValueError(
                f"`{name_of(target)}` must have a constructor with the parameters {', '.join(values)}, got {got}. "
                f"Pass an instance, or a function without parameters that returns one"
            )
    return target(**arguments)


CONSTRUCTOR_ALIASES: dict[str, tuple[str, ...]] = {
    "d_model": (*ALIASES["d_model"], "normalized_shape", "features", "size", "in_features"),
    "n_heads": ALIASES["n_heads"],
    "d_k": ("head_size", "head_dim", "d_head", "d_v"),
    "d_ff": ("ffn_dim", "dim_feedforward", "hidden_dim", "d_hidden", "mlp_dim", "hidden"),
    "dropout": ("p", "attn_dropout", "attention_dropout", "resid_dropout", "dropout_p", "drop", "p_dropout"),
    "context_length": ("block_size", "max_len", "max_length", "n_ctx", "seq_len", "max_seq_len"),
}


def _constructor_name(parameter: str, values: Mapping[str, Any]) -> str | None:
    lowered = parameter.lower()
    return next((n for n in values if lowered == n or lowered in CONSTRUCTOR_ALIASES.get(n, ())), None)


def check_options(*, dtype: str = "float64", seed: int = 0) -> None:
    """Raise ValueError for a dtype or a seed that no check accepts."""
    check_choice("dtype", dtype, ("float64", "float32"))
    check_integer("seed", seed, 0)
