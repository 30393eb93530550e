"""OpenAI's published vocabularies: their files with SHA-256, their patterns and special tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

_BASE = "https://openaipublic.blob.core.windows.net/"
_EOT = "<|endoftext|>"


@dataclass(frozen=True)
class PublishedFile:
    """A file to download: its address and its SHA-256."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class PublishedVocabulary:
    """A published vocabulary: one `.tiktoken` file, or encoder.json and vocab.bpe."""

    pattern: str
    files: tuple[PublishedFile, ...]
    special_tokens: dict[str, int] = field(default_factory=lambda: {_EOT: 50256})


GPT2_ENCODER = PublishedFile(
    _BASE + "gpt-2/encodings/main/encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
)
_GPT2_MERGES = PublishedFile(
    _BASE + "gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
)
_R50K = PublishedFile(
    _BASE + "encodings/r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
)
_P50K = PublishedFile(
    _BASE + "encodings/p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
)
_CL100K = PublishedFile(
    _BASE + "encodings/cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
)
_O200K = PublishedFile(
    _BASE + "encodings/o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
)
_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}

PUBLISHED = {
    "gpt2": PublishedVocabulary("gpt2", (GPT2_ENCODER, _GPT2_MERGES)),
    "r50k_base": PublishedVocabulary("gpt2", (_R50K,)),
    "p50k_base": PublishedVocabulary("gpt2", (_P50K,)),
    "cl100k_base": PublishedVocabulary("cl100k", (_CL100K,), {_EOT: 100257, **_FIM, "<|endofprompt|>": 100276}),
    "o200k_base": PublishedVocabulary("o200k", (_O200K,), {_EOT: 199999, "<|endofprompt|>": 200018}),
}
"""Name -> vocabulary."""

BY_HASH = {entry.files[0].sha256: entry for name, entry in PUBLISHED.items() if name != "gpt2"}
"""SHA-256 of a `.tiktoken` file -> its vocabulary."""
