# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # GPT-2 from the inside
#
# ## Motivation
#
# GPT-2 (*Language Models are Unsupervised Multitask Learners*, Radford et al. 2019) showed that a Transformer trained only
# to predict the next token of web text can answer questions, translate, and summarize without any training for it.
# All later GPT models share its structure. This notebook takes one apart: it follows a forward pass with its shapes, trains
# a small model, shows why the key-value cache is exact, compares sampling methods, fine-tunes, and looks at the model's
# predictions at each depth. It takes about two minutes on one CPU core and downloads nothing: the model learns from
# Python's own documentation.

# %%
import math
import tempfile
from pathlib import Path

try:
    import matplotlib.pyplot as plt
    import torch
    from gpt2 import GPT2, GPT2Config, KVCache, OptimConfig, TrainConfig, Trainer
    from gpt2.data.tokenizers import ByteTokenizer
except ImportError as error:
    raise SystemExit(
        f'{error}. Install the requirements of this notebook: pip install "dlpapers-gpt2[notebooks] @ '
        'git+<address of this repository>#subdirectory=packages/gpt2"'
    ) from None

torch.manual_seed(0)
torch.set_num_threads(1)
tokenizer = ByteTokenizer()  # 256 bytes and an end-of-text token
config = GPT2Config(vocab_size=257, context_length=64, d_model=128, n_heads=4, n_layers=4, dropout=0.0, eos_id=256)
model = GPT2(config)
print(f"{model.num_parameters():,} parameters")

# %% [markdown]
# ## Idea
#
# A **language model** assigns a probability to every possible next token, given the tokens before it. GPT-2 is a
# decoder-only **Transformer**. It changes little against GPT-1:
#
# | | GPT-1 (2018) | GPT-2 (2019) |
# | --- | --- | --- |
# | LayerNorm | after each sub-block, on the sum | at the *input* of each sub-block, and once more after the last block |
# | residual projections | initialized like all others | smaller by $1/\sqrt{N}$ for $N$ residual layers |
# | context | 512 tokens | 1024 tokens |
# | vocabulary | 40,478 | 50,257 byte-level BPE tokens: every string has a probability |
#
# ## Math
#
# The probability of a text is a product of conditionals, and the loss is its negative logarithm per token:
#
# $$p(x) = \prod_t p(x_t \mid x_{<t}), \qquad L = -\frac{1}{T} \sum_t \log p(x_t \mid x_{<t}).$$
#
# Each block adds to the **residual stream** $x$, which nothing ever overwrites:
#
# $$x \leftarrow x + \mathrm{Attention}(\mathrm{LN}(x)), \qquad x \leftarrow x + \mathrm{FFN}(\mathrm{LN}(x)).$$
#
# Attention is causal: $\mathrm{softmax}(Q K^\top / \sqrt{d_k} + M)\, V$, where $M$ is $-\infty$ for later tokens.

# %% [markdown]
# ## Code with shapes
#
# Token and position embeddings are added; every block reads the sum through a LayerNorm and adds to it. These lines are
# the whole model:

# %%
ids = torch.tensor([tokenizer.encode("the value of the val")])
x = model.wte(ids) + model.wpe.weight[: ids.shape[1]]
print("residual stream", tuple(x.shape), "= (batch, time, d_model)")
for block in model.h:
    x = x + block.attn(block.ln_1(x))  # pre-norm: the stream itself is not normalized
    x = x + block.mlp(block.ln_2(x))
logits = model.lm_head(model.ln_f(x))
print("logits", tuple(logits.shape), "= (batch, time, vocab)")
assert torch.equal(logits, model(ids))
assert model.lm_head.weight is model.wte.weight  # the head is the token embedding

# %% [markdown]
# Inside attention, one matmul makes the queries, keys, and values of all heads:

# %%
block = model.h[0]
qkv = block.attn.c_attn(block.ln_1(model.wte(ids)))
q, k, v = qkv.unflatten(-1, (3, config.n_heads, -1)).permute(2, 0, 3, 1, 4)
print("c_attn", tuple(qkv.shape), "-> q, k, v each", tuple(q.shape), "= (batch, heads, time, d_k)")
_, aux = model(ids, return_intermediates=True)
print("attn", tuple(aux["attn"].shape), "= (layers, batch, heads, queries, keys)")
print("resid", tuple(aux["resid"].shape), "= (layers + 1, batch, time, d_model)")
assert torch.allclose(aux["attn"].sum(-1), torch.ones(()))  # the weights of each query sum to 1
assert aux["attn"].triu(1).abs().max() == 0  # and later tokens have none

