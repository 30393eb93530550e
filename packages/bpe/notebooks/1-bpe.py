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
# # Byte pair encoding, from one string to GPT-2
#
# ## Motivation
#
# A language model reads integers, not text. A **tokenizer** turns text into integers and back. Its vocabulary decides how
# long a text is for the model, which words are one unit, and why models struggle with spelling and arithmetic.
# GPT-2, GPT-4 and most open models use byte pair encoding (BPE). This notebook builds it by hand in about 30 minutes.
#
# Nothing is downloaded. Cells assert what the text claims.

# %%
from collections import Counter
from itertools import pairwise

try:
    import bpe
    import matplotlib.pyplot as plt
except ImportError as error:
    raise SystemExit(f"This notebook needs dlpapers-bpe[notebooks]: {error}") from None

# %% [markdown]
# ## Idea
#
# Start with the 256 possible bytes as tokens. Find the most frequent pair of adjacent tokens in a corpus, and make the
# pair a new token. Repeat until the vocabulary has the desired size. Frequent words end up as one token. Rare words are
# several tokens, in the worst case single bytes. So no text is ever unknown.
#
# ## Math
#
# Let the corpus be a sequence of tokens. Training repeats, for $k = 256, 257, \dots$,
#
# $$(a_k, b_k) = \operatorname*{arg\,max}_{(a, b)} \; \mathrm{count}(a\,b), \qquad \text{replace every } a_k\, b_k \text{ by } k .$$
#
# The **merges** $(a_k, b_k)$, in this order, are the tokenizer. Encoding applies them in the same order to new text:
# among all adjacent pairs that are a merge, apply the one with the lowest $k$, until none is left.
#
# ## Code with shapes
#
# ### Training by hand
#
# The example of Wikipedia's article is `aaabdaaabac`: 11 bytes, so a list of 11 ids. Count the pairs of neighbors:

# %%
text = b"aaabdaaabac"
ids = list(text)  # (11,)
Counter(pairwise(ids)).most_common(3)

# %% [markdown]
# The most frequent pair is `(97, 97)`, which is `aa`. It becomes token 256. Replacement goes from left to right, without
# overlaps. Three rounds:


# %%
def merge(ids, pair, new):
    """Replace each occurrence of a pair by a new id, from left to right. (n,) -> (m,) with m <= n."""
    out = []
    for i in ids:
        if out and (out[-1], i) == pair:
            out[-1] = new
        else:
            out.append(i)
    return out


merges = []
for new in (256, 257, 258):
    counts = Counter(pairwise(ids))
    pair = max(counts, key=counts.get)
    ids = merge(ids, pair, new)
    merges.append(pair)
    print(f"{pair} -> {new}: {ids}")

assert ids == [258, 100, 258, 97, 99]

# %% [markdown]
# 11 bytes became 5 tokens. The package learns the same merges. `pattern=None` turns off the split into words, which
# comes below.

# %%
tok = bpe.train_from_iterator([text.decode()], vocab_size=259, pattern=None)
assert tok.merges == merges
tok.merges

# %% [markdown]
# ### Encoding new text
#
# The **rank** of a pair is its position in the list of merges. Apply the merge with the lowest rank until none applies:

# %%
rank = {pair: 256 + k for k, pair in enumerate(merges)}


def encode(text):
    ids = list(text.encode())
    while True:
        candidates = [pair for pair in pairwise(ids) if pair in rank]
        if not candidates:
            return ids
        best = min(candidates, key=rank.get)
        ids = merge(ids, best, rank[best])


for sample in ("aaab", "baaa", "xyz", "naïve aaab"):
    print(f"{sample!r:14} {encode(sample)}")

# %% [markdown]
# `xyz` is not in the corpus, but its bytes have ids. `ï` is two bytes, so it has two ids.
#
# ## Test
#
# The hand-written encoder equals the package on these samples. The package itself is tested against tiktoken and Hugging
# Face on millions of texts.

# %%
for sample in ("aaab", "baaa", "xyz", "naïve aaab", "aaabdaaabac" * 3):
    assert encode(sample) == tok.encode(sample)
    assert tok.decode(tok.encode(sample)) == sample

# %% [markdown]
# ## Experiment
#
# ### Ties change a tokenizer
#
# In the second round above, `(256, 97)` and `(97, 98)` were equally frequent. The paper does not say which pair wins, and
# trainers differ. `first` (minbpe) takes the pair that occurs first, `ids` (Hugging Face) the smallest ids, and `bytes`
# (subword-nmt) the greatest byte strings.

# %%
RULES = ("first", "ids", "bytes")
tied = {ties: bpe.train_from_iterator(["mb", "ax", "zc"], vocab_size=257, ties=ties) for ties in RULES}
winners = {ties: t.pieces([256])[0] for ties, t in tied.items()}
assert winners == {"first": "mb", "ids": "ax", "bytes": "zc"}
winners

