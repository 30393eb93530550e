# %% [markdown]
# # GPT-2, from the inside
#
# *Language Models are Unsupervised Multitask Learners* (Radford et al. 2019) changes little in the Transformer of GPT-1:
#
# | | GPT-1 (2018) | GPT-2 (2019) |
# | --- | --- | --- |
# | LayerNorm | after each sub-block, on the sum | at the *input* of each sub-block, and once more after the last block |
# | residual projections | start like all others | start smaller by $1/\sqrt{N}$ for $N$ residual layers |
# | context | 512 tokens | 1024 |
# | vocabulary | 40,478 | 50,257 byte-level BPE tokens: every string has a probability |
#
# This notebook follows one forward pass with its shapes, shows why the key/value cache is exact, draws the ways of
# sampling from one distribution, fine-tunes, and reads the residual stream with the head (the logit lens). It needs
# no download: a small model learns from the documentation that every Python brings along.

# %%
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.tokenizers import ByteTokenizer

torch.manual_seed(0)
torch.set_num_threads(1)
tokenizer = ByteTokenizer()  # 256 bytes and an end-of-text token
config = GPT2Config(vocab_size=257, context_length=64, d_model=128, n_heads=4, n_layers=4, dropout=0.0, eos_id=256)
model = GPT2(config)
f"{model.parameter_count():,} parameters"

# %% [markdown]
# ## A forward pass with its shapes
#
# Token and position embeddings are added; the sum is the *residual stream*. Every block reads it through a
# LayerNorm and adds to it; nothing ever overwrites it. These nine lines are the model:

# %%
ids = torch.tensor([tokenizer.encode("the value of the val")])
x = model.wte(ids) + model.wpe.weight[: ids.shape[1]]
print("residual stream", tuple(x.shape), "= (batch, tokens, d_model)")
for block in model.h:
    x = x + block.attn(block.ln_1(x))  # pre-norm: the stream itself is not normalised
    x = x + block.mlp(block.ln_2(x))
logits = model.lm_head(model.ln_f(x))
print("logits", tuple(logits.shape), "= (batch, tokens, vocab)")
assert torch.equal(logits, model(ids))
assert model.lm_head.weight is model.wte.weight  # the head is the token embedding

# %% [markdown]
# Inside attention, one product makes queries, keys and values of all heads:

# %%
block = model.h[0]
qkv = block.attn.c_attn(block.ln_1(model.wte(ids)))
q, k, v = qkv.unflatten(-1, (3, config.n_heads, -1)).permute(2, 0, 3, 1, 4)
print("c_attn", tuple(qkv.shape), "-> q, k, v each", tuple(q.shape), "= (batch, heads, tokens, d_k)")
_, aux = model(ids, return_intermediates=True)
print("attn", tuple(aux["attn"].shape), "= (layers, batch, heads, queries, keys)")
print("resid", tuple(aux["resid"].shape), "= (layers + 1, batch, tokens, d_model)")
assert torch.allclose(aux["attn"].sum(-1), torch.ones(()))  # each query spreads a weight of 1
assert aux["attn"].triu(1).abs().max() == 0  # and none of it on what comes later

# %% [markdown]
# The smaller start of the residual projections has a reason: the stream is a sum of two terms per layer, so its
# variance would grow with the depth. At the start nothing is known, and the loss is that of a uniform guess, $\ln 257$:

# %%
std = {
    name: float(p.detach().std())
    for name, p in model.named_parameters()
    if name in ("h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight")
}
assert math.isclose(std["h.0.mlp.c_proj.weight"], 0.02 / math.sqrt(2 * config.n_layers), rel_tol=0.02)
first = float(model.loss(ids[:, :-1], ids[:, 1:]).detach())
assert abs(first - math.log(257)) < 0.3
std, first

# %% [markdown]
# ## Training
#
# Half a minute on the language reference: matrices of the blocks by Muon, everything else by AdamW.

