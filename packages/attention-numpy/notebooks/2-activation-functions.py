# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Activation functions: which, and when
#
# Eighteen activation functions in NumPy, compared by three measurements: gradient flow, dead units, and cost.
#
# ## Motivation
#
# Without a nonlinearity, a deep network is one matrix. Which nonlinearity you choose matters for three reasons: how much gradient
# it lets through, whether its units can die, and what it costs. The table at the end follows from the measurements.

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the matrices are too small for a second BLAS thread
try:
    import attention_numpy  # noqa: F401
    import matplotlib.pyplot as plt
except ImportError as error:
    raise ImportError(
        f"{error}. This notebook needs the package with its extra: pip install "
        '"dlpapers-attention-numpy[notebooks] @ git+<address of this repository>#subdirectory=packages/attention-numpy"'
    ) from None

import math
import time

import numpy as np
from attention_numpy import Adam, Linear, Module, check_layer, cross_entropy
from attention_numpy.activations import ACTIVATIONS, GATES, Elementwise
from attention_numpy.layers import new_rng

NAMES = list(ACTIVATIONS)
print(*(f"{f.name:13} {f.formula:34} {f.paper}" for f in ACTIVATIONS.values()), sep="\n")

# %% [markdown]
# ## Idea
#
# The backward pass multiplies the gradient by the derivative of the activation. So the derivative decides how much of the gradient
# reaches the layers below. The figure shows each function (solid) and its derivative (dashed). A sigmoid never lets through more than
# a quarter; a ReLU lets through everything or nothing.

# %%
x = np.linspace(-4, 4, 801)
figure, axes = plt.subplots(3, 6, sharex=True, figsize=(12, 6.4), layout="constrained")
for axis, (name, f) in zip(axes.flat, ACTIVATIONS.items(), strict=True):
    axis.plot(x, f.value(x), color="C0")
    axis.plot(x, f.derivative(x), color="C1", linestyle="--")
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set(title=name, ylim=(-1.6, 3))
figure.suptitle("value (solid) and derivative (dashed)")
assert math.isclose(ACTIVATIONS["sigmoid"].derivative(x).max(), 0.25)
plt.show()

# %% [markdown]
# ## Math
#
# A layer $h' = f(hW)$ with weights of variance $g^2/d$ keeps the scale of its signal if $g^2 = 1/\mathbb{E}[f(z)^2]$ for a standard
# normal $z$. For the ReLU, $\mathbb{E}[f(z)^2] = 1/2$, so $g^2 = 2$ (He initialization, 1502.01852). For SELU $g^2 = 1$ by
# construction. For tanh, the value is not 1, as Xavier initialization assumes, but about 2.5. On the way back, the gradient is
# multiplied by $f'$ and by $W^\top$, so its scale changes by the factor $g^2\,\mathbb{E}[f'(z)^2]$ per layer (in variance).

# %%
z = new_rng(0).standard_normal(100_000)
gains = {name: 1 / math.sqrt(float((f.value(z) ** 2).mean())) for name, f in ACTIVATIONS.items()}
for name, f in ACTIVATIONS.items():
    factor = gains[name] ** 2 * float((f.derivative(z) ** 2).mean())
    print(f"{name:14} gain² {gains[name] ** 2:6.2f}   gradient variance per layer × {factor:5.2f}")
assert abs(gains["ReLU"] ** 2 - 2) < 0.05
assert abs(gains["SELU"] ** 2 - 1) < 0.05
assert 2.4 < gains["tanh"] ** 2 < 2.7

# %% [markdown]
# ## Code with shapes
#
# A layer that applies a function elementwise, forward and backward. `Elementwise` in the package is the same with checks.