# %% [markdown]
# ## Test
#
# **Initialization.** The stream is a sum of two terms per layer, so its variance would grow with the depth. Residual
# projections are therefore initialized smaller. The loss of the untrained model is that of a uniform guess, $\ln 257$:

# %%
std = {
    name: float(p.detach().std())
    for name, p in model.named_parameters()
    if name in ("h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight")
}
assert math.isclose(std["h.0.mlp.c_proj.weight"], 0.02 / math.sqrt(2 * config.n_layers), rel_tol=0.02)
first = float(model.loss(ids[:, :-1], ids[:, 1:]).detach())
assert abs(first - math.log(257)) < 0.3
print({name: round(value, 4) for name, value in std.items()}, f"loss {first:.2f}, ln 257 = {math.log(257):.2f}")

# %% [markdown]
# **The key-value cache is exact.** What a token computes depends on itself and on earlier tokens. A new token changes no
# earlier key or value, so each is computed once. Here the text passes through the model in parts, each with the keys and
# values of the earlier ones. The logits equal those of the whole text, up to float32 rounding:

# %%
cache = KVCache(config, length=64)
with torch.no_grad():
    parts = [model.lm_head(model.hidden(part, cache)) for part in ids.split([7, 1, 1, 11], dim=1)]
    difference = float((torch.cat(parts, dim=1) - model(ids)).abs().max())
assert difference < 1e-4
print(f"largest difference of the logits: {difference:.1e}")

# %% [markdown]
# It would not be exact if the text slid along under the cache. Positions are learned vectors that are added at the input,
# so the same token at another position has other keys in every layer:

# %%
with torch.no_grad():
    whole, shifted = (model(part, return_intermediates=True)[1]["resid"][1:, 0] for part in (ids, ids[:, 1:]))
    changed = (whole[:, 1:] - shifted).norm(dim=-1) / whole[:, 1:].norm(dim=-1)
assert changed.min() > 0.05
print("relative change of the residual stream after each layer:", [round(c, 2) for c in changed.mean(-1).tolist()])

# %% [markdown]
# ## Experiment
#
# ### Train
#
# About a minute on the documentation. Muon trains the matrices of the blocks, AdamW everything else.

# %%
from gpt2.data.corpora import python_docs
from gpt2.data.prepare import prepare
from gpt2.data.token_file import TokenFiles, Windows
from gpt2.training.trainer import held_out_loss

folder = Path(tempfile.mkdtemp())
(folder / "reference.txt").write_text(python_docs(), encoding="utf-8")
prepare([folder / "reference.txt"], folder / "data")
data = Windows(TokenFiles(folder / "data"), 64, eval_windows=200)
optim = OptimConfig(optimizer="muon", lr=5e-3, warmup_steps=20, schedule="linear", final_lr=0.0)
training = TrainConfig(steps=400, batch_size=16, optim=optim, eval_every=100, dtype="float32")
last = Trainer(model, data, training, folder / "run", tokenizer=tokenizer).fit()
model.eval()
assert last["val_loss"] < 2.3 < 5.5 < first
print(f"validation loss {last['val_loss']:.2f} nats per byte; {first:.2f} before training")

# %% [markdown]
# ### Sample
#
# **Temperature** rescales all logits. **Top-k** cuts at a rank, whatever the probabilities are. **Top-p** cuts at a total
# probability, so it keeps few tokens where the model is certain and many where it is not. **Min-p** cuts relative to the
# most probable token. The first row shows a position where the model is certain, the second one where it is not:

# %%
from gpt2.inference.sampling import filter_logits


def visible(byte):
    """Return a byte as one visible character."""
    letter = chr(int(byte))
    return {" ": "␣", "\n": "¶"}.get(letter, letter if letter.isascii() and letter.isprintable() else "·")


texts = {"certain": "the value of the val", "uncertain": "the value of the "}
methods = {
    "unfiltered": {},
    "temperature 0.5": {"temperature": 0.5},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.5": {"min_p": 0.5},
}
figure, axes = plt.subplots(2, len(methods), figsize=(13, 4.6), sharey="row", layout="constrained")
kept = {}
for row, (certainty, text) in zip(axes, texts.items(), strict=True):
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(text)]))[0, -1]
    order = logits.argsort(descending=True)[:20]
    letters = [visible(i) for i in order]
    for axis, (name, options) in zip(row, methods.items(), strict=True):
        p = filter_logits(logits, **options).softmax(-1)
        kept[certainty, name] = int((p > 0).sum())
        axis.bar(range(len(order)), p[order], color=["#0072b2" if q > 0 else "#cccccc" for q in p[order]])
        axis.set_title(f"{name}: {kept[certainty, name]} kept", fontsize=10)
        axis.set_xticks(range(len(order)), letters, fontsize=7, family="monospace")
    row[0].set_ylabel(f"{certainty}: “{text}”\nprobability of the next byte", fontsize=8)