# %%
from gpt2.data import TokenFiles, Windows
from gpt2.demo import corpus
from gpt2.prepare import prepare
from gpt2.settings import OptimConfig, TrainConfig
from gpt2.train import Trainer, validate

folder = Path(tempfile.mkdtemp())
(folder / "reference.txt").write_text(corpus(), encoding="utf-8")
prepare([folder / "reference.txt"], folder / "data")
data = Windows(TokenFiles(folder / "data"), 64, validation_windows=200)
optim = OptimConfig(optimizer="muon", lr=5e-3, warmup=20, schedule="linear", final_lr=0.0)
training = TrainConfig(steps=400, batch_size=16, optim=optim, eval_every=100, dtype="float32")
last = Trainer(model, data, training, folder / "run").run()
model.eval()
assert last["val_loss"] < 2.3 < 5.5 < first
print(f"held-out loss {last['val_loss']:.2f} nats per byte, after {first:.2f}")

# %% [markdown]
# ## Why the cache is exact
#
# Attention is causal: what a token computes depends on the tokens before it and on itself, so a token added at the
# end changes no earlier key or value, and each has to be computed once. Here the text goes through in parts, each with
# the keys and values of the earlier ones, and the logits are those of the whole, up to the rounding of float32:

# %%
from gpt2.cache import KVCache

cache = KVCache(config, 64, first=torch.zeros(1, dtype=torch.long))
parts = []
with torch.no_grad():
    for part in ids.split([7, 1, 1, 11], dim=1):
        cache.begin(part.shape[1])
        parts.append(model.lm_head(model.hidden(part, cache)))
    difference = float((torch.cat(parts, dim=1) - model(ids)).abs().max())
assert difference < 1e-4
difference

# %% [markdown]
# It would not be exact if the text slid along under the cache: positions are learned vectors, added at the bottom, so
# the same token at another position has other keys in every layer.

# %%
with torch.no_grad():
    whole, shifted = (model(part, return_intermediates=True)[1]["resid"][1:, 0] for part in (ids, ids[:, 1:]))
    changed = (whole[:, 1:] - shifted).norm(dim=-1) / whole[:, 1:].norm(dim=-1)
assert changed.min() > 0.05
print("relative change of the residual stream after each layer:", [round(c, 2) for c in changed.mean(-1).tolist()])

# %% [markdown]
# ## Ways of sampling from one distribution
#
# Temperature reshapes all of it; top-k cuts at a rank, whatever the probabilities; top-p cuts at a mass, so it keeps
# few tokens where the model is sure and many where it is not; min-p cuts relative to the likeliest token.
# One row where the model is sure, one where it is not:

# %%
from gpt2.sampling import filter_logits


def shown(byte):
    """A byte as one sign."""
    letter = chr(int(byte))
    return {" ": "␣", "\n": "¶"}.get(letter, letter if letter.isascii() and letter.isprintable() else "·")


texts = {"sure": "the value of the val", "unsure": "the value of the "}
ways = {
    "the model": {},
    "temperature 0.5": {"temperature": 0.5},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.5": {"min_p": 0.5},
}
figure, axes = plt.subplots(2, len(ways), figsize=(13, 4.6), sharey="row", layout="constrained")
kept = {}
for row, (certainty, text) in zip(axes, texts.items(), strict=True):
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(text)]))[0, -1]
    order = logits.argsort(descending=True)[:20]
    letters = [shown(i) for i in order]
    for axis, (name, options) in zip(row, ways.items(), strict=True):
        p = filter_logits(logits, **options).softmax(-1)
        kept[certainty, name] = int((p > 0).sum())
        axis.bar(range(len(order)), p[order], color=["#0072b2" if q > 0 else "#cccccc" for q in p[order]])
        axis.set_title(f"{name}: {kept[certainty, name]} kept", fontsize=10)
        axis.set_xticks(range(len(order)), letters, fontsize=7, family="monospace")
    row[0].set_ylabel(f"{certainty}: “{text}”\nprobability of the next byte", fontsize=8)
