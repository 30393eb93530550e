# %% [markdown]
# # Attention Is All You Need, in its own order
#
# The paper ([1706.03762](https://arxiv.org/abs/1706.03762)) section by section: each equation, the line of code that
# is it, and a check that it does what the text says. At the end small models learn to copy, to reverse, and to read
# dates, in two CPU-minutes, and we look where the last one looks; then the score of a recorded run on real sentences.

# %%
import inspect
import json
import math
import os
import random
from pathlib import Path

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
    beam_search,
    greedy_decode,
    scaled_dot_product_attention,
    sinusoids,
)
from transformer_torch.attention import causal_mask
from transformer_torch.batching import pad, padding_efficiency, token_batches
from transformer_torch.dates import date_pairs
from transformer_torch.decode import length_penalty_of
from transformer_torch.layers import AddAndNorm, DecoderLayer, EncoderLayer, normalized
from transformer_torch.vocab import BOS, EOS, build_vocabulary

torch.set_num_threads(1)
torch.manual_seed(0)


def show(function):
    """The source of a function, without its docstring."""
    text = inspect.getsource(function)
    print(text.replace(f'"""{function.__doc__}"""\n', "") if function.__doc__ else text)


# %% [markdown]
# ## 3.1 Encoder and decoder
#
# An encoder layer has two sub-layers, a decoder layer three. Around each goes
#
# $$\mathrm{LayerNorm}(x + \mathrm{Sublayer}(x))$$
#
# which is `AddAndNorm` here; what it goes around is handed to it as a function.

# %%
show(AddAndNorm.forward)
show(EncoderLayer.forward)
show(DecoderLayer.forward)

# %% [markdown]
# LayerNorm (1607.06450) makes mean 0 and variance 1 of each position by itself, then scales and shifts. The variance is
# the biased one: divided by $d$, not by $d - 1$.

# %%
show(normalized)
x, norm = torch.randn(2, 3, 16) * 5 + 2, LayerNorm(16)
y = norm(x)
print(f"mean {y.mean(-1).abs().max():.1e}, variance {y.var(-1, unbiased=False).mean():.4f}")
assert torch.allclose(y, normalized(x, norm.gamma, norm.beta, norm.eps), atol=1e-6)
assert abs(y.var(-1, unbiased=False).mean() - 1) < 1e-4

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
# ## 3.2.2 Several heads
#
# $$\mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \ldots, \mathrm{head}_h)W^O, \qquad
# \mathrm{head}_i = \mathrm{Attention}(QW_i^Q, KW_i^K, VW_i^V)$$
#
# The projections of all heads lie in one matrix; a head is a slice of its rows. Here the equation is written out,
# head by head, and compared.

# %%
show(MultiHeadAttention.split_heads)
show(MultiHeadAttention.forward)

# %%
attention, x = MultiHeadAttention(d_model=16, n_heads=4, d_k=4, d_v=4), torch.randn(2, 5, 16)
w_q, w_k, w_v = attention.w_qkv.weight.split(16)  # the biases are zero in a new layer
heads = []
for i in range(4):
    rows = slice(4 * i, 4 * i + 4)
    q, k, v = (x @ w[rows].T for w in (w_q, w_k, w_v))
    heads.append(torch.softmax(q @ k.mT / math.sqrt(4), -1) @ v)
assert torch.allclose(torch.cat(heads, -1) @ attention.w_o.weight.T, attention(x), atol=1e-5)

# %% [markdown]
# ## 3.2.3 Where attention is used, and its masks
#
# In the encoder every position looks at every other one; padding at the end of shorter sentences is hidden. In the
# decoder, position $i$ may look at positions up to $i$ only, or it would read the token that it is to predict. Between the two,
# the queries come from the decoder, keys and values from the encoder. White: may be attended to.

