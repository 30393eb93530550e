"""Common activation functions: value, derivative, and the paper of each.

>>> f = ACTIVATIONS["ReLU"]
>>> x = np.array([-1.0, 2.0])  # float16, float32 or float64, any shape; both results keep its dtype
>>> f.value(x), f.derivative(x)
(array([0., 2.]), array([0., 1.]))

Each is finite on the whole range of its dtype, except the squared ReLU, whose value can exceed it. No intermediate
value overflows or becomes 0 / 0, because exponentials are taken of non-positive numbers only. NaN gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attention_numpy._common.errors import check_integer
from attention_numpy.checks import check_float, check_gradient
from attention_numpy.functional import erf, log_softmax, log_softmax_backward, softmax, softmax_backward
from attention_numpy.module import Array, Module

Function = Callable[[Array], Array]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # the fixed point of 1706.02515, Eq. (14)
GELU_CUBIC = 0.044715


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivative, which map an array to one of the same shape and dtype.

    Raises: ValueError for arrays that are not float16, float32 or float64. float16 is computed in float32.
    """

    name: str
    formula: str
    paper: str
    function: Function
    slope: Function

    def value(self, x: Array) -> Array:
        """Return f(x)."""
        return self._apply(self.function, x)

    def derivative(self, x: Array) -> Array:
        """Return f'(x), NaN where x is NaN."""
        slope = self._apply(self.slope, x)
        missing = np.isnan(x)
        return np.where(missing, x, slope) if missing.any() else slope

    def _apply(self, function: Function, x: Array) -> Array:
        check_float("x", x)
        wide = np.atleast_1d(x.astype(np.float32) if x.dtype == np.float16 else x)
        with np.errstate(invalid="ignore"):  # inf - inf, inf / inf and 0 * inf are NaN, as in torch
            y = function(wide)
        if x.dtype == np.float16:
            with np.errstate(over="ignore"):
                y = y.astype(np.float16)
        return y.reshape(x.shape)


def _like(x: Array, number: float) -> Array:
    """Return a constant in x's dtype, because a float64 factor would promote float32."""
    return np.asarray(number, x.dtype)


def _step(x: Array, at: float = 0.0) -> Array:
    return (x > _like(x, at)).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)); for negative x as exp(x) / (1 + exp(x)), so that exp never overflows."""
    e = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, e) / (1 + e)
    return y


def sigmoid_derivative(x: Array) -> Array:
    """Return s (1 - s), computed as e / (1 + e)^2 with e = exp(-|x|), because 1 - s would cancel."""
    e = np.exp(-np.abs(x))
    y: Array = e / ((1 + e) * (1 + e))
    return y


def tanh_derivative(x: Array) -> Array:
    """Return 1 - tanh(x)^2 = 4 sigmoid'(2 x), without cancellation. Beyond 50, tanh is constant in every dtype."""
    return 4 * sigmoid_derivative(2 * np.clip(x, -50, 50))


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign_derivative(x: Array) -> Array:
    """Return 1 / (1 + |x|)^2, squared after the division, which cannot overflow."""
    r = 1 / (1 + np.abs(x))
    return r * r


def leaky(slope: float) -> tuple[Function, Function]:
    """Return the function max(x, 0) + slope * min(x, 0) and its derivative."""
    return (
        lambda x: np.where(x > 0, x, _like(x, slope) * x),
        lambda x: np.where(x > 0, _like(x, 1), _like(x, slope)),
    )


def exponential_linear(alpha: float, scale: float = 1.0) -> tuple[Function, Function]:
    """Return the function scale * (x if x > 0 else alpha (exp(x) - 1)) and its derivative."""
    return (
        lambda x: _like(x, scale) * np.where(x > 0, x, _like(x, alpha) * np.expm1(np.minimum(x, 0))),
        lambda x: _like(x, scale) * np.where(x > 0, _like(x, 1), _like(x, alpha) * np.exp(np.minimum(x, 0))),
    )


def celu(alpha: float) -> tuple[Function, Function]:
    """Return the function max(x, 0) + min(0, alpha (exp(x / alpha) - 1)) and its derivative, which is continuous."""
    return (
        lambda x: np.where(x > 0, x, _like(x, alpha) * np.expm1(np.minimum(x, 0) / _like(x, alpha))),
        lambda x: np.where(x > 0, _like(x, 1), np.exp(np.minimum(x, 0) / _like(x, alpha))),
    )