# %% [markdown]
# On a real corpus the merges diverge after a few hundred rounds, and with them all later ids:

# %%
from pydoc_data.topics import topics

corpus = [topics[name] for name in sorted(topics)]
size = sum(len(t.encode()) for t in corpus)
trained = {ties: bpe.train_from_iterator(corpus, vocab_size=2048, ties=ties) for ties in RULES}


def merged_bytes(tok):
    """The merges as pairs of byte strings."""
    return [tuple(tok.decode_tokens_bytes(pair)) for pair in tok.merges]


pairs = zip(merged_bytes(trained["first"]), merged_bytes(trained["ids"]), strict=True)
agree = next(k for k, (a, b) in enumerate(pairs) if a != b)
assert 50 < agree < 1792
print(f"{size:,} bytes of Python's documentation: `first` and `ids` agree on the first {agree} merges")

# %% [markdown]
# ### A pattern keeps words apart
#
# Without a pattern, merges cross word boundaries. The longest tokens are phrases of this corpus, useless elsewhere:

# %%
free = bpe.train_from_iterator(corpus, vocab_size=2048, pattern=None)
longest = sorted(free.ranks, key=len, reverse=True)[:60]
phrases = [t.decode() for t in longest if t.count(b" ") > 1 and t.strip(b" \n.-=*+|:")][:8]
assert phrases
phrases

# %% [markdown]
# GPT-2 first splits text with a regular expression into **pre-tokens** and merges only inside them. A pre-token is a word
# with the space before it, a run of digits, or a run of punctuation:

# %%
from bpe.pretokenize import Splitter

pretokens = Splitter("gpt2")("Hello world, it's 2024!  end")
assert pretokens == ["Hello", " world", ",", " it", "'s", " 2024", "!", " ", " end"]
pretokens

# %% [markdown]
# Later vocabularies split differently. From `cl100k` (GPT-4) on, digits form groups of at most three:

# %%
assert Splitter("cl100k")("it's 2024!") == ["it", "'s", " ", "202", "4", "!"]
assert Splitter("o200k")("it's 2024!") == ["it's", " ", "202", "4", "!"]

# %% [markdown]
# ### What `Ġ` means
#
# Tokens are bytes, but files of text cannot hold all bytes. GPT-2 writes each byte as one printable character. Printable
# bytes keep theirs. The others get the characters from U+0100 on; the space is the 33rd of them, U+0120, `Ġ`.

# %%
tok = trained["first"]
printable = bpe.bytes_to_unicode()
assert printable[ord(" ")] == "Ġ"
assert printable[ord("\n")] == "Ċ"
tokens = tok.pieces(tok.encode("the naïve module"))
assert {"Ã", "¯", "Ġmodule"} <= set(tokens)
tokens

# %% [markdown]
# `Ã` and `¯` are the two bytes of `ï`, each as its printable character.
#
# ### Vocabulary size against compression
#
# Every merge makes texts shorter and the embedding table of the model longer. The figure shows bytes per token on the
# training half of the corpus and on the held-out half. The first 768 merges gain more than all later ones. The gap
# between the curves grows: late merges memorize the training half.

# %%
training, held_out = corpus[::2], corpus[1::2]
large = bpe.train_from_iterator(training, vocab_size=8192)
sizes = [256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, large.n_vocab]
curves = {"training text": [], "held-out text": []}
for n in sizes:
    smaller = bpe.Tokenizer.from_merges(large.merges[: n - 256], pattern="gpt2")
    for name, texts in (("training text", training), ("held-out text", held_out)):
        n_bytes = sum(len(t.encode()) for t in texts)
        curves[name].append(n_bytes / sum(smaller.count(t) for t in texts))

figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
styles = {"training text": ("#1f5fa8", "o-"), "held-out text": ("#d9542b", "s--")}
for name, values in curves.items():
    color, style = styles[name]
    axis.plot(sizes, values, style, color=color, label=name, markersize=4)
axis.set_xscale("log", base=2)
axis.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
axis.set(xlabel="vocabulary size", ylabel="bytes per token", title="Compression by vocabulary size")
axis.grid(alpha=0.3)
axis.legend()
plt.show()

assert curves["training text"][0] == 1
assert all(a < b for a, b in pairwise(curves["training text"]))
assert curves["held-out text"][-1] < curves["training text"][-1]
early, late = (
    curves["held-out text"][5] - curves["held-out text"][0],
    curves["held-out text"][-1] - curves["held-out text"][5],
)
assert early > late
gap = [a - b for a, b in zip(curves["training text"], curves["held-out text"], strict=True)]
assert gap[-1] > 2 * gap[5]

# %% [markdown]
# ### What a vocabulary contains
#
# Early tokens are frequent pairs of letters. Later ones are endings, then words. The last ones are words that are
# frequent in this corpus. More tokens start with a space than with any letter:

# %%
for start in (256, 512, 1024, 2040):
    print(start, " ".join(tok.pieces(range(start, start + 8))))

