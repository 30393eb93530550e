# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Activation functions: which, and when
#
# Without a nonlinearity a deep network is one matrix. Which nonlinearity matters for three reasons that can be
# measured: how much gradient it lets through, whether its units can die, and what it costs. This notebook measures
# them for the functions in general use, and its last table follows from the measurements. Everything runs on NumPy,
# by the layers of this package.

# %%
import math
import time

import numpy as np
from attention_numpy import Adam, Linear, cross_entropy
from attention_numpy.activations import ACTIVATIONS, GATES, Elementwise
from attention_numpy.layer import Layer
from attention_numpy.layers import new_rng
from dlpapers_shared.viz.style import Figure, line_style

NAMES = list(ACTIVATIONS)
print(*(f"{f.name:13} {f.formula:34} {f.paper}" for f in ACTIVATIONS.values()), sep="\n")

# %% [markdown]
# ## Shapes and derivatives
#
# The function solid, its derivative dashed. The derivative is what the gradient is multiplied with on its way back: a
# sigmoid never lets through more than a quarter, a ReLU all or nothing.

# %%
x = np.linspace(-4, 4, 801)
figure = Figure(figsize=(12, 6.4), layout="constrained")
for axis, (name, f) in zip(figure.subplots(3, 6, sharex=True).flat, ACTIVATIONS.items(), strict=True):
    axis.plot(x, f.value(x), color=line_style(0)["color"])
    axis.plot(x, f.derivative(x), color=line_style(1)["color"], linestyle="--")
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set(title=name, ylim=(-1.6, 3))
figure.suptitle("value (solid) and derivative (dashed)")
assert math.isclose(ACTIVATIONS["sigmoid"].derivative(x).max(), 0.25)
figure

# %% [markdown]
# ## Saturation
#
# A unit is saturated where its derivative is nearly 0: it passes nothing back, whatever the error is. Here the share
# of standard normal inputs, scaled by 1, 3 and 10, at which the derivative is below 0.01.

# %%
z = new_rng(0).standard_normal(100_000)
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
# ## Gradients through fifty layers, each with its matching initialisation
#
# A layer keeps the scale of its signal if the weights' variance is $g^2/d$ with $g^2 = 1/\mathbb{E}[f(z)^2]$: 2 for
# the ReLU (He initialisation, 1502.01852), 1 for SELU (LeCun), close to 1 for tanh (Xavier). Each function gets the
# $g$ that is right for it; what is left is its own doing. Shown: the gradient at the first layer over that at the
# last.

# %%
DEPTH, WIDTH = 50, 128


def through(name, gain):
    """Ratio of the gradient's norm at the input to that at the output, and the outputs of all layers."""
    f, rng = ACTIVATIONS[name], new_rng(1)
    h = rng.standard_normal((64, WIDTH))
    kept, outputs = [], []
    for _ in range(DEPTH):
        weight = rng.standard_normal((WIDTH, WIDTH)) * gain / math.sqrt(WIDTH)
        pre = h @ weight
        h = f.value(pre)
        kept.append((weight, pre))
        outputs.append(h)
    gradient = rng.standard_normal(h.shape)
    start = np.linalg.norm(gradient)
    for weight, pre in reversed(kept):
        gradient = (gradient * f.derivative(pre)) @ weight.T
    ratio = float(np.linalg.norm(gradient) / start)
    return ratio if math.isfinite(ratio) else math.inf, outputs


gains = {name: 1 / math.sqrt(float((f.value(z) ** 2).mean())) for name, f in ACTIVATIONS.items()}
with np.errstate(over="ignore", invalid="ignore"):  # the squared ReLU squares every deviation, layer upon layer
    flow = {name: through(name, gains[name])[0] for name in NAMES}
for name in sorted(flow, key=flow.get):
    print(f"{name:14} gain {gains[name]:5.2f}   gradient after {DEPTH} layers x {flow[name]:.1e}")
