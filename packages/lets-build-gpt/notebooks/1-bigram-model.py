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
# # 1. The bigram model
#
# ## Motivation
#
# A **language model** assigns a probability to every possible next token. The smallest useful one looks at one character
# and predicts the next. This notebook builds it twice, by counting and by gradient descent, and both give the same
# model. Later models cannot be counted, so it matters that gradient descent finds the right answer here.
#
# It takes a few seconds and downloads nothing: the text is the Python language reference, which is part of every Python
# installation.

# %%
import math

try:
    import matplotlib.pyplot as plt
    import torch
    from lets_build_gpt import BigramModel, CharTokenizer, load_text
    from lets_build_gpt.bigram import count_bigrams, counted_loss
    from lets_build_gpt.data import split
except ImportError as error:
    raise SystemExit(
        f'{error}. Install the requirements of this notebook: pip install "dlpapers-lets-build-gpt[notebooks] @ '
        'git+<address of this repository>#subdirectory=packages/lets-build-gpt"'
    ) from None

text = load_text()
print(f"{len(text):,} characters, {len(set(text))} distinct")
print(text[5000:5400])

# %% [markdown]
# ## Idea
#
# Count how often each character follows each other character. The relative frequencies are the model.
#
# **Tokens.** The vocabulary is the sorted set of the characters of the text. `encode` maps characters to ids, and `decode`
# is its inverse.

# %%
tokenizer = CharTokenizer.from_text(text)
ids = tokenizer.encode("import this")
print(ids)
assert tokenizer.decode(ids) == "import this"

# %% [markdown]
# **Training and validation.** A model that memorizes its text has a low loss on it and is useless. So 90 % of the text is
# the **training split**, which the model learns from. The other 10 % is the **validation split**, which measures how well
# it predicts text that it was not trained on. The validation loss is normally the higher one.

# %%
train_text, val_text = split(text)
train_ids, val_ids = (torch.tensor(tokenizer.encode(part)) for part in (train_text, val_text))
print(f"{len(train_ids):,} training tokens, {len(val_ids):,} validation tokens")

# %% [markdown]
# ## Math
#
# With $n(ab)$ the number of times that $b$ follows $a$, the counted model is
#
# $$P(b \mid a) = \frac{n(ab)}{\sum_c n(ac)}.$$
#
# Its quality is the **cross-entropy**: the mean of $-\ln P(\text{next} \mid \text{current})$ over the text, in nats per
# character. A uniform model has $\ln(\text{vocab\_size})$. The mean depends on the text through the counts alone:
#
# $$L = -\frac{1}{N} \sum_{a,b} n(ab) \ln P(b \mid a).$$
#
# It is minimal where $P$ equals the relative frequencies.

# %% [markdown]
# ## Code with shapes
#
# `counts[a, b]` has shape (vocab, vocab). The figure shows $P(b \mid a)$ for the letters and the space. After *q* comes
# *u*; after most consonants comes a vowel.

# %%
counts = count_bigrams(train_ids, tokenizer.vocab_size)  # (vocab, vocab)
letters = "abcdefghijklmnopqrstuvwxyz "
rows = torch.tensor(tokenizer.encode(letters))
shown = counts[rows][:, rows].float()
shown /= shown.sum(1, keepdim=True)

figure, axes = plt.subplots(figsize=(7, 6.2))
image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1)
names = [*letters[:-1], "␣"]
axes.set_xticks(range(len(names)), names)
axes.set_yticks(range(len(names)), names)
axes.set_xlabel("next character b")
axes.set_ylabel("character a")
figure.colorbar(image, label="P(b | a), among these 27 characters")
plt.show()

q, u = letters.index("q"), letters.index("u")
assert shown[q].argmax() == u

# %% [markdown]
# ## Test
#
# Some pairs of the validation split never occur in the training split. Their counted probability is 0, and a single one
# makes the validation loss infinite. Adding 1 to every count (**smoothing**) avoids that.

# %%
exact = BigramModel.from_counts(counts)
smoothed = BigramModel.from_counts(counts, smoothing=1.0)
val_counts = count_bigrams(val_ids, tokenizer.vocab_size)

uniform = math.log(tokenizer.vocab_size)
counted = counted_loss(counts, exact.logits.weight).item()
validation = counted_loss(val_counts, smoothed.logits.weight).item()
print(f"uniform               {uniform:.4f}")
print(f"counted, training     {counted:.4f}")
print(f"smoothed, validation  {validation:.4f}")
assert counted < validation < uniform

# %% [markdown]
# ## Experiment
#
# **The same model by gradient descent.** The table now holds logits. It starts at zero and follows the gradient of $L$.
# Because $L$ depends on the counts alone, one step can use the whole text at once.

# %%
model = BigramModel(tokenizer.vocab_size)
losses = model.fit(counts, steps=800, lr=0.1)

figure, axes = plt.subplots(figsize=(6, 3.2))
axes.plot(losses, color="#2563eb", label="gradient descent")
axes.axhline(counted, color="#374151", linestyle="--", label="counted")
axes.set_xlabel("step")
axes.set_ylabel("training loss\n(nats per character)")
axes.legend(frameon=False)
plt.show()

assert abs(losses[0] - uniform) < 1e-3
assert counted < losses[-1] < counted + 0.01

# %% [markdown]
# **What the model writes.** Pairs of characters look right and words do not: one character is too little context.

# %%
start = torch.tensor([tokenizer.encode("\n")])
generated = smoothed.generate(start, 300, generator=torch.Generator().manual_seed(0))
print(tokenizer.decode(generated[0].tolist()))

# %% [markdown]
# ## Summary
#
# - A bigram model is a table of counts. Its cross-entropy has a closed-form minimum.
# - Gradient descent on a table of logits reaches that minimum.
# - The next notebook lets a character use more of its past than the last character.
#
# ## Exercises
#
# 1. Count trigrams. How much lower is the training loss, and what happens to the validation loss?
# 2. Try other values of `smoothing`. Which one has the lowest validation loss?
# 3. Compute the loss of the best model that ignores the current character. How much does one character of context gain?

# %% [markdown]
# ## Quiz
#
# The folded cell defines the questions. Set each `choice` to a letter and run the cell; it checks and explains your answer.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from lets_build_gpt._common.optional import require

quiz = require("dlpapers_shared.quiz", "the quiz")
questions = [
    quiz.question(
        "What is the loss, in nats, of a model that gives all 65 characters the same probability?",
        "0",
        "1 / 65",
        "ln 65 = 4.17",
        "log2 65 = 6.02",
        correct="c",
        why="Each character has probability 1/65, and -ln(1/65) = ln 65. The other logarithm gives bits.",
    ),
    quiz.question(
        "A pair of the validation split never occurs in the training split. What is the validation loss of the exact counts?",
        "It leaves this pair out",
        "It is infinite",
        "It is ln 65",
        "It is negative",
        correct="b",
        why="The counted probability is 0, and -ln 0 is infinite. One such pair is enough; smoothing avoids it.",
    ),
    quiz.question(
        "Why does gradient descent on the table of logits end at the counted model?",
        "The gradient is zero where the softmax of each row equals the relative counts",
        "Both start at zero",
        "The learning rate is small enough to count",
        "It does not: it finds a lower training loss",
        correct="a",
        why="The gradient of a row is the difference between its softmax and the relative counts, times the frequency of the row. The counted model is the minimum of the training loss.",
    ),
]

# %%
choice = None
questions[0].answer(choice)

# %%
choice = None
questions[1].answer(choice)

# %%
choice = None
questions[2].answer(choice)