# %%
class ByHand(Module):
    """y = f(x), x of any shape."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        self.save_for_backward(x)
        return self.f.value(x)  # the shape of x

    def backward(self, dy):
        (x,) = self.pop_saved()
        return dy * self.f.derivative(x)  # the shape of x


# %% [markdown]
# ## Test
#
# Every derivative against finite differences, away from kinks. (The tests of the package compare with torch, within $10^{-13}$.)

# %%
inputs = new_rng(1).normal(0, 2, (4, 5))
inputs[np.abs(np.abs(inputs) - np.array([[0, 1, 3, 0, 1]])) < 1e-3] = 0.5
for name, f in ACTIVATIONS.items():
    (by_hand,), (packaged,) = check_layer(ByHand(f), inputs), check_layer(Elementwise(f), inputs)
    assert by_hand.error < 1e-7, name
    assert packaged.analytic == by_hand.analytic

# %% [markdown]
# ## Experiment
#
# ### Saturation
#
# A unit is saturated where its derivative is nearly 0: it passes nothing back, whatever the error is. The table shows the percentage
# of standard normal inputs, scaled by 1, 3 and 10, at which the absolute derivative is below 0.01.

# %%
saturated = {
    name: [float((np.abs(f.derivative(s * z)) < 0.01).mean()) for s in (1, 3, 10)] for name, f in ACTIVATIONS.items()
}
print(f"{'':14}{'x1':>7}{'x3':>7}{'x10':>7}")
for name, shares in saturated.items():
    print(f"{name:14}" + "".join(f"{share:7.1%}" for share in shares))
assert saturated["tanh"][2] > 0.6, "both sides of a tanh saturate"
assert 0.45 < saturated["ReLU"][0] < 0.55, "a ReLU has one dead side"
assert saturated["LeakyReLU"][2] == 0

# %% [markdown]
# ### Gradients through fifty layers
#
# Each function gets the gain $g$ that is right for it; what remains is a property of the function. Shown is the norm of the gradient
# at the first layer divided by that at the last.

# %%
DEPTH, WIDTH = 50, 128


def through(name, gain):
    """Return the gradient's norm at the input divided by that at the output, and the outputs of all layers."""
    f, rng = ACTIVATIONS[name], new_rng(1)
    h = rng.standard_normal((64, WIDTH))  # (batch, width)
    saved, outputs = [], []
    for _ in range(DEPTH):
        weight = rng.standard_normal((WIDTH, WIDTH)) * gain / math.sqrt(WIDTH)
        pre = h @ weight
        h = f.value(pre)
        saved.append((weight, pre))
        outputs.append(h)
    gradient = rng.standard_normal(h.shape)
    start = np.linalg.norm(gradient)
    for weight, pre in reversed(saved):
        gradient = (gradient * f.derivative(pre)) @ weight.T
    ratio = float(np.linalg.norm(gradient) / start)
    return ratio if math.isfinite(ratio) else math.inf, outputs


with np.errstate(over="ignore", invalid="ignore"):  # the squared ReLU squares the scale in every layer
    flow = {name: through(name, gains[name])[0] for name in NAMES}
for name in sorted(flow, key=flow.get):
    print(f"{name:14} gain {gains[name]:5.2f}   gradient after {DEPTH} layers x {flow[name]:.1e}")
assert 0.05 < flow["ReLU"] < 20
assert flow["sigmoid"] < 1e-6, "the gradient vanishes even with the best initialization"
assert flow["tanh"] > 10, "the gradient grows: unlike the sigmoid, tanh has slope 1 at 0"
assert flow["squared ReLU"] == math.inf, "no gain keeps its scale: it needs normalization"

# %%
order = [name for name in sorted(flow, key=flow.get) if flow[name] < math.inf]
figure, axis = plt.subplots(figsize=(9, 4.6), layout="constrained")
exponents = [max(math.log10(flow[name]), -12) for name in order]  # the sigmoids would make all other bars invisible
axis.barh(order, exponents, color=["C3" if e < -1 else "C1" if e > 1 else "C0" for e in exponents])
axis.axvline(0, color="#555555", linewidth=0.8)
axis.set(xlabel=f"log10 of the gradient at the first of {DEPTH} layers over that at the last (cut off at -12)")
plt.show()

# %% [markdown]
# Blue keeps the gradient within a factor of ten, red loses it, orange lets it grow. The sigmoid and tanh differ: with its gain, tanh
# amplifies the gradient, while the sigmoid loses it.
#
# With Xavier's weights instead of He's, the ReLU loses a factor of $\sqrt 2$ per layer:

# %%
wrong = through("ReLU", 1.0)[0]
print(f"ReLU with Xavier's weights: x {wrong:.1e}")
assert wrong < 1e-5

# %% [markdown]
# ### SELU keeps mean 0 and variance 1
#
# Its two constants are chosen for that (1706.02515). No normalization layer is needed.