assert abs(gains["ReLU"] - math.sqrt(2)) < 0.02
assert abs(gains["SELU"] - 1) < 0.02
assert 0.05 < flow["ReLU"] < 20
assert flow["sigmoid"] < 1e-6, "vanishes even with its best initialisation"
assert flow["squared ReLU"] == math.inf, "no gain holds it: it needs normalisation"

# %%
figure = Figure(figsize=(9, 4.6), layout="constrained")
axis = figure.subplots()
order = [name for name in sorted(flow, key=flow.get) if flow[name] < math.inf]
axis.barh(order, [max(flow[name], 1e-40) for name in order], left=1e-40, color=line_style(0)["color"])
axis.axvline(1, color="#555555", linewidth=0.8)
axis.set(
    xscale="log",
    xlim=(1e-40, 1e10),
    xlabel=f"gradient at the first of {DEPTH} layers over that at the last (log scale)",
)
figure

# %% [markdown]
# The same ReLU with Xavier's weights instead of He's loses a factor of $\sqrt 2$ a layer:

# %%
wrong = through("ReLU", 1.0)[0]
print(f"ReLU with Xavier's weights: x {wrong:.1e}")
assert wrong < 1e-5

# %% [markdown]
# ## SELU keeps mean 0 and variance 1
#
# That is what its two constants are for (1706.02515): without any normalisation layer.

# %%
for name in ("SELU", "ELU", "ReLU"):
    last = through(name, 1.0)[1][-1]
    print(f"{name:5} with variance 1/d: after {DEPTH} layers mean {last.mean():+.3f}, variance {last.var():.1e}")
selu = through("SELU", 1.0)[1][-1]
assert abs(selu.mean()) < 0.25
assert 0.4 < selu.var() < 2
assert through("ReLU", 1.0)[1][-1].var() < 1e-8

# %% [markdown]
# ## Dead ReLUs, counted while training
#
# A ReLU unit whose input is negative on every example gets no gradient, and cannot come back. That takes one step too
# far: here a classifier of two spirals is trained with a learning rate that is too high, and at each step we count
# the hidden units that are active on no example.


# %%
class Classifier(Layer):
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

    def silent(self, x):
        """The share of hidden units whose derivative is 0 on every example."""
        dead, total = 0, 0
        for part in self.parts():
            if isinstance(part, Elementwise):
                slope = part.function.derivative(x)
                dead, total = dead + int((np.abs(slope).max(0) < 1e-12).sum()), total + slope.shape[1]
            x = part.forward(x)
        return dead / total


def spirals(n=400):
    """Two classes that no line separates."""
    rng = new_rng(5)
    t = np.sqrt(rng.random(n)) * 3 * np.pi
    label = rng.integers(0, 2, n)
    points = np.stack([t * np.cos(t + np.pi * label), t * np.sin(t + np.pi * label)], 1) / 6
    return points + rng.normal(0, 0.03, points.shape), label


def train(name, lr, steps=250):
    """Share of silent units at each step, and the final accuracy."""
    points, label = spirals()
    model = Classifier(name)
    optimizer = Adam(model.parameters(), lr, betas=(0.9, 0.999), eps=1e-8)
    silent = []
    for _ in range(steps):
        optimizer.zero_grad()
        model.backward(cross_entropy(model(points), label)[1])
        optimizer.step()
        model.eval()
        silent.append(model.silent(points))
        model.train()
    model.eval()
    return silent, float((model(points).argmax(-1) == label).mean())


SHOWN = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "squared ReLU")
figure = Figure(figsize=(9, 3.8), layout="constrained")
dead = {}
for axis, lr in zip(figure.subplots(1, 2, sharey=True), (0.01, 0.2), strict=True):
    for number, name in enumerate(SHOWN):
        silent, accuracy = train(name, lr)
        dead[name, lr] = silent[-1]
        axis.plot(silent, label=name, **line_style(number))
        print(f"lr {lr:<5} {name:13} dead units {silent[-1]:5.1%}, accuracy {accuracy:.1%}")
    axis.set(title=f"learning rate {lr}", xlabel="step", ylim=(-0.02, 1))
