"""Settings of the model and of training, and the rows of Table 3 by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from transformer_torch._common.errors import (
    check_bool,
    check_choice,
    check_divides,
    check_fraction,
    check_integer,
    check_not_negative,
    check_positive,
    invalid,
)

Norm = Literal["post", "pre"]
Positions = Literal["sinusoidal", "learned"]
SmoothingMode = Literal["torch", "fairseq", "annotated"]
OptimizerName = Literal["adam", "muon"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Table 3: what each row changes in the base model. Rows (A) keep h * d_k = 512; d_model of rows (C) keeps h = 8.
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
    """Sizes of the model, named as in Table 3 (N is n_layers, h is n_heads, P_drop is dropout)."""

    vocab_size: int
    """Rows of the one embedding matrix for source, target and output (section 3.4)."""
    d_model: int = 512
    """Width of the residual stream, the output of every sub-layer."""
    n_heads: int = 8
    """Attention heads."""
    n_layers: int = 6
    """Layers of the encoder, and of the decoder."""
    d_ff: int = 2048
    """Inner width of the feed-forward networks."""
    dropout: float = 0.1
    """Dropout probability (section 5.4)."""
    norm: Norm = "post"
    """Where LayerNorm is: after the residual sum, as in the paper, or before the sub-layer."""
    positions: Positions = "sinusoidal"
    """Positional encoding; learned is row (E) of Table 3."""
    max_length: int = 512
    """Longest training sequence in tokens. Sinusoids extend beyond it, learned positions do not."""
    pad_id: int = 0
    """Token id of padding."""
    d_k: int | None = None
    """Width of a query or key in one head; none: d_model / n_heads."""
    d_v: int | None = None
    """Width of a value in one head; none: d_model / n_heads."""
    final_norm: bool | None = None
    """A LayerNorm after the last layer of each stack, as in torch.nn.Transformer; none: with norm pre only."""
    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm; tensor2tensor has 1e-6."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_length"):
            check_integer(name, getattr(self, name), 1)
        for name in ("d_k", "d_v"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        check_fraction("dropout", self.dropout)
        check_choice("norm", self.norm, ("post", "pre"))
        check_choice("positions", self.positions, ("sinusoidal", "learned"))
        check_integer("pad_id", self.pad_id, 0, self.vocab_size - 1)
        check_positive("layer_norm_eps", self.layer_norm_eps)
        if self.final_norm is not None:
            check_bool(self, ["final_norm"])
        if self.d_k is None or self.d_v is None:
            check_divides("n_heads", self.n_heads, "d_model", self.d_model)

    @property
    def key_width(self) -> int:
        """Width of a query or key in one head."""
        return self.d_k if self.d_k is not None else self.d_model // self.n_heads

    @property
    def value_width(self) -> int:
        """Width of a value in one head."""
        return self.d_v if self.d_v is not None else self.d_model // self.n_heads

    @property
    def has_final_norm(self) -> bool:
        """Whether each stack ends with a LayerNorm."""
        return self.norm == "pre" if self.final_norm is None else self.final_norm

    @classmethod
    def table3(cls, row: str, vocab_size: int) -> TransformerConfig:
        """Return a row of Table 3: "base", "big", or its letter and its change ("A1", "C1024ff", "D0.2", "E", …)."""
        check_choice("row", row, TABLE_3)
        return replace(cls(vocab_size), **TABLE_3[row])

    @classmethod
    def base(cls, vocab_size: int) -> TransformerConfig:
        """Return the base model of Table 3."""
        return cls.table3("base", vocab_size)

    @classmethod
    def big(cls, vocab_size: int) -> TransformerConfig:
        """Return the big model of Table 3."""
        return cls.table3("big", vocab_size)

    def to_dict(self) -> dict[str, Any]:
        """Return the object that config.json holds."""
        return asdict(self)


@dataclass(frozen=True)
class TrainConfig:
    """Training settings (sections 5.1 to 5.4)."""

    steps: int = 100_000
    """Optimizer steps."""
    batch_tokens: int = 4096
    """Positions in a batch: source, target and padding together."""
    accumulate: int = 1
    """Batches whose gradients are summed for one step; equal to one batch of that many times the tokens."""
    warmup_steps: int = 4000
    """Steps of linear warm-up in Eq. (3)."""
    lr_scale: float = 1.0
    """Factor of the learning rate of Eq. (3)."""
    stable_steps: int = 0
    """Steps at the peak learning rate between the warm-up and the decay of Eq. (3); 0 as in the paper."""
    decay_steps: int = 0
    """Last steps, in which the learning rate is also scaled linearly to zero; 0 as in the paper."""
    optimizer: OptimizerName = "adam"
    """Optimizer; muon uses Muon for the matrices of the layers and Adam for the rest."""
    beta2: float = 0.98
    """Second-moment decay of Adam."""
    grad_clip: float = 0.0
    """Maximum gradient norm; 0 disables clipping, as in the paper."""
    label_smoothing: float = 0.1
    """Label smoothing epsilon."""
    smoothing_mode: SmoothingMode = "torch"
    """Definition of label smoothing; see loss.py."""
    eval_every: int = 500
    """Steps between two evaluations of the validation loss."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; none: at each evaluation."""
    patience: int = 0
    """Evaluations without a better validation loss before training stops with the best model; 0: never."""
    average: int = 1
    """Number of snapshots whose mean is the final model (section 6.1); 1: the last weights."""
    average_every: int = 80
    """Steps between two of these snapshots; the last one is taken at the end."""
    seed: int = 0
    """Seed of the initial weights, the order of the batches, and dropout."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps; auto is the first available of cuda, mps, cpu."""
    dtype: Dtype = "auto"
    """Autocast dtype; auto is bfloat16 where it is faster, else float32. float16 uses a gradient scaler."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "accumulate", "warmup_steps", "eval_every", "average", "average_every"):
            check_integer(name, getattr(self, name), 1)
        for name in ("stable_steps", "decay_steps", "patience"):
            check_integer(name, getattr(self, name), 0)
        check_integer("seed", self.seed, 0)
        if self.checkpoint_every is not None:
            check_integer("checkpoint_every", self.checkpoint_every, 1)
        check_positive("lr_scale", self.lr_scale)
        check_not_negative("grad_clip", self.grad_clip)
        check_fraction("beta2", self.beta2)
        check_fraction("label_smoothing", self.label_smoothing)
        check_choice("smoothing_mode", self.smoothing_mode, ("torch", "fairseq", "annotated"))
        check_choice("optimizer", self.optimizer, ("adam", "muon"))
        check_choice("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))
        if not isinstance(self.device, str):
            raise invalid("device", "be the name of a device", self.device)
        if self.decay_steps > self.steps:
            raise invalid("decay_steps", f"be at most `steps` = {self.steps}", self.decay_steps)
        if self.average > 1 and self.patience:
            raise invalid("average", "be 1 with `patience` above 0", self.average, "Set one of the two")

    def to_dict(self) -> dict[str, Any]:
        """Return the object that config.json holds."""
        return asdict(self)


def from_dict(kind: type[Any], values: Any, where: str) -> Any:
    """Return a configuration from a section of a file. Raises: ValueError that names the file if it does not fit."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: must hold an object for {kind.__name__}, got {type(values).__name__}")
    if unknown := sorted(values.keys() - {field.name for field in fields(kind)}):
        raise ValueError(f"{where}: {unknown[0]!r} is not a setting of {kind.__name__}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
