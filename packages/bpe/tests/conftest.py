"""Fixtures of several test files: engines, tokenizers trained here, tiktoken's patterns, hostile text."""

import bpe
import pytest
from hypothesis import settings
from hypothesis import strategies as st

settings.register_profile("bpe", deadline=None)
settings.load_profile("bpe")

FRAGMENTS = [
    *" '\n\t\r/-_.!?0aAsZé", "  ", "\r\n", "'s", "'S", "'ll", "'re", "'ſ", "''", "the", " the", "The",
    "HTTPServer", "123", "4567",
    "...", "://", "ñ", "日本", "語", "😀", "👨‍👩‍👧",
    "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\u200b", "\x00", "\x1c", "\x1f",
    "ß", "ǅ", "ʰ", "Ⅷ", "½", "٣", "क्षि", "\u0301", "한국", "Ω", "\ufeff",
    "\U00020000", "\U0010ffff", "ÀÉÎàéî", "\u1c89",
    "=" * 20, "0" * 17, "supercalifragilistic", "<|endoftext|>",
]  # fmt: skip


def hostile_text(max_size=30):
    """Text of fragments that tokenizers get wrong, mixed with arbitrary characters."""
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    return st.lists(st.sampled_from(FRAGMENTS) | anything, max_size=max_size).map("".join)


@pytest.fixture(scope="session")
def texts():
    """The hypothesis strategy for hostile text."""
    return hostile_text


@pytest.fixture(params=["python", "numba"], scope="session")
def engine(request):
    """Each engine."""
    return request.param


@pytest.fixture(scope="session")
def topics():
    """Text that every machine has: Python's documentation."""
    from bpe.demo import documentation

    return documentation()


@pytest.fixture(scope="session")
def patterns():
    """The patterns of tiktoken, by the names of this package."""
    import tiktoken_ext.openai_public as published

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "load_tiktoken_bpe", lambda *a, **k: {})
        return {
            "gpt2": published.r50k_pat_str,
            "cl100k": published.cl100k_base()["pat_str"],
            "o200k": published.o200k_base()["pat_str"],
        }


@pytest.fixture(scope="session")
def trained(topics):
    """Pattern -> ranks of a small vocabulary trained here, with some words in other scripts."""
    more = ["日本語の語 日本 한국어 naïve Ωμέγα क्षि 😀😀 ñandú ½ ٣٣ " * 3]
    return {
        pattern: bpe.train_from_iterator([*topics[:25], *more], vocab_size=1500, pattern=pattern, engine="python").ranks
        for pattern in ("gpt2", "cl100k", "o200k", None)
    }


@pytest.fixture(scope="session")
def make(trained):
    """`make("gpt2", "python")`: a tokenizer trained here, on an engine; each is built once."""
    made = {}

    def tokenizer(pattern, engine):
        if (pattern, engine) not in made:
            special = {"<|endoftext|>": 1500, "<|im_start|>": 1501, "<|im_start|>x": 1502}
            made[pattern, engine] = bpe.Tokenizer(
                trained[pattern], pattern=pattern, special_tokens=special, engine=engine
            )
        return made[pattern, engine]

    return tokenizer


@pytest.fixture(scope="session")
def oracle(trained, patterns):
    """`oracle("gpt2")`: tiktoken with the same ranks."""
    import tiktoken

    def encoding(pattern):
        text = patterns[pattern] if pattern else r"(?s).+"
        special = {"<|endoftext|>": 1500, "<|im_start|>": 1501}
        return tiktoken.Encoding("here", pat_str=text, mergeable_ranks=trained[pattern], special_tokens=special)

    return encoding