# %%
for name in ("SELU", "ELU", "ReLU"):
    last = through(name, 1.0)[1][-1]
    print(f"{name:5} with variance 1/d: after {DEPTH} layers mean {last.mean():+.3f}, variance {last.var():.1e}")
selu = through("SELU", 1.0)[1][-1]
assert abs(selu.mean()) < 0.25
assert 0.4 < selu.var() < 2
assert through("ReLU", 1.0)[1][-1].var() < 1e-8

# %% [markdown]
# ### Dead ReLUs
#
# A ReLU unit whose input is negative on every example gets no gradient, so it stays dead. One step that is too large is enough. Here a
# classifier of two spirals is trained with a moderate and with a high learning rate. After each step, the hidden units whose
# derivative is 0 on every example are counted.


# %%
class Classifier(Module):
    """Two hidden layers of 64 units."""

    def __init__(self, name, seed=0):
        super().__init__()
        rng = new_rng(seed)
        self.linears = [Linear(a, b, rng=rng, dtype=np.float64) for a, b in ((2, 64), (64, 64), (64, 2))]
        for linear in self.linears[:2]:
            d_out, d_in = linear.weight.data.shape
            linear.weight.data[...] = rng.standard_normal((d_out, d_in)) * gains[name] / math.sqrt(d_in)
        self.activations = [Elementwise(ACTIVATIONS[name]) for _ in range(2)]

    def parts(self):
        (first, second, last), (f, g) = self.linears, self.activations
        return [first, f, second, g, last]

    def forward(self, x):
        for part in self.parts():
            x = part.forward(x)
        return x

    def backward(self, dy):
        for part in reversed(self.parts()):
            dy = part.backward(dy)
        return dy

    def dead_units(self, x):
        """Return the fraction of hidden units whose derivative is 0 on every example."""
        dead, total = 0, 0
        for part in self.parts():
            if isinstance(part, Elementwise):
                slope = part.function.derivative(x)
                dead, total = dead + int((np.abs(slope).max(0) < 1e-12).sum()), total + slope.shape[1]
            x = part.forward(x)
        return dead / total


def spirals(n=400):
    """Return two classes that no line separates."""
    rng = new_rng(5)
    t = np.sqrt(rng.random(n)) * 3 * np.pi
    label = rng.integers(0, 2, n)
    points = np.stack([t * np.cos(t + np.pi * label), t * np.sin(t + np.pi * label)], 1) / 6
    return points + rng.normal(0, 0.03, points.shape), label


def train(name, lr, steps=250):
    """Return the fraction of dead units at each step, and the final accuracy."""
    points, label = spirals()
    model = Classifier(name)
    optimizer = Adam(model.parameters(), lr, betas=(0.9, 0.999), eps=1e-8)
    fractions = []
    for _ in range(steps):
        optimizer.zero_grad()
        model.backward(cross_entropy(model(points), label)[1])
        optimizer.step()
        model.eval()
        fractions.append(model.dead_units(points))
        model.train()
    model.eval()
    return fractions, float((model(points).argmax(-1) == label).mean())


SHOWN = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "squared ReLU")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 3)))  # several curves are 0 and lie on each other
figure, axes = plt.subplots(1, 2, sharey=True, figsize=(9, 3.8), layout="constrained")
dead = {}
for axis, lr in zip(axes, (0.01, 0.2), strict=True):
    for number, name in enumerate(SHOWN):
        fractions, accuracy = train(name, lr)
        dead[name, lr] = fractions[-1]
        axis.plot(fractions, label=name, linestyle=STYLES[number])
        print(f"lr {lr:<5} {name:13} dead units {fractions[-1]:5.1%}, accuracy {accuracy:.1%}")
    axis.set(title=f"learning rate {lr}", xlabel="step", ylim=(-0.02, 1))
axes[0].set_ylabel("fraction of dead units")
axes[0].legend(frameon=False)
assert dead["ReLU", 0.2] > 0.2
assert dead["ReLU", 0.2] > 2 * dead["ReLU", 0.01]
assert dead["LeakyReLU", 0.2] == 0, "with a slope on both sides, no unit can die"
plt.show()

# %% [markdown]
# At the smaller learning rate, a tenth of the ReLUs die early, and then no others. At the larger one, most of them die in the first
# few steps. The network still fits the spirals with the rest, so dead units are easily overlooked.

