"""Check multi-head attention: Attention Is All You Need (1706.03762), section 3.2.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, is_module, to_array
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.modules import (
    Prepared,
    choose,
    compare_all_gradients,
    find_sizes,
    prepare,
)
from dlpapers_shared.check.reference.transformer import MULTI_HEAD_MISTAKES, multi_head
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options
from dlpapers_shared.check.weights import layouts, linear_weights

FORMULA = "Concat(head_1, …, head_h)W_O"


def multi_head_attention(
    implementation: Any,
    *,
    n_heads: int | None = None,
    causal: bool | None = None,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare a module of multi-head attention with the reference: output, masks, gradients of every weight.

    Args:
        implementation: a torch module, a NumPy object with a method forward, or a class of these. It is called as
            f(x), f(x, mask), f(x, memory, mask) or f(q, k, v, mask), with x (batch, n, d_model). Its weights are found
            by name (q_proj, W_q, query, c_attn, in_proj_weight, heads.0.key, …) or, if there are four square matrices,
            by shape. The implementation itself is not changed: a copy gets random weights.
        n_heads: number of heads, if no attribute states it.
        causal: whether a module without a mask argument applies a causal mask. Default: both are accepted.
        dtype: dtype of inputs and weights, float64 or float32. seed: of the random numbers.
    Raises: ValueError if the signature or the weights cannot be read.
    """
    check_options(dtype=dtype, seed=seed)
    prepared = prepare(implementation, dtype, seed, "multi-head attention")
    forward = prepared.target.forward if hasattr(prepared.target, "forward") else prepared.target
    self_only = True
    try:
        call = bind(forward, ("x",), ("mask", "memory", "causal"), prepared.name)
    except ValueError as error:
        self_only = False
        try:
            call = bind(forward, ("q", "k", "v"), ("mask", "causal"), prepared.name)
        except ValueError:
            raise ValueError(f"{error}; (q, k, v, mask=…) is accepted too") from None
    prepared.call = call
    d_model, heads = find_sizes(prepared, n_heads)
    linear = linear_weights(prepared.target) if is_module(prepared.target) else set()
    ways = list(layouts(prepared.named, d_model, linear))
    if not ways:
        names = ", ".join(f"{name} {value.shape}" for name, value in prepared.named.items())
        raise ValueError(
            f"`{prepared.name}` must have weights of q, k, v and the output with telling names or shapes, got {names}"
        )
    report = Report("multi-head attention", prepared.name, prepared.backend)

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, d_model)).astype(dtype)
    memory = rng.normal(size=(2, 3, d_model)).astype(dtype)
    shape = _mask_shape(prepared, x, self_only)

    def arguments(
        x: Array, memory: Array | None = None, mask: Array | None = None, causal: bool = False
    ) -> dict[str, Any]:
        other = x if memory is None else memory
        given: dict[str, Any] = {"x": x} if self_only else {"q": x, "k": other, "v": other}
        if self_only and memory is not None:
            given["memory"] = memory
        if mask is not None or "mask" in call.needed:
            full = np.ones((x.shape[1], other.shape[1]), bool) if mask is None else mask
            given["mask"] = full.reshape(*shape, *full.shape)
        return given | ({"causal": True} if causal else {})

    def learner(**inputs: Any) -> Array:
        return to_array(prepared.output(arguments(**inputs))[0])

    has_mask = call.accepts("mask") or call.accepts("causal")
    hidden = not has_mask and (_is_causal(learner, x) if causal is None else causal)
    cases = [Case("output with its own causal mask" if hidden else "output without a mask", {"x": x})]
    tri = np.tril(np.ones((5, 5), bool))
    if call.accepts("mask"):
        cases.append(Case("output with a causal mask", {"x": x, "mask": tri}))
    if call.accepts("causal"):
        cases.append(Case("output with causal=True", {"x": x, "causal": True}))
    cases.append(Case("inputs of a thousand", {"x": (1000 * x).astype(dtype)}, note=dtype == "float32"))
    if not self_only or call.accepts("memory"):
        cases.append(Case("cross-attention to 3 positions", {"x": x, "memory": memory}))

    def reader(way: Any) -> Callable[..., Array]:
        def reference(
            x: Array, memory: Any = None, mask: Any = None, causal: bool = False, named: Any = None, **switches: Any
        ) -> Array:
            mask = np.tril(np.ones((x.shape[1], x.shape[1]), bool)) if hidden or causal else mask
            w = way.read(named or prepared.named, n_heads=heads)
            return multi_head(x, w, heads, mask, memory, **switches)

        return reference

    how, reference = choose([(way.how, reader(way)) for way in ways], cases, learner, MULTI_HEAD_MISTAKES, dtype)
    if how:
        report.add("weights", "note", how)
    good = engine.judge(report, cases, learner, reference, MULTI_HEAD_MISTAKES, FORMULA, dtype=dtype)
    if not good and prepared.backend == "torch":
        report.add("gradients", "skip", "the output is wrong: correct it first")
    elif good and self_only:
        given = {"x": x, "mask": arguments(x, mask=tri)["mask"]} if call.accepts("mask") else {"x": x}
        inner = {"mask": tri} if call.accepts("mask") else {}

        def truth(x: Array, named: Any, **_: Any) -> Array:
            return reference(x=x, named=named, **inner)

        compare_all_gradients(report, prepared, truth, given, seed)
    elif good:
        _gradients_of_qkv(report, prepared, reference, arguments(x), seed)
    return report


def _gradients_of_qkv(report: Report, prepared: Prepared, reference: Any, given: dict[str, Any], seed: int) -> None:
    """For f(q, k, v): the gradients of the queries and of the weights; keys and values are held constant."""
    if prepared.backend != "torch":
        return
    output, tensors = prepared.output(given, gradients=True)
    upstream = np.random.default_rng(seed + 1).normal(size=to_array(output).shape).astype(prepared.dtype)
    wanted = {"q": tensors["q"], **prepared.parameters}

    def truth(**arguments: Any) -> Array:
        named = {key: arguments.pop(key) for key in prepared.parameters}
        return np.asarray(reference(x=arguments["q"], memory=given["k"], named=named))

    right = engine.gradients(truth, {"q": given["q"], **prepared.named}, upstream, wanted)
    engine.compare_gradients(report, engine.torch_gradients(output, upstream, wanted), right, prepared.dtype)


def _mask_shape(prepared: Prepared, x: Array, self_only: bool) -> tuple[int, ...]:
    """The leading axes of length 1 that the mask needs: none, (1,) or (1, 1), the first with which it runs."""
    if not prepared.call.accepts("mask"):
        return ()
    for lead in ((), (1,), (1, 1)):
        mask = np.ones((*lead, 5, 5), bool)
        given = {"x": x, "mask": mask} if self_only else {"q": x, "k": x, "v": x, "mask": mask}
        result, problem = engine.attempt(lambda given=given: to_array(prepared.output(given)[0]))  # type: ignore[misc]
        if not problem and result.shape == x.shape:
            return lead
    return ()


def _is_causal(learner: Callable[..., Array], x: Array) -> bool:
    """Return whether the first position ignores the last one: a mask of its own, even if shifted by one."""
    changed = x.copy()
    changed[:, -1] += 1
    before, _ = engine.attempt(lambda: learner(x=x)[:, 0])
    after, _ = engine.attempt(lambda: learner(x=changed)[:, 0])
    return before is not None and after is not None and bool(np.array_equal(before, after, equal_nan=True))