def silu_derivative(x: Array) -> Array:
    """Return s (1 + x (1 - s)), with 1 - s computed as sigmoid(-x)."""
    y: Array = sigmoid(x) * (1 + x * sigmoid(-x))
    return y


def normal_cdf(x: Array) -> Array:
    """Return the probability that a standard normal number is below x."""
    y: Array = _like(x, 0.5) * (1 + erf(x * _like(x, math.sqrt(0.5))))
    return y


def gelu_derivative(x: Array) -> Array:
    """Return Phi(x) + x phi(x). Beyond 30, x phi(x) is 0 in every dtype."""
    near = np.clip(x, -30, 30)
    y: Array = normal_cdf(x) + near * np.exp(_like(x, -0.5) * near * near) * _like(x, 1 / math.sqrt(2 * math.pi))
    return y


def _gelu_angle(x: Array) -> tuple[Array, Array]:
    """Return x clipped to [-20, 20], where tanh is constant beyond, and its argument. `x**3` would be slower."""
    near = np.clip(x, -20, 20)
    return near, _like(x, math.sqrt(2 / math.pi)) * (near + _like(x, GELU_CUBIC) * near * near * near)


def gelu_tanh(x: Array) -> Array:
    """Return 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    y: Array = _like(x, 0.5) * x * (1 + np.tanh(_gelu_angle(x)[1]))
    return y


def gelu_tanh_derivative(x: Array) -> Array:
    """Return, by the product rule, (1 + t) / 2 + x (1 - t^2) / 2 * the slope of the argument of t = tanh."""
    near, angle = _gelu_angle(x)
    slope = _like(x, math.sqrt(2 / math.pi)) * (1 + _like(x, 3 * GELU_CUBIC) * near * near)
    y: Array = _like(x, 0.5) * (1 + np.tanh(angle) + near * tanh_derivative(angle) * slope)
    return y


def mish_derivative(x: Array) -> Array:
    """Return t + x (1 - t^2) sigmoid(x) with t = tanh(softplus(x)). Beyond +-50 the second term is 0."""
    p = softplus(x)
    y: Array = np.tanh(p) + np.clip(x, -50, 50) * tanh_derivative(p) * sigmoid(x)
    return y


def hard_sigmoid(x: Array) -> Array:
    """Return clip(x / 6 + 1 / 2, 0, 1)."""
    return np.clip(x / 6 + _like(x, 0.5), 0, 1)


def hard_swish_derivative(x: Array) -> Array:
    """Return 0 below -3, 1 above 3, and (2 x + 3) / 6 between."""
    near = np.clip(x, -3, 3)
    return np.where(np.abs(x) < 3, (2 * near + 3) / 6, _step(x))


_SELU = exponential_linear(SELU_ALPHA, SELU_SCALE)

_ALL = [
    Activation("sigmoid", "1 / (1 + exp(-x))", "Verhulst 1845; Rumelhart et al. 1986", sigmoid, sigmoid_derivative),
    Activation("tanh", "tanh(x)", "LeCun et al. 1998, Efficient BackProp", np.tanh, tanh_derivative),
    Activation("ReLU", "max(0, x)", "Nair & Hinton 2010", lambda x: np.maximum(x, 0), _step),
    Activation("LeakyReLU", "max(0.01 x, x)", "Maas et al. 2013", *leaky(0.01)),
    Activation("PReLU", "max(a x, x), a learned from 0.25", "1502.01852", *leaky(0.25)),
    Activation("ELU", "x or exp(x) - 1", "1511.07289", *exponential_linear(1.0)),
    Activation("SELU", "1.0507 (x or 1.6733 (exp(x) - 1))", "1706.02515", *_SELU),
    Activation("CELU", "x or exp(x / a) a - a", "1704.07483", *celu(1.0)),
    Activation("Softplus", "log(1 + exp(x))", "Dugas et al. 2001", softplus, sigmoid),
    Activation("Softsign", "x / (1 + |x|)", "Turian et al. 2009", lambda x: x / (1 + np.abs(x)), softsign_derivative),
    Activation("SiLU", "x sigmoid(x)", "1702.03118; Swish: 1710.05941", lambda x: x * sigmoid(x), silu_derivative),
    Activation("GELU", "x Phi(x)", "1606.08415", lambda x: x * normal_cdf(x), gelu_derivative),
    Activation("GELU (tanh)", "x Phi(x), approximated with tanh", "1606.08415", gelu_tanh, gelu_tanh_derivative),
    Activation("Mish", "x tanh(softplus(x))", "1908.08681", lambda x: x * np.tanh(softplus(x)), mish_derivative),
    Activation(
        "HardSigmoid",
        "clip(x / 6 + 1 / 2, 0, 1)",
        "1905.02244",
        hard_sigmoid,
        lambda x: np.where(np.abs(x) < 3, _like(x, 1 / 6), _like(x, 0)),
    ),
    Activation("HardSwish", "x HardSigmoid(x)", "1905.02244", lambda x: x * hard_sigmoid(x), hard_swish_derivative),
    Activation(
        "HardTanh",
        "clip(x, -1, 1)",
        "Collobert 2004",
        lambda x: np.clip(x, -1, 1),
        lambda x: (np.abs(x) < 1).astype(x.dtype),
    ),
    Activation(
        "squared ReLU",
        "max(0, x)^2",
        "2109.08668",
        lambda x: np.maximum(x, 0) * np.maximum(x, 0),
        lambda x: 2 * np.maximum(x, 0),
    ),
]
ACTIVATIONS = {activation.name: activation for activation in _ALL}


def prelu_backward(dy: Array, x: Array, slope: float) -> tuple[Array, float]:
    """Return the gradients of x and of the learned slope: dslope = sum of dy * min(x, 0).   (1502.01852, Eq. 4)"""
    return dy * leaky(slope)[1](x), float((dy * np.minimum(x, 0)).sum())


# -------------------------------------------------------------------------- functions of several elements of a row


@dataclass(frozen=True)
class Gate:
    """y = a * f(b), where a and b are the halves of the last axis, in torch's order (2002.05202: b first)."""

    name: str
    paper: str
    function: Activation

    def value(self, x: Array) -> Array:
        """Map (..., 2 width) to (..., width)."""
        _check_multiple(x, 2)
        a, b = np.split(x, 2, axis=-1)
        return a * self.function.value(b)

    def backward(self, dy: Array, x: Array) -> Array:
        """Return da = dy * f(b) and db = dy * a * f'(b), concatenated: (..., 2 width)."""
        _check_multiple(x, 2)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([dy * self.function.value(b), dy * a * self.function.derivative(b)], -1)