assert kept["certain", "top-k 5"] == kept["uncertain", "top-k 5"] == 5
assert kept["certain", "top-p 0.9"] < kept["uncertain", "top-p 0.9"]

# %% [markdown]
# ### Fine-tune
#
# Fine-tuning is the same training, started from learned weights. **LoRA** adds a trainable low-rank update $x A B$ to each
# frozen projection $x W$. It is merged into $W$ when the model is written, so the result is an ordinary GPT-2. The new text
# consists of verses, which the documentation does not contain:

# %%
from gpt2.training.finetune import Examples, finetune, read_examples

verses = "\n".join(
    f"{name.capitalize()} had a little {animal},\nIts fleece was {color} as {thing}."
    for name in ("mary", "anna", "john", "ruth", "paul")
    for animal, color, thing in (("lamb", "white", "snow"), ("goat", "black", "coal"), ("fox", "red", "wine"))
)
(folder / "verses.txt").write_text(verses, encoding="utf-8")
examples = Examples(read_examples(folder / "verses.txt", tokenizer, 64), 64, held_out=0.2)
before = held_out_loss(model, examples, 8)
optim = OptimConfig(lr=1e-2, warmup_steps=5)
settings = TrainConfig(steps=60, batch_size=8, optim=optim, eval_every=20, dtype="float32")
finetune(GPT2.from_pretrained(folder / "run"), examples, settings, folder / "tuned", lora=8)
tuned = GPT2.from_pretrained(folder / "tuned")
after = held_out_loss(tuned, examples, 8)
assert after < before / 2
print(f"loss on held-out verses: {before:.2f} before, {after:.2f} after")
prompt = torch.tensor([tokenizer.encode("Ruth had a ")])
print(tokenizer.decode(tuned.generate(prompt, 40, temperature=0)[0].tolist()))

# %% [markdown]
# ### Read the residual stream
#
# The **logit lens** applies the output head to the residual stream after every block, not only after the last. Each cell
# shows the most probable next byte at that depth, darker for higher probability. Predictions form from top to bottom.

# %%
sentence = "the name of the class is the value"
row = torch.tensor([tokenizer.encode(sentence)])
with torch.no_grad():
    logits, aux = model(row, return_intermediates=True)
p = model.logit_lens(aux["resid"][:, 0]).softmax(-1)  # (layers + 1, time, vocab)
assert torch.allclose(p[-1], logits[0].softmax(-1), atol=1e-5)  # the last depth is the model's output
probability, guess = p.max(-1)
figure, axis = plt.subplots(figsize=(13, 2.8), layout="constrained")
image = axis.imshow(probability, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for depth in range(len(p)):
    for position in range(row.shape[1]):
        letter = visible(guess[depth, position])
        shade = "white" if probability[depth, position] > 0.6 else "black"
        axis.text(position, depth, letter, ha="center", va="center", color=shade, fontsize=9, family="monospace")
axis.set_xticks(range(len(sentence)), sentence.replace(" ", "␣"), family="monospace")
axis.set_yticks(range(len(p)), ["embeddings", *(f"after block {i}" for i in range(len(model.h)))])
axis.set_xlabel("last byte of the input")
figure.colorbar(image, label="probability", pad=0.01)
right = (p[:, :-1].argmax(-1) == row[:, 1:]).float().mean(-1)
assert right[-1] > right[0]
print("share of correct next bytes by depth:", [round(r, 2) for r in right.tolist()])

# %% [markdown]
# ## Summary
#
# - GPT-2 is a residual stream to which attention and feed-forward blocks add; the head reads it.
# - Causality makes the key-value cache exact; learned positions prevent sliding along under it.
# - Top-p and min-p adapt to the distribution, top-k does not.
# - LoRA fine-tunes with few parameters and leaves an ordinary model.
#
# ## Exercises
#
# 1. Split the text into other parts than 7, 1, 1, 11. Does the difference change?
# 2. Which filter differs most between the certain and the uncertain position, and which not at all?
# 3. Why does the logit lens predict the input byte itself at the embeddings?
#
# *Solutions.* (1) It stays at rounding level. (2) Top-p and min-p follow the distribution; top-k keeps 5 in both.
# (3) The head *is* the embedding, so the vector that a token adds to the stream points at that token.
