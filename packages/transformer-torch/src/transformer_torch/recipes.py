"""Whole recipes: data, model and training together. Their fields are the options of `train`; knows no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from transformer_torch.config import TrainConfig, TransformerConfig, from_dict

Kind = Literal["characters", "words", "subwords"]
PATHS = ("src", "tgt", "valid_src", "valid_tgt")


@dataclass(frozen=True)
class DataConfig:
    """Parallel text and how it becomes ids."""

    src: Path | None = None
    """Lines of the source language, .gz too; or, without --tgt, a .tsv of both. Nothing at all: generated dates."""
    tgt: Path | None = None
    """Lines of the target language."""
    valid_src: Path | None = None
    """The same for validation."""
    valid_tgt: Path | None = None
    """The same for validation."""
    data: str | None = None
    """A published set by its name: multi30k-de-en or multi30k-en-de (needs dlpapers-shared)."""
    vocab: Kind = "subwords"
    """subwords need dlpapers-bpe. One vocabulary for both sides, from the training text alone."""
    bpe_dropout: float = 0.0
    """Probability of leaving out a merge in the training text, drawn afresh in each epoch (1910.13267)."""

    def __post_init__(self) -> None:
        if not 0 <= self.bpe_dropout < 1:
            raise ValueError(f"bpe_dropout: {self.bpe_dropout} is not a probability below 1")
        if self.bpe_dropout and self.vocab != "subwords":
            raise ValueError(f"bpe_dropout: {self.bpe_dropout} with vocab={self.vocab}; it is for subwords")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run."""

    data: DataConfig = field(default_factory=DataConfig)
    """Parallel text."""
    model: TransformerConfig = field(default_factory=lambda: TransformerConfig(8000))
    """Sizes; vocab_size is what subwords and words are limited to."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Training."""

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        data = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self.data).items()}
        return {"data": data, "model": self.model.to_dict(), "train": self.train.to_dict()}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Recipe:
        """The recipe in a `config.json`; ValueError if there is none."""
        if not isinstance(values, dict) or not {"data", "model", "train"} <= values.keys():
            raise ValueError(f"{where}: not the configuration of a run")
        data = values["data"]
        if isinstance(data, dict):
            data = {name: Path(v) if name in PATHS and v is not None else v for name, v in data.items()}
        parts = ((DataConfig, data), (TransformerConfig, values["model"]), (TrainConfig, values["train"]))
        return cls(*(from_dict(kind, part, where) for kind, part in parts))


SMALL = TransformerConfig(8000, d_model=256, n_heads=8, n_layers=3, d_ff=1024, max_length=256)
PAPER = TrainConfig(steps=100_000, max_tokens=50_000, valid_every=1000, average=5, average_every=1000)
# not the paper's optimizer, norm and schedule, but those that the validation set preferred in such a short time
MULTI30K = Recipe(
    DataConfig(data="multi30k-de-en"),
    TransformerConfig(4000, 256, n_heads=4, n_layers=3, d_ff=1024, dropout=0.25, norm="pre", max_length=256),
    TrainConfig(
        steps=1700,
        max_tokens=8192,
        optimizer="muon",
        warmup=100,
        factor=0.5,
        hold=True,
        decay=1100,
        valid_every=200,
        average=8,
        average_every=20,
    ),
)

RECIPES: dict[str, tuple[str, Recipe]] = {
    "dates": (
        "Generated dates to ISO 8601, nothing to download: 1 to 2 CPU-minutes, 0.6 GB.",
        Recipe(
            DataConfig(vocab="characters"),
            TransformerConfig(8000, d_model=64, n_heads=4, n_layers=2, d_ff=128, dropout=0.0, max_length=64),
            TrainConfig(steps=1600, max_tokens=3000, warmup=300, decay=1000, clip=1.0, valid_every=200),
        ),
    ),
    "small": (
        "Your own text: d_model 256, 3 + 3 layers, until validation stops improving; hours at most, 1.5 GB.",
        Recipe(model=SMALL, train=TrainConfig(steps=20_000, max_tokens=2048, warmup=1000, patience=5)),
    ),
    "multi30k-30min": (
        "Multi30k, German to English (--data multi30k-en-de: back); on one core with bfloat16 30 minutes, 4.2 GB.",
        MULTI30K,
    ),
    "multi30k-60min": (
        "The same with more dropout and 1,000 updates more: 45 to 60 minutes.",
        replace(
            MULTI30K,
            model=replace(MULTI30K.model, dropout=0.3),
            train=replace(MULTI30K.train, steps=2700, decay=1700),
        ),
    ),
    "base": (
        "The base model of Table 3, trained as in section 5. For a GPU.",
        Recipe(model=TransformerConfig.base(37_000), train=PAPER),
    ),
    "big": (
        "The big model of Table 3, likewise; 300,000 updates, the last 20 checkpoints averaged.",
        Recipe(model=TransformerConfig.big(37_000), train=replace(PAPER, steps=300_000, average=20)),
    ),
}