figure.axes[0].set_ylabel("share of dead units")
figure.axes[0].legend(frameon=False)
assert dead["ReLU", 0.2] > 0.2, "a step too far kills"
assert dead["ReLU", 0.2] > 2 * dead["ReLU", 0.01]
assert dead["LeakyReLU", 0.2] == 0, "a slope on both sides cannot die"
figure

# %% [markdown]
# At the smaller learning rate a tenth of the ReLUs die early and no more follow; at the larger one most do, in the
# first few steps. The network still fits its spirals with those that are left, which is why dead units go unnoticed
# until one counts them.

# %% [markdown]
# ## Cost of an element
#
# Value and derivative, float32, nanoseconds of CPU an element (the fastest of nine). The gap is exp, tanh and erf; in
# a Transformer it is small beside the matrix products, which cost $4 d_\mathrm{model}$ operations an element of
# $d_\mathrm{ff}$.

# %%
sample = new_rng(2).standard_normal(1 << 16).astype(np.float32)


def nanoseconds(call):
    """Of CPU, an element."""
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
assert cost["ReLU"] < cost["GELU"]

# %% [markdown]
# ## Gates
#
# GLU, GEGLU, SwiGLU and ReGLU multiply one half of their input by a function of the other: a third matrix in the
# feed-forward network, paid for by a width of 2/3. They are what large language models of today use (2002.05202).

# %%
ab = new_rng(3).standard_normal((4, 10))
for name, gate in GATES.items():
    direction = new_rng(4).standard_normal(ab.shape)
    above, below = (gate.value(ab + h * direction).sum() for h in (1e-6, -1e-6))
    analytic = float((gate.backward(np.ones((4, 5)), ab) * direction).sum())
    print(f"{name:7} slope along a direction {(above - below) / 2e-6:+.6f}, analytic {analytic:+.6f}")
    assert math.isclose((above - below) / 2e-6, analytic, rel_tol=1e-5)

# %% [markdown]
# ## When to use which
#
# What was measured, side by side.

# %%
print(f"{'':14}{'saturated at x3':>16}{'50 layers':>11}{'ns':>7}")
for name in NAMES:
    print(f"{name:14}{saturated[name][1]:16.1%}{flow[name]:11.0e}{cost[name]:7.1f}")
cheap = [name for name in NAMES if cost[name] < cost["GELU"]]
deep = [name for name in NAMES if 1e-2 < flow[name] < 1e2]
alive = [name for name in NAMES if saturated[name][1] < 0.1]
print("cheaper than GELU:", *cheap, sep="\n  ")
print("gradients of the same size through 50 layers, with no normalisation:", *deep, sep="\n  ")
print("never far from a slope:", *alive, sep="\n  ")
assert "ReLU" in deep
assert "ReLU" in cheap
assert not {"sigmoid", "HardSigmoid"} & set(deep)
assert {"LeakyReLU", "Softplus"} & set(alive)

# %% [markdown]
# | where | which | because, above |
# | --- | --- | --- |
# | hidden layers, first try | ReLU, He's weights | cheapest; gradients keep their size through 50 layers |
# | units die (high learning rate) | LeakyReLU, PReLU, or a smaller step | a slope on both sides cannot die |
# | Transformers | GELU or SiLU; gated, GEGLU or SwiGLU | smooth, few dead units; matrix products hide the cost |
# | deep and without normalisation | SELU with LeCun's weights | holds mean and variance by itself |
# | on small devices | ReLU, HardSwish | no exp |
# | output that is a probability | sigmoid (one), softmax (several) | their range; the loss undoes saturation |
# | gates of recurrent cells | sigmoid and tanh | bounded; stacked fifty deep, their gradient vanishes |
# | output that must be positive | Softplus | its slope is never 0 on the side that matters |
