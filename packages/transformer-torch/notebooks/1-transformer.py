# %% [markdown]
# # Attention Is All You Need, in its own order
#
# The paper ([1706.03762](https://arxiv.org/abs/1706.03762)) section by section: each equation, the line of code that
# is it, and a check that it does what the text says. What a trained
# model does, and where it looks, shows `transformer-torch demo`.

# %%
import inspect
import math

import matplotlib.pyplot as plt
import torch
from transformer_torch import (
    LabelSmoothing,
    LayerNorm,
    MultiHeadAttention,
    NoamSchedule,
    PositionwiseFeedForward,
    scaled_dot_product_attention,
    sinusoids,
)
from transformer_torch.attention import causal_mask
from transformer_torch.layers import normalized

torch.manual_seed(0)


def show(function):
    """The source of a function, without its docstring."""
    text = inspect.getsource(function)
    return print(text.replace(f'"""{function.__doc__}"""\n', "") if function.__doc__ else text)


# %% [markdown]
# ## 3.2.1 Scaled dot-product attention
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^T}{\sqrt{d_k}}\right)V \qquad (1)$$

# %%
show(scaled_dot_product_attention)

# %% [markdown]
# One query, two keys. The query points along the first key, so it takes mostly the first value, and the weights sum
# to one.

# %%
q = torch.tensor([[[[3.0, 0.0]]]])
k = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
v = torch.tensor([[[[10.0], [20.0]]]])
out, weights = scaled_dot_product_attention(q, k, v)
print(weights.squeeze(), out.item())
expected = 1 / (1 + math.exp(-3 / math.sqrt(2)))
assert abs(weights[0, 0, 0, 0].item() - expected) < 1e-6
assert abs(weights.sum().item() - 1) < 1e-6

# %% [markdown]
# Why divide by $\sqrt{d_k}$? The dot product of two vectors of independent numbers of variance 1 has variance $d_k$
# (footnote 4). Undivided, it drives the softmax to where its gradients vanish.

# %%
for d_k in (4, 64, 512):
    a, b = torch.randn(2, 20_000, d_k)
    products = (a * b).sum(-1)
    divided = (products / math.sqrt(d_k)).std().item()
    print(f"d_k {d_k:4}   standard deviation {products.std().item():6.2f}   divided {divided:.2f}")
    assert abs(divided - 1) < 0.05

# %% [markdown]
# ## 3.2.2 Several heads, 3.2.3 the mask
#
# $$\mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \ldots, \mathrm{head}_h)W^O$$
#
# The projections of all heads lie in one matrix; a head is a slice of its rows. In the decoder, position $i$ may look
# at positions up to $i$.

# %%
show(MultiHeadAttention.split_heads)
show(causal_mask)

# %%
src = torch.tensor([[5, 6, 7, 0, 0]])
padding_mask = (src != 0)[:, None, None, :].expand(1, 1, 5, 5)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
for axis, mask, title in zip(
    axes, (padding_mask, causal_mask(5)), ("padding (encoder)", "causal (decoder)"), strict=True
):
    axis.imshow(mask[0, 0], cmap="Greys_r", vmin=0, vmax=1)
    axis.set(title=title, xlabel="key", ylabel="query")
plt.show()
assert causal_mask(5).sum().item() == 15

# %% [markdown]
# ## 3.3 Feed-forward, and the norm around it all
#
# $$\mathrm{FFN}(x) = \max(0, xW_1 + b_1)W_2 + b_2 \qquad (2)$$
# $$\mathrm{LayerNorm}(x + \mathrm{Sublayer}(x))$$

# %%
show(PositionwiseFeedForward.forward)
show(normalized)
x, norm = torch.randn(2, 3, 16), LayerNorm(16)
assert torch.allclose(norm(x), normalized(x, norm.gamma, norm.beta, norm.eps), atol=1e-6)

# %% [markdown]
# ## 3.5 Positions
#
# $$PE_{(pos, 2i)} = \sin(pos / 10000^{2i/d_{model}}), \qquad PE_{(pos, 2i+1)} = \cos(pos / 10000^{2i/d_{model}})$$
#
# Each pair of columns is the hand of a clock, and every clock runs slower than the one before. "For any fixed offset
# $k$, $PE_{pos+k}$ can be represented as a linear function of $PE_{pos}$": a rotation of each hand.

# %%
table = sinusoids(100, 64)
figure, axis = plt.subplots(figsize=(8, 3.2))
axis.imshow(table.T, aspect="auto", cmap="RdBu")
axis.set(xlabel="position", ylabel="dimension")
plt.show()
offset, i = 7, 5
angle = torch.tensor(offset / 10000 ** (2 * i / 64), dtype=torch.float64)
rotation = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
hands = table[:, 2 * i : 2 * i + 2]
assert torch.allclose(hands[offset:], hands[:-offset] @ rotation.T, atol=1e-12)

# %% [markdown]
# ## 5.3 The rate, 5.4 label smoothing

# %%
steps = range(1, 20_001)
for warmup in (2000, 4000, 8000):
    schedule = NoamSchedule(512, warmup)
    plt.plot(steps, [schedule(s) for s in steps], label=f"warm-up {warmup}")
plt.legend()
plt.xlabel("update")
plt.ylabel("learning rate, Eq. (3)")
plt.show()
assert max(steps, key=NoamSchedule(512, 4000)) == 4000

# %% [markdown]
# With smoothed labels the best prediction is not certainty: the loss is lowest where the right class has $1 -
# \epsilon + \epsilon/V$.

# %%
smoothing, classes = LabelSmoothing(eps=0.1), 5
certainty = torch.linspace(0.5, 0.999, 500)
losses = []
for p in certainty:
    probabilities = torch.full((1, classes), (1 - p.item()) / (classes - 1))
    probabilities[0, 3] = p
    losses.append(smoothing(probabilities.log(), torch.tensor([3])).item())
best = certainty[min(range(500), key=losses.__getitem__)].item()
print(f"lowest at {best:.3f}")
assert abs(best - (0.9 + 0.1 / classes)) < 2e-3
