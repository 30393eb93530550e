# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # 1. The bigram model: the next character from the last one
#
# A language model gives a probability to whatever may come next. The smallest one worth having looks at a single
# character. We build it twice, once by counting and once by gradient descent, and find the same model both times:
# that is why we may trust gradient descent later, when there is nothing left to count.
#
# The text is the Python language reference that lies inside every interpreter: nothing is downloaded.

# %%
import math

import matplotlib.pyplot as plt
import torch
from lets_build_gpt import BigramModel, CharTokenizer
from lets_build_gpt.bigram import count_bigrams, counted_loss
from lets_build_gpt.data import load_text, split

text = load_text()
print(f"{len(text):,} characters, {len(set(text))} different ones")
print(text[5000:5400])

# %% [markdown]
# ## Characters become numbers
#
# The vocabulary is the sorted set of the characters that occur. `encode` and `decode` are inverse to each other.

# %%
tokenizer = CharTokenizer.from_text(text)
ids = tokenizer.encode("import this")
print(ids)
assert tokenizer.decode(ids) == "import this"

# %% [markdown]
# The first 90% of the text is for learning, the rest for judging what was learned.

# %%
train_text, val_text = split(text)
train_ids, val_ids = (torch.tensor(tokenizer.encode(part)) for part in (train_text, val_text))

# %% [markdown]
# ## Counting
#
# `counts[a, b]` is how often `b` follows `a`. The picture shows the rows as probabilities for the letters: after *q*
# comes *u*, after most consonants a vowel, after *t* an *h*.

# %%
counts = count_bigrams(train_ids, tokenizer.n_vocab)
letters = "abcdefghijklmnopqrstuvwxyz "
rows = torch.tensor(tokenizer.encode(letters))
shown = counts[rows][:, rows].float()
shown /= shown.sum(1, keepdim=True)

figure, axes = plt.subplots(figsize=(7, 7))
axes.imshow(shown.sqrt(), cmap="Greys")
names = [*letters[:-1], "␣"]
axes.set_xticks(range(len(names)), names)
axes.set_yticks(range(len(names)), names)
axes.set_xlabel("next character")
axes.set_ylabel("character")
axes.set_title("P(next | character), darker is likelier")
plt.show()

q, u = letters.index("q"), letters.index("u")
assert shown[q].argmax() == u

# %% [markdown]
# ## How good is it? Cross-entropy
#
# The mean of $-\ln P(\text{next})$ over the text, in *nats per character*. A model that knows nothing gives every
# character the same chance and scores $\ln(\text{n\_vocab})$.
#
# Some pairs of the validation split never occur in the training split. Their counted probability is zero, and one
# of them would make the loss infinite: adding 1 to every count repairs that.

# %%
exact = BigramModel.from_counts(counts)
smoothed = BigramModel.from_counts(counts, smoothing=1.0)
val_counts = count_bigrams(val_ids, tokenizer.n_vocab)

counted = counted_loss(counts, exact.logits.weight).item()
validation = counted_loss(val_counts, smoothed.logits.weight).item()
print(f"knowing nothing   {math.log(tokenizer.n_vocab):.4f}")
print(f"counted, training {counted:.4f}")
print(f"counted, validation, smoothed {validation:.4f}")
assert counted < validation < math.log(tokenizer.n_vocab) or validation < counted + 0.5

# %% [markdown]
# ## The same by gradient descent
#
# Now the table holds *logits*, begins at zero, and follows the gradient of the loss. The loss of a bigram model
# depends on the text through the counts alone, so one step can use the whole text at once. The minimum is the
# counted table: cross-entropy is smallest where the model's probabilities are the observed frequencies.

# %%
model = BigramModel(tokenizer.n_vocab)
losses = [model.fit(counts, steps=50, lr=0.1) for _ in range(16)]

figure, axes = plt.subplots(figsize=(6, 3))
axes.plot([50 * (i + 1) for i in range(len(losses))], losses, "k.-", label="gradient descent")
axes.axhline(counted, color="k", linestyle="--", label="counted")
axes.set_xlabel("step")
axes.set_ylabel("training loss (nats per character)")
axes.legend()
plt.show()

assert counted < losses[-1] < counted + 0.01

# %% [markdown]
# ## What it writes
#
# Pairs are right, words are not: one character is too little to go on. The next notebook lets a character look back.

# %%
start = torch.tensor([tokenizer.encode("\n")])
generated = smoothed.generate(start, 300, generator=torch.Generator().manual_seed(0))
print(tokenizer.decode(generated[0].tolist()))