# %% [markdown]
# ### Cost per element
#
# Value and derivative in float32: CPU nanoseconds per element, the fastest of nine. Two things cost: transcendental functions (exp,
# tanh, erf), and `np.where`, which makes LeakyReLU slower than tanh although it computes less. In a Transformer both are small
# beside the matmuls, which cost $4 d_\mathrm{model}$ operations per element of $d_\mathrm{ff}$.

# %%
sample = new_rng(2).standard_normal(1 << 16).astype(np.float32)


def nanoseconds(call):
    """Return CPU nanoseconds per element."""
    times = []
    for _ in range(9):
        start = time.process_time()
        for _ in range(4):
            call(sample)
        times.append((time.process_time() - start) / 4)
    return 1e9 * min(times) / sample.size


cost = {name: nanoseconds(f.value) + nanoseconds(f.derivative) for name, f in ACTIVATIONS.items()}
for name in sorted(cost, key=cost.get):
    print(f"{name:14} {cost[name]:6.2f} ns")
mask = sample > 0
where = nanoseconds(lambda x: np.where(mask, x, x))
print(f"np.where alone {where:.2f} ns, np.maximum alone {nanoseconds(lambda x: np.maximum(x, 0)):.2f} ns")
assert cost["ReLU"] < cost["GELU"]
assert cost["ReLU"] < cost["LeakyReLU"]

# %% [markdown]
# ### Gates
#
# GLU, GEGLU, SwiGLU and ReGLU multiply one half of their input by a function of the other (2002.05202). That takes a third matrix in
# the feed-forward network, which a width of 2/3 compensates. Most current large language models use SwiGLU.

# %%
ab = new_rng(3).standard_normal((4, 10))
for name, gate in GATES.items():
    direction = new_rng(4).standard_normal(ab.shape)
    above, below = (gate.value(ab + h * direction).sum() for h in (1e-6, -1e-6))
    analytic = float((gate.backward(np.ones((4, 5)), ab) * direction).sum())
    print(f"{name:7} slope along a direction {(above - below) / 2e-6:+.6f}, analytic {analytic:+.6f}")
    assert math.isclose((above - below) / 2e-6, analytic, rel_tol=1e-5)

# %% [markdown]
# ## Summary
#
# All measurements side by side.

# %%
print(f"{'':14}{'saturated at ×3':>16}{'50 layers':>11}{'ns':>7}")
for name in NAMES:
    print(f"{name:14}{saturated[name][1]:16.1%}{flow[name]:11.0e}{cost[name]:7.1f}")
cheap = [name for name in NAMES if cost[name] < cost["GELU"]]
deep = [name for name in NAMES if 1e-2 < flow[name] < 1e2]
alive = [name for name in NAMES if saturated[name][1] < 0.1]
print("cheaper than GELU:", *cheap, sep="\n  ")
print("gradient within a factor of 100 through 50 layers, without normalization:", *deep, sep="\n  ")
print("saturated for less than a tenth of the inputs at ×3:", *alive, sep="\n  ")
assert "ReLU" in deep
assert "ReLU" in cheap
assert not {"sigmoid", "HardSigmoid"} & set(deep)
assert {"LeakyReLU", "Softplus"} & set(alive)

# %% [markdown]
# | where | which | reason |
# | --- | --- | --- |
# | hidden layers, first choice | ReLU with He initialization | cheapest; the gradient keeps its scale through 50 layers |
# | units die (high learning rate) | LeakyReLU, PReLU, or a smaller learning rate | a slope on both sides |
# | Transformers | GELU or SiLU; gated: GEGLU or SwiGLU | smooth, few dead units; the matmuls dominate the cost |
# | deep, without normalization | SELU with LeCun initialization | keeps mean and variance by itself |
# | small devices | ReLU, HardSwish | no exp |
# | output that is a probability | sigmoid (one), softmax (several) | their range; the loss cancels the saturation |
# | gates of recurrent cells | sigmoid and tanh | bounded |
# | output that must be positive | Softplus | its slope is positive everywhere |
#
# ## Exercises
#
# 1. Add `x * sigmoid(1.702 * x)`, the sigmoid approximation of GELU, with its derivative. Check it with `check_layer(Elementwise(…))`.
# 2. Rewrite LeakyReLU as `np.maximum(0.01 * x, x)`. What does it cost now? For which slopes is that correct?
# 3. Repeat the experiment with fifty layers with Xavier's gain of 1 for every function. Which keep their gradient?
