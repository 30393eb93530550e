"""Training recipes: named settings of model, training and data, with the time and result to expect."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from transformer_torch._common.errors import check_choice, check_fraction, invalid
from transformer_torch.config import TrainConfig, TransformerConfig, from_dict

TokenizerKind = Literal["characters", "words", "subwords"]
PATHS = ("src", "tgt", "valid_src", "valid_tgt")


@dataclass(frozen=True)
class DataConfig:
    """Parallel text, and how it becomes token ids."""

    src: Path | None = None
    """Source text: UTF-8, one sentence per line, .gz too. Without --tgt: a .tsv with source and target."""
    tgt: Path | None = None
    """Target text, line by line the translation of the source."""
    valid_src: Path | None = None
    """Source text for validation. Without it, some lines of the training text are held out."""
    valid_tgt: Path | None = None
    """Target text for validation."""
    data: str | None = None
    """Dataset by name: dates (synthetic), multi30k-de-en or multi30k-en-de (these need dlpapers-shared)."""
    vocab: TokenizerKind = "subwords"
    """Tokens, one vocabulary for both languages, learned from the training text; subwords need dlpapers-bpe."""
    bpe_dropout: float = 0.0
    """Probability of skipping a BPE merge in the training text, new in each epoch (1910.13267)."""

    def __post_init__(self) -> None:
        check_choice("vocab", self.vocab, ("characters", "words", "subwords"))
        check_fraction("bpe_dropout", self.bpe_dropout)
        if self.bpe_dropout and self.vocab != "subwords":
            raise invalid("bpe_dropout", f"be 0 with `vocab` = {self.vocab!r}", self.bpe_dropout, "It needs subwords")

    def to_dict(self) -> dict[str, Any]:
        """Return the object that config.json holds."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> DataConfig:
        """Return the settings in the `data` section of a config.json."""
        if isinstance(values, dict):
            values = {k: Path(v) if k in PATHS and isinstance(v, str) else v for k, v in values.items()}
        found: DataConfig = from_dict(cls, values, where)
        return found


@dataclass(frozen=True)
class Recipe:
    """All settings of a run, under a name."""

    name: str
    description: str
    model: TransformerConfig
    """Sizes; `vocab_size` is the largest vocabulary that is learned from the text."""
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)


SMALL = TransformerConfig(8000, d_model=256, n_heads=8, n_layers=3, d_ff=1024, max_length=256)
PAPER = TrainConfig(steps=100_000, batch_tokens=50_000, eval_every=1000, average=5, average_every=1000)
# Optimizer, norm and schedule are not the paper's: validation loss preferred these in such a short time.
MULTI30K = Recipe(
    "multi30k-30min",
    "Multi30k, German to English (--data multi30k-en-de: the other direction); 30 core-minutes in bfloat16, 4.2 GB.",
    TransformerConfig(4000, 256, n_heads=4, n_layers=3, d_ff=1024, dropout=0.25, norm="pre", max_length=256),
    TrainConfig(
        steps=1700,
        batch_tokens=8192,
        optimizer="muon",
        warmup_steps=100,
        lr_scale=0.5,
        stable_steps=1600,  # the whole run at the peak, so that the final decay alone lowers the learning rate
        decay_steps=1100,
        eval_every=200,
        average=8,
        average_every=20,
    ),
    DataConfig(data="multi30k-de-en"),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "dates",
            "Dates as people write them to ISO 8601, no dataset needed; 1-2 CPU-minutes, 0.6 GB, 99 % exact.",
            TransformerConfig(8000, d_model=64, n_heads=4, n_layers=2, d_ff=128, dropout=0.0, max_length=64),
            TrainConfig(
                steps=1600, batch_tokens=3000, warmup_steps=300, decay_steps=1000, grad_clip=1.0, eval_every=200
            ),
            DataConfig(data="dates", vocab="characters"),
        ),
        Recipe(
            "small",
            "Your own text: d_model 256, 3 + 3 layers, until validation stops improving; minutes to hours, 1.5 GB.",
            SMALL,
            TrainConfig(steps=20_000, batch_tokens=2048, warmup_steps=1000, patience=5),
        ),
        MULTI30K,
        replace(
            MULTI30K,
            name="multi30k-60min",
            description="Multi30k with more dropout and 1,000 steps more; 60 core-minutes in bfloat16, 4.2 GB.",
            model=replace(MULTI30K.model, dropout=0.3),
            train=replace(MULTI30K.train, steps=2700, stable_steps=2600, decay_steps=1700),
        ),
        Recipe(
            "base",
            "Your own text with the base model of Table 3, trained as in section 5; for a GPU.",
            TransformerConfig.base(37_000),
            PAPER,
        ),
        Recipe(
            "big",
            "Your own text with the big model of Table 3, 300,000 steps, mean of 20 snapshots; for GPUs.",
            TransformerConfig.big(37_000),
            replace(PAPER, steps=300_000, average=20),
        ),
    )
}
