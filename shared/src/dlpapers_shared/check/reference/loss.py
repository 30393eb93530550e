"""Softmax, cross-entropy and label smoothing, their gradients, and their common mistakes."""

from __future__ import annotations

import numpy as np

from dlpapers_shared.check.backend import Array
from dlpapers_shared.check.engine import mistakes

SOFTMAX_MISTAKES = mistakes(
    over={
        "first": "softmax over the wrong axis (the first instead of the last)",
        "all": "the sum runs over all elements instead of the last axis",
    },
    overflow={
        "yes": "no maximum subtracted before exp, so large numbers overflow",
        "minimum": "the minimum is subtracted instead of the maximum, so large numbers overflow",
    },
    result={"log": "the logarithm of the softmax is returned", "exp": "exp(x) is not divided by its sum"},
)


def softmax(x: Array, axis: int = -1, *, over: str = "", overflow: str = "", result: str = "") -> Array:
    """Return exp(x) / sum(exp(x)) along an axis, or with switches what a common mistake computes."""
    along: int | None = None if over == "all" else (0 if over == "first" else axis)
    shift = x.min(along, keepdims=True) if overflow == "minimum" else x.max(along, keepdims=True)
    shift = np.zeros_like(shift) if overflow == "yes" else shift
    with np.errstate(all="ignore"):
        e = np.exp(x - shift)
        p = e if result == "exp" else e / e.sum(along, keepdims=True)
        return np.asarray(np.log(p) if result == "log" else p)


SOFTMAX_BACKWARD = mistakes(
    mistake={
        "diagonal": "only the diagonal of the softmax Jacobian",
        "no sum": "the sum of dp * p is not subtracted",
        "batch": "softmax gradient divided by the batch size",
        "axis": "the sum of dp * p runs over the wrong axis",
    }
)


def softmax_backward(dp: Array, p: Array, *, mistake: str = "") -> Array:
    """Return the gradient of x for p = softmax(x): p * (dp - sum(dp * p))."""
    total = (dp * p).sum(0 if mistake == "axis" else -1, keepdims=True)
    total = dp * p if mistake == "diagonal" else (0 * total if mistake == "no sum" else total)
    return np.asarray(p * (dp - total) / (len(p) if mistake == "batch" else 1))


CROSS_ENTROPY_MISTAKES = mistakes(
    reduction={
        "sum": "the sum over the targets instead of their mean",
        "elements": "the mean over all n * vocab_size elements instead of over the n targets",
        "none": "one loss for each target: the mean is missing",
    },
    logarithm={
        "2": "bits instead of nats (log2)",
        "10": "log10 instead of the natural logarithm",
        "sign": "the minus sign is missing",
        "none": "the probability of the target instead of its negative logarithm",
        "eps": "a constant (1e-8) is added to the probabilities before the logarithm",
        "eps 1e-9": "a constant (1e-9) is added to the probabilities before the logarithm",
        "eps 1e-12": "a constant (1e-12) is added to the probabilities before the logarithm",
    },
    inner={
        "twice": "softmax applied twice: the function takes logits, and cross_entropy of torch applies its own softmax",
        "none": "no softmax: the logits are taken for log-probabilities",
        "axis": "softmax over the wrong axis (over the targets instead of the classes)",
        "overflow": "no maximum subtracted before exp, so large logits overflow",
        "underflow": "log(softmax(x)) instead of log-softmax: probabilities that underflow give infinity",
    },
)
SMOOTHING_MISTAKES = mistakes(
    smoothing={
        "others": "ε is spread over the other vocab_size - 1 classes (as in tensor2tensor), not all",
        "target": "the target class lacks its part of the smoothing",
        "sum": "the target keeps its full weight, so that the weights sum to 1 + ε",
        "ignored": "label smoothing is ignored",
        "complement": "ε and 1 - ε are confused",
    }
)


def cross_entropy(
    logits: Array,
    targets: Array,
    label_smoothing: float = 0.0,
    *,
    reduction: str = "",
    logarithm: str = "",
    inner: str = "",
    smoothing: str = "",
) -> Array:
    """Return the mean of -sum(q log p), q the smoothed target distribution, or what a common mistake computes."""
    rows = np.arange(len(targets))
    with np.errstate(all="ignore"):
        if inner == "none":
            log_p = logits
        else:
            log_p = _log_softmax(logits, 0 if inner == "axis" else -1, inner)
            log_p = _log_softmax(np.exp(log_p), -1, "") if inner == "twice" else log_p
        p = np.exp(log_p)
        if logarithm.startswith("eps"):
            log_p = np.log(p + float(logarithm.partition(" ")[2] or 1e-8))
        scaled = {"2": log_p / np.log(2), "10": log_p / np.log(10), "sign": -log_p, "none": -p}.get(logarithm, log_p)
        q = smoothed(targets, logits.shape[-1], label_smoothing, smoothing)
        one_hot = label_smoothing == 0
        losses = -scaled[rows, targets] if one_hot else -(q * scaled).sum(-1)
    if reduction == "none":
        return np.asarray(losses)
    return np.asarray({"sum": losses.sum(), "elements": losses.sum() / logits.size}.get(reduction, losses.mean()))


def _log_softmax(x: Array, axis: int, inner: str) -> Array:
    if inner == "overflow":
        return np.asarray(np.log(np.exp(x) / np.exp(x).sum(axis, keepdims=True)))
    shifted = x - x.real.max(axis, keepdims=True)
    if inner == "underflow":
        return np.asarray(np.log(np.exp(shifted) / np.exp(shifted).sum(axis, keepdims=True)))
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def smoothed(targets: Array, vocab_size: int, eps: float, smoothing: str = "") -> Array:
    """Return the target distributions (n, vocab_size): (1 - eps) one-hot + eps / vocab_size."""
    eps = {"ignored": 0.0, "complement": 1 - eps}.get(smoothing, eps)
    other = eps / (vocab_size - 1) if smoothing == "others" else eps / vocab_size
    q = np.full((len(targets), vocab_size), other)
    at_target = {"others": 1 - eps, "target": 1 - eps, "sum": 1 + other}
    q[np.arange(len(targets)), targets] = at_target.get(smoothing, 1 - eps + other)
    return q


GRADIENT_MISTAKES = mistakes(
    mistake={
        "sum": "the gradient is that of the sum: it is not divided by the number of targets",
        "no target": "1 is not subtracted at the target: this is softmax(logits)/n",
        "elements": "the gradient is divided by all elements instead of the number of targets",
        "sign": "the sign of the gradient is reversed",
        "only target": "only the target's element has a gradient",
        "smooth ignored": "smoothed target counts fully in the gradient",
    }
)


def cross_entropy_gradient(logits: Array, targets: Array, label_smoothing: float = 0.0, *, mistake: str = "") -> Array:
    """Return the gradient of the logits: (softmax(logits) - q) / n."""
    n, vocab_size = logits.shape
    q = smoothed(targets, vocab_size, 0.0 if mistake == "smooth ignored" else label_smoothing)
    gradient = softmax(logits) - (0 if mistake == "no target" else q)
    if mistake == "only target":
        gradient = np.where(smoothed(targets, vocab_size, 0.0) == 1, gradient, 0)
    divisor = {"": n, "sum": 1, "elements": n * vocab_size, "sign": -n}.get(mistake) or n
    return np.asarray(gradient / divisor)