merged = [t for t in tok.ranks if len(t) > 1]
share = sum(t.startswith(b" ") for t in merged) / len(merged)
assert Counter(t[:1] for t in merged).most_common(1)[0][0] == b" "
print(f"{share:.0%} of the merged tokens start with a space")

# %% [markdown]
# ### Glitches
#
# **A trailing space.** A space belongs to the next word. A prompt that ends with a space ends with a token that is rare
# in training, because ` module` is one token, but ` ` + `module` are two:

# %%
assert tok.encode("the module") == [*tok.encode("the"), tok.encode_single_token(b" module")]
assert tok.encode("the ") == [*tok.encode("the"), tok.encode_single_token(b" ")]
assert tok.encode("the ") != tok.encode("the module")[:2]

# %% [markdown]
# **One word, many ids.** With or without a space, capitalized or not, the ids of a word differ:

# %%
variants = ["module", " module", "Module", " MODULE"]
print({v: tok.pieces(tok.encode(v)) for v in variants})
assert len({tuple(tok.encode(v)) for v in variants}) == len(variants)

# %% [markdown]
# **Numbers** split as the corpus happens to contain them, so digits do not align:

# %%
splits = {n: tok.pieces(tok.encode(n)) for n in ("1999", "2000", "2001", "3111", "31111")}
print(splits)
assert len({len(tokens) for tokens in splits.values()}) > 1

# %% [markdown]
# **Half a character** can be a token. A program that decodes ids one at a time must wait for the rest. The stream decoder
# does:

# %%
ids = tok.encode("né")
assert [tok.decode([i]) for i in ids] == ["n", "\ufffd", "\ufffd"]
stream = tok.stream_decoder()
assert [stream.push(i) for i in ids] == ["n", "", "é"]

# %% [markdown]
# ### GPT-2's vocabulary
#
# The same code is GPT-2's tokenizer, if its two files are on this machine (`$DLPAPERS_DATA_DIR` or tiktoken's cache):

# %%
from bpe.formats.known_files import PUBLISHED
from bpe.hub import find_local

if all(find_local(file) for file in PUBLISHED["gpt2"].files):
    gpt2 = bpe.get_encoding("gpt2")
    assert gpt2.encode("hello world") == [31373, 995]
    assert gpt2.pieces(gpt2.encode(" SolidGoldMagikarp")) == ["ĠSolidGoldMagikarp"]
    print(gpt2)
else:
    print("GPT-2's files are not on this machine.")

# %% [markdown]
# `ĠSolidGoldMagikarp` is one token of GPT-2. The name was frequent in the text that trained the tokenizer, and almost
# absent from the text that trained the model. Therefore models behave strangely on it.
#
# ## Summary
#
# - BPE training merges the most frequent pair again and again. The ordered merges are the tokenizer.
# - Encoding applies the merge with the lowest rank until none applies. Single bytes make every text encodable.
# - A pattern splits text into pre-tokens, so that tokens do not cross words.
# - Ties, patterns and spaces change all ids. A tokenizer must be exactly the one that its model was trained with.
#
# ## Exercises
#
# 1. Train with `ties="bytes"` on `corpus`. After how many merges does it diverge from `first`?
# 2. Which ten tokens of `tok` occur most often in `corpus`, and which never occur? Why can a token never occur?
# 3. Extend `encode` above by a pattern: split with `Splitter("gpt2")`, encode each pre-token, and compare with `tok`.

# %% [markdown]
# ## Quiz
#
# The folded cell defines the questions. Set each `choice` to a letter and run the cell; it checks and explains your answer.

# %% jupyter={"source_hidden": true} tags=["hide-input"]
from bpe._common.optional import require

quiz = require("dlpapers_shared.quiz", "the quiz")
questions = [
    quiz.question(
        "A word is encoded. Several of its pairs have a merge. Which one is applied first?",
        "The leftmost pair",
        "The pair that was learned first",
        "The pair that is most frequent in the text",
        "The pair that gives the longest token",
        correct="b",
        why="Encoding replays the training: the merge with the lowest rank, which was learned first, is applied first. Frequencies count in training only.",
    ),
    quiz.question(
        "A tokenizer was trained on English text only. What happens to Japanese text?",
        "It raises an error",
        "Each character becomes an unknown token",
        "It is encoded with more tokens per character",
        "It is skipped",
        correct="c",
        why="The 256 bytes are tokens, so every text can be encoded. Without merges for its bytes, a Japanese character takes about three tokens.",
    ),
    quiz.question(
        "Two tokenizers have the same merges and the same pattern, but two merges are swapped in order. What can differ?",
        "Nothing",
        "The ids only, not the splits",
        "The ids, and the splits of some words",
        "The decoded text",
        correct="c",
        why="The order decides which merge is applied first, and a merge can remove a pair that another one needs. Decoding still gives the original text.",
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
