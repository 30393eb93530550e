# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Byte pair encoding, from one string to GPT-2
#
# A language model reads numbers, not letters. Byte pair encoding decides which: it begins with the 256 bytes and joins,
# again and again, the pair of neighbours that is most frequent. Half an hour from here you will have done it by
# hand, seen why the details matter (ties, patterns, spaces), and know where the oddities of tokenizers come from.
#
# Everything here runs without a download. Cells assert what the text claims.

# %%
from collections import Counter
from itertools import pairwise

import bpe

# %% [markdown]
# ## 1. By hand
#
# The example of Wikipedia's article: `aaabdaaabac`. Count the pairs of neighbours.

# %%
text = b"aaabdaaabac"
ids = list(text)
Counter(pairwise(ids)).most_common(3)

# %% [markdown]
# `(97, 97)`, that is `aa`, is the most frequent. It becomes the token 256, from left to right and without overlaps.
# Three rounds of this:


# %%
def join(ids, pair, new):
    """Replace each occurrence of a pair, from left to right."""
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
    ids = join(ids, pair, new)
    merges.append(pair)
    print(f"{pair} -> {new}: {ids}")

assert ids == [258, 100, 258, 97, 99]

# %% [markdown]
# Eleven bytes became five tokens. That is all of training: the *merges*, in order, are the tokenizer. The package
# does the same, only quicker (`pattern=None`: see section 4).

# %%
tok = bpe.train_from_iterator([text.decode()], vocab_size=259, pattern=None)
assert tok.merges == merges
tok.merges

# %% [markdown]
# ## 2. Encoding new text
#
# A new text is split by *the same merges in the same order*: of all pairs present, join the one that was learned first
# (the lowest rank), until no pair is a token.

# %%
rank = {pair: 256 + k for k, pair in enumerate(merges)}


def encode(text):
    ids = list(text.encode())
    while True:
        known = [p for p in pairwise(ids) if p in rank]
        if not known:
            return ids
        best = min(known, key=rank.get)
        ids = join(ids, best, rank[best])


for sample in ("aaab", "baaa", "xyz", "naïve aaab"):
    assert encode(sample) == tok.encode(sample)
    print(f"{sample!r:14} {encode(sample)}")

# %% [markdown]
# `xyz` was never seen and still has ids: its bytes. So has `ï`, with two. Nothing is unknown.
#
# ## 3. Why ties matter
#
# In the second round above, `(256, 97)` and `(97, 98)` were *both* there twice. Which one wins is not in the paper, and
# trainers differ. Every later merge and every id depends on it.

# %%
tie = {
    ties: bpe.train_from_iterator(["mb", "ax", "zc"], vocab_size=257, ties=ties) for ties in ("first", "ids", "bytes")
}
winners = {ties: t.pieces([256])[0] for ties, t in tie.items()}
assert winners == {"first": "mb", "ids": "ax", "bytes": "zc"}
winners

# %% [markdown]
# `first` (minbpe) takes the pair that occurs first. `ids` (Hugging Face) takes the smallest ids, `bytes` (subword-nmt)
# the greatest pair of strings. On a real corpus they part after a few hundred merges:

# %%
from pydoc_data.topics import topics

corpus = [topics[name] for name in sorted(topics)]
size = sum(len(t.encode()) for t in corpus)
trained = {ties: bpe.train_from_iterator(corpus, vocab_size=2048, ties=ties) for ties in ("first", "ids", "bytes")}


def made(tok):
    """The merges as pairs of byte strings."""
    return [tuple(tok.decode_tokens_bytes(merge)) for merge in tok.merges]


same = next(k for k, (a, b) in enumerate(zip(made(trained["first"]), made(trained["ids"]), strict=True)) if a != b)
assert 50 < same < 1792
print(f"{size:,} bytes of Python's own documentation: first and ids agree on {same} merges, then part")

# %% [markdown]
# ## 4. Why a pattern
#
# Without more, merges run across words. The tokens then are whole phrases of this one corpus:

# %%
free = bpe.train_from_iterator(corpus, vocab_size=2048, pattern=None)
longest = sorted(free.ranks, key=len, reverse=True)[:60]
phrases = [t.decode() for t in longest if t.count(b" ") > 1 and t.strip(b" \n.-=*+|:")][:8]
assert phrases
phrases

# %% [markdown]
# GPT-2 cuts the text first, with a regular expression, and merges only inside the pieces. A piece is a word *with the
# space before it*, or digits, or signs:

# %%
from bpe.patterns import Splitter

pieces = Splitter("gpt2")("Hello world, it's 2024!  end")
assert pieces == ["Hello", " world", ",", " it", "'s", " 2024", "!", " ", " end"]
pieces

# %% [markdown]
# Later vocabularies cut differently; digits are in groups of at most three from `cl100k` on.

# %%
assert Splitter("cl100k")("it's 2024!") == ["it", "'s", " ", "202", "4", "!"]
assert Splitter("o200k")("it's 2024!") == ["it's", " ", "202", "4", "!"]

# %% [markdown]
# ## 5. The `Ġ`
#
# Tokens are bytes, and files of text cannot hold all of them. So GPT-2 writes each byte as one visible letter. Most
# stay themselves; the space is the 33rd of the others and becomes `Ġ`, U+0120.

