"""Check a full decoder block: attention, cross-attention if there is one, feed-forward network, norms, residuals."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlpapers_shared._common.errors import check_choice
from dlpapers_shared.check import engine
from dlpapers_shared.check.backend import Array, is_module, to_array
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.modules import Prepared, choose, compare_all_gradients, find_sizes, prepare
from dlpapers_shared.check.reference.block import ACTIVATIONS, BLOCK_MISTAKES, Weights, block
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, check_options
from dlpapers_shared.check.weights import layouts, linear_weights

NORM = re.compile(r"(^|[._])(ln|norm|layer_?norm)", re.IGNORECASE)
AFFINE = re.compile(r"[._]*(weight|bias|gamma|beta|scale|shift|a_2|b_2|g|b)$")
FORMULAS = {"pre": "x + sublayer(norm(x)) for each sublayer", "post": "norm(x + sublayer(x)) for each sublayer"}


def decoder_block(
    implementation: Any,
    *,
    n_heads: int | None = None,
    norm: str | None = None,
    activation: str | None = None,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Compare a decoder block with the reference: output, causality, and the gradient of every weight.

    Args:
        implementation: a torch module, a NumPy object with a method forward, or a class of these. It is called as
            f(x), f(x, mask), or with the encoder's output f(x, memory, …), x (batch, n, d_model). It must be causal: by
            a mask of its own, or by the mask that it gets. Attention, feed-forward network (two layers) and norms are
            found by name and shape. The implementation itself is not changed: a copy gets random weights.
        n_heads: number of heads, if no attribute states it.
        norm: "pre" (GPT-2) or "post" (1706.03762). activation: relu, gelu, gelu_tanh or silu. By default each is
            accepted, and the report names it.
        dtype: dtype of inputs and weights, float64 or float32. seed: of the random numbers.
    Raises: ValueError if the signature or the weights cannot be read.
    """
    check_options(dtype=dtype, seed=seed)
    if norm is not None:
        check_choice("norm", norm, ("pre", "post"))
    if activation is not None:
        check_choice("activation", activation, ACTIVATIONS)
    prepared = prepare(implementation, dtype, seed, "a decoder block")
    forward = prepared.target.forward if hasattr(prepared.target, "forward") else prepared.target
    call = bind(forward, ("x",), ("memory", "mask", "memory_mask"), prepared.name)
    prepared.call = call
    d_model, heads = find_sizes(prepared, n_heads)
    report = Report("decoder block", prepared.name, prepared.backend)
    eps = _eps(prepared.target)
    readers = list(_readers(prepared, d_model, heads, call.accepts("memory")))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 5, d_model)).astype(dtype)
    memory = rng.normal(size=(2, 3, d_model)).astype(dtype) if call.accepts("memory") else None
    mask = np.tril(np.ones((5, 5), bool))
    fixed = {"x": x} if memory is None else {"x": x, "memory": memory}
    shape = next((s for s in ((), (1,), (1, 1)) if not call.accepts("mask") or _runs(prepared, fixed, mask, s)), ())

    def with_masks(inputs: dict[str, Array]) -> dict[str, Any]:
        given: dict[str, Any] = dict(inputs)
        if call.accepts("mask"):
            given["mask"] = mask.reshape(*shape, 5, 5)
        if "memory_mask" in call.needed:
            given["memory_mask"] = np.ones((*shape, 5, 3), bool)
        return given

    def learner(**inputs: Array) -> Array:
        return to_array(prepared.output(with_masks(inputs))[0])

    def reference_of(read: Callable[..., Weights], kind: str, act: str) -> Callable[..., Array]:
        def reference(x: Array, memory: Array | None = None, named: Any = None, **switches: Any) -> Array:
            weights = read(named or prepared.named)
            return block(x, weights, heads, norm=kind, act=act, eps=eps, memory=memory, **switches)

        return reference

    norms, acts = ((norm,) if norm else ("pre", "post")), ((activation,) if activation else ACTIVATIONS)
    references = [
        ("; ".join(filter(None, [f"{kind}-norm, {act}", how])), reference_of(read, kind, act))
        for (how, read), kind, act in itertools.product(readers, norms, acts)
    ]
    cases = [
        Case("output of 5 positions", fixed),
        Case("output of larger numbers", {k: 3 * v for k, v in fixed.items()}),
    ]
    how, reference = choose(references, cases, learner, BLOCK_MISTAKES, dtype)
    report.add("form", "note", how)
    formula = FORMULAS["pre" if how.startswith("pre") else "post"]
    good = engine.judge(report, cases, learner, reference, BLOCK_MISTAKES, formula, dtype=dtype)
    _causality(report, learner, fixed)
    if good:
        given = with_masks(fixed)

        def truth(named: Any, **inputs: Any) -> Array:
            return reference(named=named, **{key: inputs[key] for key in fixed})

        compare_all_gradients(report, prepared, truth, given, seed)
    elif prepared.backend == "torch":
        report.add("gradients", "skip", "the output is wrong: correct it first")
    return report


