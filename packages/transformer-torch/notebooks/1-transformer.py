# %% [markdown]
# # Attention Is All You Need, in its own order
#
# The paper ([1706.03762](https://arxiv.org/abs/1706.03762)) section by section: each equation, the line of code that
# is it, and a check that it does what the text says. At the end a model learns to read dates, and shows
# where it looks.

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
    TrainConfig,
    Trainer,
    Transformer,
    TransformerConfig,
    Translator,
    scaled_dot_product_attention,
    sinusoids,
)
from transformer_torch.allocator import keep_memory
from transformer_torch.attention import causal_mask
from transformer_torch.dates import date_pairs
from transformer_torch.layers import normalized
from transformer_torch.vocab import BOS, EOS, build_vocabulary

keep_memory()
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

# %% [markdown]
# ## Reading dates
#
# The demo's task and recipe: dates as people write them, in seven languages, to ISO 8601. The test is of days that
# training never saw.


# %%
def learn(pairs, n_ids, steps, **sizes):
    torch.manual_seed(0)
    options = {"d_model": 64, "n_heads": 4, "n_layers": 2, "d_ff": 128, "dropout": 0.0, "max_length": 64, **sizes}
    model = Transformer(TransformerConfig(n_ids, **options))
    config = TrainConfig(
        steps, 3000, warmup=steps // 5, decay=3 * steps // 5, clip=1.0, valid_every=steps, device="cpu", dtype="float32"
    )
    trainer = Trainer(model, config, pairs)
    curve = []
    trainer.run(lambda metrics: curve.append(metrics["loss"]))
    return model, curve, trainer.progress.cpu_seconds


train, test = date_pairs(20_000), date_pairs(300, held_out=True)
vocabulary = build_vocabulary("characters", [x for p in train for x in (p.text, p.iso)], 0)
encoded = [([*vocabulary.encode(p.text), EOS], [BOS, *vocabulary.encode(p.iso), EOS]) for p in train]
model, curve, seconds = learn(encoded, len(vocabulary), 1000)
translator = Translator(model, vocabulary)
found = translator.translate([p.text for p in test], beam=1)
exact = sum(f == p.iso for f, p in zip(found, test, strict=True)) / len(test)
for p, f in list(zip(test, found, strict=True))[:6]:
    print(f"{p.text:>34}  ->  {f}")
print(f"{exact:.1%} exactly right after {seconds:.0f} CPU-seconds")
assert exact >= 0.99
plt.plot(curve)
plt.xlabel("update")
plt.ylabel("loss, labels smoothed")
plt.show()

# %% [markdown]
# ## Where it looks
#
# For each character it writes (downwards), the decoder's last layer asks the source (across). It was never told which
# digit comes from where: the diagonal runs through the year, jumps back to the name of the month, and on to the day.

# %%
line = "Donnerstag, 14. März 2024"
source, target, weights = translator.attention(line, "2024-03-14")
picture = weights["decoder.1.cross"].mean(0)
figure, axis = plt.subplots(figsize=(8, 4))
axis.imshow(picture, cmap="Blues", vmin=0)
axis.set_xticks(range(len(source)), source)
axis.set_yticks(range(len(target)), target)
axis.set(xlabel="source", ylabel="written", title="cross-attention, last layer, mean of the heads")
plt.show()

# %%
hits = total = 0
for p in test:
    attention = translator.attention(p.text, p.iso)[2]["decoder.1.cross"].mean(0)
    hits += sum(int(attention[i].argmax()) == j for i, j in p.alignment.items())
    total += len(p.alignment)
print(f"{hits / total:.1%} of {total} digits that stand in source and output: the maximum is on that very digit")
assert hits / total >= 0.9
