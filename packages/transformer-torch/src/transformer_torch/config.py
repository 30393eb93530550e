"""The sizes of a Transformer, and the rows of Table 3 by name. Knows no torch, so that the command line starts fast."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Norm = Literal["post", "pre"]
Positions = Literal["sinusoidal", "learned"]
SmoothingMode = Literal["torch", "fairseq", "annotated"]
Device = Literal["auto", "cpu", "cuda", "mps"]
OptimizerName = Literal["adam", "muon"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Table 3: what each row changes in the base model. A row of (A) keeps h * d_k = 512; d_model of (C) keeps h = 8.
TABLE_3: dict[str, dict[str, Any]] = {
    "base": {},
    "A1": {"n_heads": 1},
    "A4": {"n_heads": 4},
    "A16": {"n_heads": 16},
    "A32": {"n_heads": 32},
    "B16": {"d_k": 16},
    "B32": {"d_k": 32},
    "C2": {"n_layers": 2},
    "C4": {"n_layers": 4},
    "C8": {"n_layers": 8},
    "C256": {"d_model": 256, "d_k": 32, "d_v": 32},
    "C1024": {"d_model": 1024, "d_k": 128, "d_v": 128},
    "C1024ff": {"d_ff": 1024},
    "C4096ff": {"d_ff": 4096},
    "D0.0": {"dropout": 0.0},
    "D0.2": {"dropout": 0.2},
    "E": {"positions": "learned"},
    "big": {"d_model": 1024, "n_heads": 16, "d_ff": 4096, "dropout": 0.3},
}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the model, in the letters of Table 3 (N is n_layers, h is n_heads, P_drop is dropout)."""

    vocab_size: int
    """Rows of the one matrix for source, target and output (section 3.4)."""
    d_model: int = 512
    """Width of every sub-layer's output."""
    n_heads: int = 8
    """Attention heads."""
    n_layers: int = 6
    """Layers of the encoder, and of the decoder."""
    d_ff: int = 2048
    """Inner width of the feed-forward networks."""
    dropout: float = 0.1
    """Probability of dropping an element (section 5.4)."""
    norm: Norm = "post"
    """LayerNorm after the residual sum (the paper) or before the sub-layer."""
    positions: Positions = "sinusoidal"
    """Encoding of the positions; learned is row (E) of Table 3."""
    max_length: int = 512
    """Longest sequence, in tokens."""
    pad_id: int = 0
    """The id of padding."""
    d_k: int | None = None
    """Width of a query or key in one head; None: d_model / n_heads."""
    d_v: int | None = None
    """Width of a value in one head; None: d_model / n_heads."""
    final_norm: bool | None = None
    """A LayerNorm after the last layer of each stack; None: with norm="pre" only. torch.nn.Transformer has one."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive whole number")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: {self.dropout} is not a probability below 1")
        if (self.d_k is None or self.d_v is None) and self.d_model % self.n_heads:
            raise ValueError(f"d_model: {self.d_model} is no multiple of n_heads={self.n_heads}; give d_k and d_v")
        if not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(f"pad_id: {self.pad_id} is no id of a vocabulary of {self.vocab_size}")
        for name, accepted in (("norm", ("post", "pre")), ("positions", ("sinusoidal", "learned"))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name}: {getattr(self, name)!r} is none of {', '.join(accepted)}")

    @property
    def key_width(self) -> int:
        """d_k as it is used."""
        return self.d_k if self.d_k is not None else self.d_model // self.n_heads

    @property
    def value_width(self) -> int:
        """d_v as it is used."""
        return self.d_v if self.d_v is not None else self.d_model // self.n_heads

    @property
    def has_final_norm(self) -> bool:
        """Whether each stack ends with a LayerNorm."""
        return self.norm == "pre" if self.final_norm is None else self.final_norm

    @classmethod
    def table3(cls, row: str, vocab_size: int) -> TransformerConfig:
        """A row of Table 3: base, big, or its letter and what it changes (A1, B16, C1024ff, D0.2, E, ...)."""
        if row not in TABLE_3:
            raise ValueError(f"row: {row!r} is none of {', '.join(TABLE_3)}")
        return replace(cls(vocab_size), **TABLE_3[row])

    @classmethod
    def base(cls, vocab_size: int) -> TransformerConfig:
        """The base model of Table 3."""
        return cls.table3("base", vocab_size)

    @classmethod
    def big(cls, vocab_size: int) -> TransformerConfig:
        """The big model of Table 3."""
        return cls.table3("big", vocab_size)

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return asdict(self)


@dataclass(frozen=True)
class TrainConfig:
    """How to train: sections 5.1 to 5.4."""

    steps: int = 100_000
    """Updates of the optimizer."""
    max_tokens: int = 4096
    """Positions in a batch: source, target and padding together."""
    accumulate: int = 1
    """Batches whose gradients make one update: the same gradients as one batch of that many times the tokens."""
    warmup: int = 4000
    """Updates of linear warm-up in Eq. (3)."""
    factor: float = 1.0
    """What Eq. (3) is multiplied by."""
    hold: bool = False
    """After the warm-up stay at the highest rate of Eq. (3), not fall as it does."""
    decay: int = 0
    """The last updates, in which the rate is brought linearly to zero; 0: none, as in the paper."""
    optimizer: OptimizerName = "adam"
    """muon: for the matrices of the layers another one than the paper's, see optimizers.py; Adam for the rest."""
    beta2: float = 0.98
    """Of Adam."""
    clip: float = 0.0
    """Largest norm of the gradient; 0: any, as in the paper."""
    smoothing: float = 0.1
    """eps of label smoothing."""
    smoothing_mode: SmoothingMode = "torch"
    """Whose definition of label smoothing."""
    valid_every: int = 500
    """Updates between two looks at the validation set, each with a checkpoint."""
    patience: int = 0
    """Validations without a better loss after which training ends, the best model kept; 0: train to the end."""
    average: int = 1
    """Snapshots whose mean is the model (section 6.1); 1: the last weights."""
    average_every: int = 80
    """Updates between two of these snapshots, the last of them at the end."""
    seed: int = 0
    """Of the weights, the batches and dropout."""
    device: Device = "auto"
    """cuda where there is one, else mps, else cpu."""
    dtype: Dtype = "auto"
    """Autocast: bfloat16 where it is faster, else float32; float16 comes with a gradient scaler."""

    def __post_init__(self) -> None:
        for name in ("steps", "max_tokens", "accumulate", "warmup", "valid_every", "average", "average_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not a positive whole number")
        for name in ("decay", "patience", "clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if self.optimizer not in ("adam", "muon"):
            raise ValueError(f"optimizer: {self.optimizer!r} is none of adam, muon")
        if self.decay > self.steps:
            raise ValueError(f"decay: {self.decay} of {self.steps} steps")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing: {self.smoothing} is not at least 0 and below 1")
        if self.average > 1 and self.patience:
            raise ValueError("average: snapshots before the end and patience exclude one another; give one of them")

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return asdict(self)


def from_dict(kind: type[Any], values: Any, where: str) -> Any:
    """A configuration from what a file holds; ValueError that names the file if it holds something else."""
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: not a configuration of this package ({error})") from error