def _runs(prepared: Prepared, inputs: dict[str, Any], mask: Array, shape: tuple[int, ...]) -> bool:
    given = {**inputs, "mask": mask.reshape(*shape, *mask.shape)}
    if "memory_mask" in prepared.call.needed:
        given["memory_mask"] = np.ones((*shape, 5, 3), bool)
    result, problem = engine.attempt(lambda: to_array(prepared.output(given)[0]))
    return not problem and result.shape == inputs["x"].shape


def _causality(report: Report, learner: Callable[..., Array], fixed: dict[str, Array]) -> None:
    """Whether position 2 ignores later positions: tested by itself, because it is the mistake that training hides."""
    changed = {**fixed, "x": fixed["x"].copy()}
    changed["x"][:, 3:] = changed["x"][:, 3:] * 2 - changed["x"][:, 3:, ::-1]  # no constant: a norm would remove it
    before, problem = engine.attempt(lambda: learner(**fixed)[:, :3])
    after, _ = engine.attempt(lambda: learner(**changed)[:, :3])
    if problem:
        return
    leaks = np.argwhere(~np.isclose(before, after, rtol=1e-6, atol=1e-9, equal_nan=True).all(-1))
    if len(leaks):
        report.add("causality", "FAIL", f"the output of position {leaks[0][1]} depends on positions from 3 on")
    else:
        report.add("causality", "ok", "positions 0 to 2 do not depend on later positions")


def _eps(target: Any) -> float:
    parts = list(target.modules()) if is_module(target) else [target, *vars(target).values()]
    found = [part.eps for part in parts if isinstance(getattr(part, "eps", None), float)]
    return float(found[0]) if found else 1e-5


def _readers(
    prepared: Prepared, d_model: int, n_heads: int, with_memory: bool
) -> Iterator[tuple[str, Callable[[Any], Weights]]]:
    """Yield the ways to read the weights of a block. Raises ValueError if its parts cannot be told apart."""
    named = prepared.named
    linear = linear_weights(prepared.target) if is_module(prepared.target) else set()
    norms: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    for path, value in named.items():
        if value.ndim == 1 and NORM.search(path):
            norms.setdefault(AFFINE.sub("", path), []).append(path)
        else:
            groups.setdefault(path.partition(".")[0], []).append(path)
    attentions, rest = [], []
    for paths in groups.values():
        part = {path: named[path] for path in paths}
        ways = list(layouts(part, d_model, linear & set(paths)))
        matrices = [p for p in paths if named[p].ndim > 1]
        if ways and len(matrices) > 1:
            attentions.append([way for way in ways if way.how == "" or "shape" not in way.how][:4] or ways[:1])
        else:
            rest += paths
    matrices, biases = [p for p in rest if named[p].ndim == 2], [p for p in rest if named[p].ndim == 1]
    wanted = 2 if with_memory else 1
    if len(attentions) != wanted or len(norms) != wanted + 1 or len(matrices) != 2 or len(biases) not in (0, 2):
        raise ValueError(
            f"`{prepared.name}` must have {wanted} attention{'s' if wanted > 1 else ''}, {wanted + 1} norms and a "
            f"feed-forward network of two layers, each in an attribute of its own, got {len(attentions)} attentions, "
            f"{len(norms)} norms, and the matrices {', '.join(matrices) or 'none'} besides"
        )

    def read(ways: tuple[Any, ...], order: tuple[int, ...], flip: bool) -> Callable[[Any], Weights]:
        def reader(values: Any) -> Weights:
            pairs = list(norms.values())
            affine = [
                (values[p[0]], values[p[1]] if len(p) > 1 else np.zeros(d_model)) for p in (pairs[i] for i in order)
            ]
            w1, w2 = (values[m].T if (m in linear) != flip else values[m] for m in matrices)
            b1, b2 = (values[b] for b in biases) if biases else (np.zeros(w1.shape[1]), np.zeros(d_model))
            return Weights([way.read(values, n_heads=n_heads) for way in ways], affine, (w1, b1, w2, b2))

        return reader

    # two square matrices of a NumPy object may be stored in either direction; others have one that fits
    first = named[matrices[0]].shape
    natural = (first[1] if matrices[0] in linear else first[0]) == d_model
    flips = (not natural,) if first[0] != first[1] or linear else (False, True)
    for order in itertools.permutations(range(wanted + 1)):
        shown = "" if order == tuple(range(wanted + 1)) else "norms in another order than their names"
        for chosen in itertools.product(*attentions):
            for flip in flips:
                yield "; ".join(filter(None, [shown, *(way.how for way in chosen)])), read(chosen, order, flip)