assert kept["sure", "top-k 5"] == kept["unsure", "top-k 5"] == 5
assert kept["sure", "top-p 0.9"] < kept["unsure", "top-p 0.9"]

# %% [markdown]
# ## Fine-tuning
#
# The same training, begun from learned weights. LoRA learns a low-rank change $x A B$ beside each frozen projection
# $x W$ and is merged into $W$ when the model is written, so what is saved is an ordinary GPT-2. Here: verses,
# which the language reference has none of.

# %%
from gpt2.finetune import Examples, finetune, read_examples

verses = "\n".join(
    f"{name.capitalize()} had a little {animal},\nIts fleece was {colour} as {thing}."
    for name in ("mary", "anna", "john", "ruth", "paul")
    for animal, colour, thing in (("lamb", "white", "snow"), ("goat", "black", "coal"), ("fox", "red", "wine"))
)
(folder / "verses.txt").write_text(verses, encoding="utf-8")
examples = Examples(read_examples(folder / "verses.txt", tokenizer, 64), 64, held_out=0.2)
before = validate(model, examples, 8)
settings = TrainConfig(steps=60, batch_size=8, optim=OptimConfig(lr=1e-2, warmup=5), eval_every=20, dtype="float32")
finetune(GPT2.from_pretrained(folder / "run"), examples, settings, folder / "tuned", lora=8)
tuned = GPT2.from_pretrained(folder / "tuned")
after = validate(tuned, examples, 8)
assert after < before / 2
print(f"loss on held-out verses: {before:.2f} before, {after:.2f} after")
prompt = torch.tensor([tokenizer.encode("Ruth had a ")])
print(tokenizer.decode(tuned.generate(prompt, 40, temperature=0)[0].tolist()))

# %% [markdown]
# ## The logit lens
#
# The head can be asked about the residual stream after every block, not only after the last. Each cell is the
# likeliest next byte at that depth, dark where the model gives it much probability: guesses form on the way up.

# %%
sentence = "the name of the class is the value"
row = torch.tensor([tokenizer.encode(sentence)])
with torch.no_grad():
    logits, aux = model(row, return_intermediates=True)
p = model.logit_lens(aux["resid"][:, 0]).softmax(-1)  # (layers + 1, tokens, vocab)
assert torch.allclose(p[-1], logits[0].softmax(-1), atol=1e-5)  # the last depth is the model's own answer
share, guess = p.max(-1)
figure, axis = plt.subplots(figsize=(13, 2.8), layout="constrained")
image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for depth in range(len(p)):
    for position in range(row.shape[1]):
        letter = shown(guess[depth, position])
        colour = "white" if share[depth, position] > 0.6 else "black"
        axis.text(position, depth, letter, ha="center", va="center", color=colour, fontsize=9, family="monospace")
axis.set_xticks(range(len(sentence)), sentence.replace(" ", "␣"), family="monospace")
axis.set_yticks(range(len(p)), ["embeddings", *(f"after block {i}" for i in range(len(model.h)))])
axis.set_xlabel("what the model has just read")
figure.colorbar(image, label="probability", pad=0.01)
right = (p[:, :-1].argmax(-1) == row[:, 1:]).float().mean(-1)
assert right[-1] > right[0]
print("next byte guessed right, by depth:", [round(r, 2) for r in right.tolist()])

# %% [markdown]
# ## Exercises
#
# 1. Feed the text in other parts than 7, 1, 1, 11. Does the difference change? (It stays rounding.)
# 2. Which filter changes most between the sure and the unsure place, and which not at all?
#    (Top-p and min-p follow the distribution; top-k does not look at it.)
# 3. Why does the lens, at the embeddings, guess the very byte that was just read? (The head *is* the embedding, so
#    what a token adds to the stream points at itself.)
