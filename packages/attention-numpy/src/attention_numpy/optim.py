"""Optimizers over one flat vector, learning-rate schedules, and gradient clipping: section 5.3.

An optimizer walks the vector in blocks that fit into the cache, so each number is read from memory once per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from attention_numpy._common.errors import check_fraction, check_integer, check_not_negative, check_positive, invalid
from attention_numpy.module import Array, ParameterVector

Schedule = Callable[[int], float]  # step 1, 2, … -> learning rate
BLOCK = 1 << 15


def noam(d_model: int, warmup_steps: int = 4000, lr_scale: float = 1.0) -> Schedule:
    """Return the paper's schedule: lr(t) = lr_scale * d_model^-0.5 * min(t^-0.5, t * warmup_steps^-1.5).   (Eq. 3)

    >>> f"{noam(512, 4000)(4000):.6f}"
    '0.000699'
    """
    check_integer("d_model", d_model, 1)
    check_integer("warmup_steps", warmup_steps, 1)
    check_positive("lr_scale", lr_scale)
    return lambda step: float(lr_scale * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5))


def linear(lr: float, warmup_steps: int, steps: int, end_lr: float = 0.0) -> Schedule:
    """Return a schedule that rises to `lr` in `warmup_steps`, then decays linearly to `end_lr` at step `steps`.

    >>> schedule = linear(0.5, warmup_steps=10, steps=110)
    >>> schedule(5), schedule(10), schedule(60), schedule(110)
    (0.25, 0.5, 0.25, 0.0)
    """
    _check_decay(lr, warmup_steps, steps, end_lr)
    return lambda step: _warmed_up(step, lr, warmup_steps, steps, end_lr, lambda left: left)


def cosine(lr: float, warmup_steps: int, steps: int, end_lr: float = 0.0) -> Schedule:
    """Return a schedule that rises to `lr` in `warmup_steps`, then decays along half a cosine to `end_lr` at `steps`.

    >>> schedule = cosine(0.5, warmup_steps=10, steps=110)
    >>> schedule(5), schedule(10), round(schedule(60), 12), schedule(110)
    (0.25, 0.5, 0.25, 0.0)
    """
    _check_decay(lr, warmup_steps, steps, end_lr)
    return lambda step: _warmed_up(
        step, lr, warmup_steps, steps, end_lr, lambda left: (1 - math.cos(math.pi * left)) / 2
    )


def _check_decay(lr: float, warmup_steps: int, steps: int, end_lr: float) -> None:
    check_not_negative("lr", lr)
    check_not_negative("end_lr", end_lr)
    check_integer("steps", steps, 1)
    check_integer("warmup_steps", warmup_steps, 0, steps)


def _warmed_up(
    step: int, lr: float, warmup_steps: int, steps: int, end_lr: float, shape: Callable[[float], float]
) -> float:
    if step < warmup_steps:
        return lr * step / warmup_steps
    left = max(0, steps - step) / max(1, steps - warmup_steps)
    return end_lr + (lr - end_lr) * shape(left)


def clip_gradients(parameters: ParameterVector, max_norm: float) -> float:
    """Scale all gradients so that their common norm is at most `max_norm` (1211.5063); return the norm before.

    max_norm: 0 measures the norm without clipping.
    Raises: ValueError if the norm is NaN or infinite.
    """
    check_not_negative("max_norm", max_norm)
    parameters.check_if_assigned()
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(float(np.dot(parameters.grad, parameters.grad)))
    if not math.isfinite(norm):
        raise ValueError(f"the gradient norm is {norm}. `detect_anomaly` finds the layer that computed it")
    if 0 < max_norm < norm:
        parameters.grad *= parameters.grad.dtype.type(max_norm / (norm + 1e-6))
    return norm


class Optimizer:
    """Base of the optimizers: the parameter vector, the step count t, the learning rate or schedule, the state."""

    state: dict[str, Array]

    def __init__(self, parameters: ParameterVector, lr: float, schedule: Schedule | None) -> None:
        if not isinstance(parameters, ParameterVector):
            raise ValueError(f"`parameters` must be what model.parameters() returns, got {type(parameters).__name__}")
        check_not_negative("lr", lr)
        self.parameters, self.fixed_lr, self.schedule, self.t = parameters, lr, schedule, 0

    @property
    def lr(self) -> float:
        """The learning rate of the latest step; before the first step, of the first."""
        return self.fixed_lr if self.schedule is None else self.schedule(max(1, self.t))

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self.parameters.zero_grad()

    def step(self) -> None:
        """Update the parameters. One call is one step t, whatever the number of parameters.

        Raises: ValueError if a parameter of the model was replaced since the vector was made.
        """
        self.parameters.check_if_assigned()
        self.t += 1
        lr = self.lr
        for w, g, states in self._blocks():
            self._update(w, g, states, lr)

    def _blocks(self) -> Iterator[tuple[Array, Array, list[Array]]]:
        w, g = self.parameters.data, self.parameters.grad
        for start in range(0, len(w), BLOCK):
            block = slice(start, start + BLOCK)
            yield w[block], g[block], [s[block] for s in self.state.values()]

    def _update(self, w: Array, g: Array, states: list[Array], lr: float) -> None:
        raise TypeError(f"{type(self).__name__} does not define _update")

    def state_dict(self) -> dict[str, Array]:
        """Return the moving averages and the step count: everything that a resumed run needs."""
        return {**{name: s.copy() for name, s in self.state.items()}, "t": np.array(self.t)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restore what `state_dict` returned. Raises: ValueError, with nothing changed, if it does not match."""
        if set(state) != {*self.state, "t"} or any(state[n].shape != s.shape for n, s in self.state.items()):
            raise ValueError("the optimizer state belongs to another optimizer or another model")
        if not all(np.isfinite(state[n]).all() for n in self.state) or state["t"].shape or not state["t"] >= 0:
            raise ValueError("the optimizer state holds NaN, infinity or a negative step")
        self.t = int(state["t"])
        for name, s in self.state.items():
            s[...] = state[name]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: u = momentum * u + g,   w = w - lr * u.   (torch's form)"""

    def __init__(
        self, parameters: ParameterVector, lr: float = 1e-2, *, momentum: float = 0.0, schedule: Schedule | None = None
    ) -> None:
        super().__init__(parameters, lr, schedule)
        check_fraction("momentum", momentum, one=True)
        self.momentum = momentum
        self.state = {"u": np.zeros_like(parameters.data)}

    def _update(self, w: Array, g: Array, states: list[Array], lr: float) -> None:
        (u,) = states
        u *= w.dtype.type(self.momentum)
        u += g
        w -= w.dtype.type(lr) * u


class Adam(Optimizer):
    """Adam: m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w = w - lr * m_hat / (sqrt(v_hat) + eps).   (1412.6980)

    m_hat = m / (1 - b1^t) and v_hat = v / (1 - b2^t), because both averages start at 0 and are too small by that
    factor. Here the corrections are moved out of the loop over the elements:
        lr m_hat / (sqrt(v_hat) + eps)  =  (lr c / (1 - b1^t)) * m / (sqrt(v) + eps c),   c = sqrt(1 - b2^t)
    The defaults b1 = 0.9, b2 = 0.98, eps = 1e-9 are the paper's (section 5.3).
    """

    weight_decay = 0.0

    def __init__(
        self,
        parameters: ParameterVector,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-9,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, schedule)
        if len(betas) != 2:
            raise invalid("betas", "be two numbers in [0, 1)", betas)
        for beta in betas:
            check_fraction("betas", beta)
        check_not_negative("eps", eps)
        self.betas, self.eps = betas, eps
        self.state = {"m": np.zeros_like(parameters.data), "v": np.zeros_like(parameters.data)}
        self._buffer = np.empty(min(BLOCK, len(parameters)), parameters.data.dtype)

    def _update(self, w: Array, g: Array, states: list[Array], lr: float) -> None:
        m, v = states
        (b1, b2), real = self.betas, w.dtype.type
        c = math.sqrt(1 - b2**self.t)
        u = self._buffer[: len(w)]
        m *= real(b1)
        m += np.multiply(g, real(1 - b1), out=u)
        np.multiply(g, g, out=u)
        u *= real(1 - b2)
        v *= real(b2)
        v += u
        np.sqrt(v, out=u)
        u += real(self.eps * c)
        np.divide(m, u, out=u)
        u *= real(lr * c / (1 - b1**self.t))
        if self.weight_decay:
            w *= real(1 - lr * self.weight_decay)
        w -= u


class AdamW(Adam):
    """Adam with decoupled weight decay, w = (1 - lr * weight_decay) w before each step.   (1711.05101, Algorithm 2)

    All parameters decay, as with torch.optim.AdamW and one parameter group.
    """

    def __init__(
        self,
        parameters: ParameterVector,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, schedule=schedule)
        check_not_negative("weight_decay", weight_decay)
        self.weight_decay = weight_decay