_GATES = [
    Gate("GLU", "1612.08083", ACTIVATIONS["sigmoid"]),
    Gate("GEGLU", "2002.05202", ACTIVATIONS["GELU"]),
    Gate("SwiGLU", "2002.05202", ACTIVATIONS["SiLU"]),
    Gate("ReGLU", "2002.05202", ACTIVATIONS["ReLU"]),
]
GATES = {gate.name: gate for gate in _GATES}


def _check_multiple(x: Array, parts: int) -> None:
    """Raise ValueError unless x is a float array whose last axis divides into `parts`."""
    check_float("x", x)
    if x.ndim < 1 or x.shape[-1] % parts:
        raise ValueError(f"`x` must have a last axis that is a multiple of {parts}, got shape {x.shape}")


def maxout(x: Array, pieces: int) -> Array:
    """Return the maximum of each group of `pieces` neighbors: (..., width * pieces) -> (..., width).   (1302.4389)"""
    check_integer("pieces", pieces, 1)
    _check_multiple(x, pieces)
    found: Array = x.reshape(*x.shape[:-1], -1, pieces).max(-1)
    return found


def maxout_backward(dy: Array, x: Array, pieces: int) -> Array:
    """Return the gradient of x: dy at each group's maximum, the first one where several are equal, else 0."""
    check_integer("pieces", pieces, 1)
    _check_multiple(x, pieces)
    groups = x.reshape(*x.shape[:-1], -1, pieces)
    dx = np.zeros_like(groups)
    np.put_along_axis(dx, groups.argmax(-1)[..., None], dy[..., None], -1)
    return dx.reshape(x.shape)


class Elementwise(Module):
    """Apply an activation function: y = f(x).

    Shapes: x, y any. Backward: dx = dy * f'(x). Saved for backward: x.
    """

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Array) -> Array:
        """Return an array of the same shape."""
        self.save_for_backward(x)
        return self.function.value(x)

    def backward(self, dy: Array) -> Array:
        """Map the gradient of y to that of x."""
        (x,) = self.pop_saved()
        check_gradient(dy, x.shape, x.dtype)
        return dy * self.function.derivative(x)


__all__ = [
    "ACTIVATIONS",
    "GATES",
    "Activation",
    "Gate",
    "Elementwise",
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
    "prelu_backward",
    "maxout",
    "maxout_backward",
]
