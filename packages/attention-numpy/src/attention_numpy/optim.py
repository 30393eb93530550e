"""Optimizers over one flat vector, the learning-rate schedules, and clipping: section 5.3.

An optimizer walks the vector in blocks that fit the cache: each number comes from memory once a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from attention_numpy.layer import Array, ParameterVector

Schedule = Callable[[int], float]
BLOCK = 1 << 15


class NoamSchedule:
    """lrate(t) = factor * d_model^-0.5 * min(t^-0.5, t * warmup^-1.5)   — Eq. (3), section 5.3; t = 1, 2, ..."""

    def __init__(self, d_model: int, warmup: int = 4000, factor: float = 1.0) -> None:
        if d_model < 1 or warmup < 1:
            raise ValueError(f"warmup: d_model = {d_model} and warmup = {warmup} met, at least 1 is needed for both")
        self.d_model, self.warmup, self.factor = d_model, warmup, factor

    def __call__(self, step: int) -> float:
        """The learning rate of this step."""
        return float(self.factor * self.d_model**-0.5 * min(step**-0.5, step * self.warmup**-1.5))


class LinearSchedule:
    """Up from 0 to `peak` in `warmup` steps, then down along a line to `end * peak` at step `total`."""

    def __init__(self, peak: float, warmup: int, total: int, end: float = 0.0) -> None:
        if not 0 <= warmup <= total:
            raise ValueError(f"warmup: {warmup} met, from 0 to total = {total} is needed")
        self.peak, self.warmup, self.total, self.end = peak, warmup, total, end

    def __call__(self, step: int) -> float:
        """The learning rate of this step."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        left = max(0, self.total - step) / max(1, self.total - self.warmup)
        return self.peak * (self.end + (1 - self.end) * left)


def clip_gradients(parameters: ParameterVector, max_norm: float) -> float:
    """Scale all gradients so that their common norm is at most `max_norm` (1211.5063); returns the norm it was."""
    norm = math.sqrt(float(np.dot(parameters.grad, parameters.grad)))
    if not math.isfinite(norm):
        raise ValueError(f"gradient: its norm is {norm}; train with --detect-anomaly to see which layer made it")
    if norm > max_norm:
        parameters.grad *= parameters.grad.dtype.type(max_norm / (norm + 1e-6))
    return norm


class Optimizer:
    """What the optimizers share: the vector, the step count t, the learning rate or its schedule, the saved state."""

    state: dict[str, Array]

    def __init__(self, parameters: ParameterVector, lr: float, schedule: Schedule | None) -> None:
        if not isinstance(parameters, ParameterVector):
            raise ValueError(f"parameters: {type(parameters).__name__} met, give model.parameters()")
        if schedule is None and not lr >= 0:
            raise ValueError(f"lr: {lr} met, a number from 0 on is needed")
        self.parameters, self.fixed_lr, self.schedule, self.t = parameters, lr, schedule, 0

    @property
    def lr(self) -> float:
        """The learning rate of the latest step (before the first: of the first)."""
        return self.fixed_lr if self.schedule is None else self.schedule(max(1, self.t))

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self.parameters.zero_grad()

    def step(self) -> None:
        """Move the parameters against their gradients. One call is one step t, whatever the number of tensors."""
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
        raise NotImplementedError

    def state_dict(self) -> dict[str, Array]:
        """The moving averages and the step count: all that a resumed run needs."""
        return {**{name: s.copy() for name, s in self.state.items()}, "t": np.array(self.t)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """The inverse of state_dict."""
        if set(state) != {*self.state, "t"} or any(state[n].shape != s.shape for n, s in self.state.items()):
            raise ValueError("state: it belongs to another optimizer or another model")
        self.t = int(state["t"])
        for name, s in self.state.items():
            s[...] = state[name]


class SGD(Optimizer):
    """u = momentum * u + g,   w = w - lr * u   (torch's form: u starts as the first gradient)."""

    def __init__(
        self, parameters: ParameterVector, lr: float = 1e-2, *, momentum: float = 0.0, schedule: Schedule | None = None
    ) -> None:
        super().__init__(parameters, lr, schedule)
        self.momentum = momentum
        self.state = {"u": np.zeros_like(parameters.data)}

    def _update(self, w: Array, g: Array, states: list[Array], lr: float) -> None:
        (u,) = states
        u *= w.dtype.type(self.momentum)
        u += g
        w -= w.dtype.type(lr) * u


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w = w - lr * m_hat / (sqrt(v_hat) + eps)   — 1412.6980, Alg. 1.

    m_hat = m / (1 - b1^t), v_hat = v / (1 - b2^t): both averages start at 0, and are too small by just that factor.
    Here the corrections are taken out of the loop over the numbers:
        lr m_hat / (sqrt(v_hat) + eps)  =  (lr c / (1 - b1^t)) * m / (sqrt(v) + eps c),   c = sqrt(1 - b2^t)
    The paper trains with b1 = 0.9, b2 = 0.98, eps = 1e-9 (section 5.3).
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
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas} met, numbers from 0 to below 1 are needed")
        self.betas, self.eps = betas, eps
        self.state = {"m": np.zeros_like(parameters.data), "v": np.zeros_like(parameters.data)}
        self._spare = np.empty(min(BLOCK, len(parameters)), parameters.data.dtype)

    def _update(self, w: Array, g: Array, states: list[Array], lr: float) -> None:
        m, v = states
        (b1, b2), real = self.betas, w.dtype.type
        c = math.sqrt(1 - b2**self.t)
        u = self._spare[: len(w)]
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
    """Adam with w = (1 - lr * weight_decay) w beside the step, apart from the gradient   — 1711.05101, Algorithm 2."""

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
        self.weight_decay = weight_decay