# %%
show(causal_mask)
src = torch.tensor([[5, 6, 7, 0, 0]])
masks = {
    "encoder: padding hidden": (src != 0)[:, None, None, :].expand(1, 1, 5, 5),
    "decoder: no later token": causal_mask(5),
    "decoder to encoder": (src != 0)[:, None, None, :].expand(1, 1, 4, 5),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for axis, (title, mask) in zip(axes, masks.items(), strict=True):
    axis.imshow(mask[0, 0], cmap="Greys_r", vmin=-0.3, vmax=1)
    axis.set(title=title, xlabel="key", ylabel="query", xticks=range(5), yticks=range(mask.size(2)))
    axis.set_xticks([i + 0.5 for i in range(4)], minor=True)
    axis.set_yticks([i + 0.5 for i in range(mask.size(2) - 1)], minor=True)
    axis.grid(which="minor", color="grey", linewidth=0.5)
    axis.tick_params(which="minor", length=0)
figure.tight_layout()
plt.show()
assert causal_mask(5).sum().item() == 15

# %% [markdown]
# That the decoder cannot look ahead is a fact about the whole model: change the last token, and no earlier output moves.

# %%
model = Transformer(TransformerConfig(vocab_size=40, d_model=32, n_heads=4, n_layers=2, d_ff=64)).eval()
src, tgt = torch.randint(4, 40, (1, 6)), torch.randint(4, 40, (1, 7))
changed = tgt.clone()
changed[0, -1] = 4 + (tgt[0, -1] - 3) % 36
moved = (model(src, changed) - model(src, tgt)).detach().abs().amax(-1)[0]
print("moved by", [f"{m:.2f}" for m in moved])
assert moved[:-1].max() == 0
assert moved[-1] > 0

# %% [markdown]
# ## 3.3 Feed-forward
#
# $$\mathrm{FFN}(x) = \max(0, xW_1 + b_1)W_2 + b_2 \qquad (2)$$
#
# "Applied to each position separately and identically": positions in another order give the same results in that order.

# %%
show(PositionwiseFeedForward.forward)
network, order = PositionwiseFeedForward(16, 64), torch.tensor([3, 1, 4, 0, 2])
assert torch.allclose(network(x[:, order]), network(x)[:, order], atol=1e-6)

# %% [markdown]
# ## 3.4 Embeddings
#
# One matrix for source, target and output, "in the embedding layers, we multiply those weights by
# $\sqrt{d_{model}}$". Its rows begin with a standard deviation of $1/\sqrt{d_{model}}$, right for the output's logits; times
# $\sqrt{d_{model}}$ they are as large as the positions that are added to them.

# %%
show(Transformer.embed)
show(Transformer.project)
scaled = model.embedding.weight * math.sqrt(32)
print(
    f"embeddings: root mean square {scaled.square().mean().sqrt():.2f}, positions: {sinusoids(50, 32).square().mean().sqrt():.2f}"
)
assert abs(scaled.square().mean().sqrt() - 1) < 0.1
assert abs(sinusoids(50, 32).square().mean().sqrt() - math.sqrt(0.5)) < 1e-6

# %% [markdown]
# ## 3.5 Positions
#
# $$PE_{(pos, 2i)} = \sin(pos / 10000^{2i/d_{model}}), \qquad PE_{(pos, 2i+1)} = \cos(pos / 10000^{2i/d_{model}})$$
#
# Each pair of columns is the hand of a clock, and every clock runs slower than the one before. "For any fixed offset
# $k$, $PE_{pos+k}$ can be represented as a linear function of $PE_{pos}$": a rotation of each hand.

# %%
show(sinusoids)
table = sinusoids(100, 64)
figure, (axis, near) = plt.subplots(1, 2, figsize=(10, 3.4), gridspec_kw={"width_ratios": [2, 1]})
axis.imshow(table.T, aspect="auto", cmap="RdBu")
axis.set(xlabel="position", ylabel="dimension", title="sine and cosine of ever slower clocks")
near.plot(table @ table[50] / 32)
near.set(xlabel="position", title="likeness to position 50")
figure.tight_layout()
plt.show()
offset, i = 7, 5
angle = torch.tensor(offset / 10000 ** (2 * i / 64), dtype=torch.float64)
rotation = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
hands = table[:, 2 * i : 2 * i + 2]
assert torch.allclose(hands[offset:], hands[:-offset] @ rotation.T, atol=1e-12)
assert int((table @ table[50]).argmax()) == 50

# %% [markdown]
# Without them the encoder would not know the order of its input: attention is a sum over keys, and a sum does not
# depend on the order of its terms.

# %%
layer, x = EncoderLayer(model.config).eval(), torch.randn(1, 5, 32)
assert torch.allclose(layer(x[:, order], None), layer(x, None)[:, order], atol=1e-5)

# %% [markdown]
# ## 5.1 Batches of a number of tokens
#
# "Sentence pairs were batched together by approximate sequence length", so that little of a batch is padding.

# %%
rng = random.Random(0)
lengths = [max(2, round(rng.gauss(14, 5))) for _ in range(5000)]
pairs = [([4] * n, [4] * max(2, n + rng.randint(-2, 2))) for n in lengths]
at_random = [list(range(i, i + 128)) for i in range(0, 4992, 128)]
by_length = token_batches(pairs, 4096, random.Random(0))
print(f"tokens among the positions: at random {padding_efficiency(pairs, at_random):.0%}, ", end="")
print(f"by length {padding_efficiency(pairs, by_length):.0%}")
assert padding_efficiency(pairs, by_length) > 0.94 > padding_efficiency(pairs, at_random)

# %% [markdown]
# ## 5.3 The rate
#
# $$lrate = d_{model}^{-0.5} \cdot \min(step^{-0.5}, step \cdot warmup^{-1.5}) \qquad (3)$$

# %%
show(NoamSchedule.__call__)
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
# ## 5.4 Label smoothing
#
# With smoothed labels the best prediction is not certainty: the loss is lowest where the right class has
# $1 - \epsilon + \epsilon/V$. "This hurts perplexity, as the model learns to be more unsure, but improves accuracy
# and BLEU score."

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
# ## Copy and reverse
#
# The smallest translations: the same letters, or the same letters backwards. The decoder has to find a place in the
# source, and positions are all it has to find it by. One layer each is enough. (The matrices of the layers go by Muon
# here, `optimizers.py`; with the paper's Adam it takes half as long again.)

# %%
LETTERS = 26


def letter_pairs(n, reverse, seed):
    rng = random.Random(seed)
    words = [[4 + rng.randrange(LETTERS) for _ in range(rng.randint(4, 12))] for _ in range(n)]
    return [([*w, EOS], [BOS, *(w[::-1] if reverse else w), EOS]) for w in words]


def learn(pairs, n_ids, steps, max_tokens, optimizer="adam", **sizes):
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(n_ids, d_model=64, dropout=0.0, max_length=64, **sizes))
    warmup, decay = steps // 5, 3 * steps // 5
    how = {"warmup": warmup, "decay": decay, "clip": 1.0, "optimizer": optimizer}
    config = TrainConfig(steps, max_tokens, valid_every=steps, device="cpu", dtype="float32", **how)
    trainer = Trainer(model, config, pairs)
    curve = []
    trainer.run(lambda metrics: curve.append(metrics["loss"]))
    return model, curve, trainer.progress.cpu_seconds