# %%
tok = trained["first"]
letters = bpe.bytes_to_unicode()
assert letters[ord(" ")] == "Ġ"
assert letters[ord("\n")] == "Ċ"
pieces = tok.pieces(tok.encode("the naïve module"))
assert {"Ã", "¯", "Ġmodule"} <= set(pieces)
pieces

# %% [markdown]
# `Ã¯` is no mistake: it is the two bytes of `ï`, each with its letter.
#
# ## 6. How many tokens?
#
# Each merge makes texts shorter and the model's table longer. The gain falls off quickly: the first 768 merges
# bring more than all that follow. The picture shows the text that was trained on and one that was held out. The gap
# between them grows: more and more merges learn this corpus by heart.

# %%
import matplotlib.pyplot as plt

training, held_out = corpus[::2], corpus[1::2]
large = bpe.train_from_iterator(training, vocab_size=8192)
steps = [256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, large.n_vocab]
curves = {"trained on": [], "held out": []}
for n in steps:
    part = bpe.Tokenizer.from_merges(large.merges[: n - 256], pattern="gpt2")
    for name, texts in (("trained on", training), ("held out", held_out)):
        data = sum(len(t.encode()) for t in texts)
        curves[name].append(data / sum(part.count(t) for t in texts))

figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
for (name, values), style in zip(curves.items(), ("-o", "--s"), strict=True):
    axis.plot(steps, values, style, label=name, markersize=4)
axis.set_xscale("log", base=2)
axis.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
axis.set(xlabel="vocabulary size", ylabel="bytes per token", title="Compression against vocabulary size")
axis.grid(alpha=0.3)
axis.legend()
plt.show()

assert curves["trained on"][0] == 1
assert all(a < b for a, b in pairwise(curves["trained on"]))
assert curves["held out"][-1] < curves["trained on"][-1]
first, later = curves["held out"][5] - curves["held out"][0], curves["held out"][-1] - curves["held out"][5]
assert first > later
gap = [a - b for a, b in zip(curves["trained on"], curves["held out"], strict=True)]
assert gap[-1] > 2 * gap[5]

# %% [markdown]
# ## 7. What a vocabulary looks like
#
# First come letters that stand together often, then endings, then words; more tokens begin with a space than with
# any letter. The last merges are words that are frequent *here*.

# %%
for begin in (256, 512, 1024, 2040):
    print(begin, " ".join(tok.pieces(list(range(begin, begin + 8)))))

words = [t for t in tok.ranks if len(t) > 1]
share = sum(t.startswith(b" ") for t in words) / len(words)
assert Counter(t[:1] for t in words).most_common(1)[0][0] == b" "
print(f"{share:.0%} of the merged tokens begin with a space")

# %% [markdown]
# ## 8. Glitches
#
# **A space at the end.** The space belongs to the *next* word. A prompt that ends with one holds a token that is rare
# in training, since ` module` is one token and ` ` + `module` are two:

# %%
assert tok.encode("the module") == [*tok.encode("the"), tok.encode_single_token(b" module")]
assert tok.encode("the ") == [*tok.encode("the"), tok.encode_single_token(b" ")]
assert tok.encode("the ") != tok.encode("the module")[:2]

# %% [markdown]
# **A word is not one token.** With and without a space, in capitals, in another place: different ids for what
# we read as one word.

# %%
variants = ["module", " module", "Module", " MODULE"]
print({v: tok.pieces(tok.encode(v)) for v in variants})
assert len({tuple(tok.encode(v)) for v in variants}) == len(variants)

# %% [markdown]
# **Numbers** are cut as the corpus happens to have them, so that columns of digits do not line up:

# %%
numbers = [str(n) for n in (1999, 2000, 2001, 3111, 31111)]
cuts = {n: tok.pieces(tok.encode(n)) for n in numbers}
print(cuts)
assert len({len(c) for c in cuts.values()}) > 1

# %% [markdown]
# **Half a character** can be a token. Decoding ids one at a time must wait for the rest; the stream decoder does:

# %%
ids = tok.encode("né")
assert [tok.decode([i]) for i in ids] == ["n", "\ufffd", "\ufffd"]
stream = tok.stream_decoder()
assert [stream.push(i) for i in ids] == ["n", "", "é"]

# %% [markdown]
# ## 9. GPT-2's own vocabulary
#
# Where its two files are on this machine (`$DLPAPERS_DATA_DIR`, or tiktoken's cache), the same code is GPT-2's
# tokenizer.

# %%
from bpe.published import PUBLISHED, local

if all(local(file) for file in PUBLISHED["gpt2"].files):
    gpt2 = bpe.get_encoding("gpt2")
    assert gpt2.encode("hello world") == [31373, 995]
    assert gpt2.pieces(gpt2.encode(" SolidGoldMagikarp")) == ["ĠSolidGoldMagikarp"]
    print("GPT-2's files are here;", gpt2)
else:
    print("GPT-2's files are not on this machine; nothing to show")

# %% [markdown]
# `ĠSolidGoldMagikarp` is one token of GPT-2: a name that was frequent where the tokenizer was trained, and nearly
# absent where the model was. The tokenizer and the model need not have read the same; that is the last thing to
# remember.