for name, reverse in (("copy", False), ("reverse", True)):
    model, curve, seconds = learn(
        letter_pairs(20_000, reverse, 1), LETTERS + 4, 600, 1500, "muon", n_heads=8, n_layers=1, d_ff=128
    )
    test = letter_pairs(400, reverse, 2)
    found = greedy_decode(model, pad([s for s, _ in test]), BOS, EOS)
    exact = sum(f == t[1:-1] for f, (_, t) in zip(found, test, strict=True)) / len(test)
    print(f"{name}: {exact:.1%} exactly right after {seconds:.0f} CPU-seconds")
    assert exact >= 0.995

# %% [markdown]
# ## Reading dates
#
# The demo's task and model: dates as people write them, in seven languages, to ISO 8601. The test is of days that
# training never saw.

# %%
train, test = date_pairs(20_000), date_pairs(300, held_out=True)
vocabulary = build_vocabulary("characters", [x for p in train for x in (p.text, p.iso)], 0)
encoded = [([*vocabulary.encode(p.text), EOS], [BOS, *vocabulary.encode(p.iso), EOS]) for p in train]
model, curve, seconds = learn(encoded, len(vocabulary), 1200, 3000, n_heads=4, n_layers=2, d_ff=128)
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
    looked = translator.attention(p.text, p.iso)[2]["decoder.1.cross"].mean(0)
    hits += sum(int(looked[i].argmax()) == j for i, j in p.alignment.items())
    total += len(p.alignment)
print(f"{hits / total:.1%} of {total} digits that stand in source and output: the maximum is on that very digit")
assert hits / total >= 0.9

# %% [markdown]
# ## 6.1 Beam search
#
# Several hypotheses are kept, and compared by their log-probability divided by $lp(Y) = ((5 + |Y|) / 6)^\alpha$
# (1609.08144, Eq. 14), or longer ones would always lose. What comes second for a date that is written in no form of
# the training text shows what the model finds likely.

# %%
show(length_penalty_of)
for text, score in translator.nbest(["14.3.24"], beam=4)[0]:
    print(f"{score:8.3f}  {text}")
src = pad([translator.encode(p.text) for p in test[:20]])
greedy, beams = greedy_decode(model, src), beam_search(model, src, beam=1)
assert [pool[0][0] for pool in beams] == greedy  # a beam of one is greedy search

# %% [markdown]
# ## 6.1 Translation
#
# What a model of this package learns from 29,000 pairs of real sentences (Multi30k) on one core of a CPU, as it was recorded:
# `benchmarks/multi30k.py` trains, translates the 1,000 sentences of test_2016_flickr, and writes
# the file that is read here. sacreBLEU, cased, 13a.

# %%
folder = Path(os.environ.get("NOTEBOOK_FOLDER", ".")).parent / "results"
for path in sorted(folder.glob("multi30k-*.json")):
    recorded = json.loads(path.read_text(encoding="utf-8"))
    for row in recorded["rows"]:
        print(f"{row['recipe']:>15} {row['direction']}: BLEU {row['sacreBLEU']:.2f}, ", end="")
        print(f"brevity penalty {row['brevity penalty']:.3f}, {row['core-minutes']:.0f} core-minutes")
        assert row["sacreBLEU"] > 35
        assert row["brevity penalty"] >= 0.96
assert list(folder.glob("multi30k-*.json"))
