"""The settings of a model and of a training run, and the recipes. Imports nothing heavy: `--help` has to be quick."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("relu", "gelu")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. ValueError where its numbers cannot make one."""

    context_length: int = 8
    """how many tokens a prediction may look back on, itself included"""
    d_model: int = 384
    """width of the residual stream"""
    h: int = 6
    """attention heads in a block; divides d_model"""
    n_layers: int = 6
    """blocks"""
    n_vocab: int = 65
    """distinct tokens"""
    dropout: float = 0.2
    """chance that an attention weight, or a number a branch adds to the residual stream, is dropped in training"""
    activation: str = "relu"
    """relu, as the source, or gelu"""
    bias: bool = True
    """whether projections, feed-forward layers, norms and the head have biases"""
    tie_embeddings: bool = False
    """one matrix for the token embedding and the head"""
    attention_dropout: float | None = None
    """dropout of the attention weights, where it is to be another"""

    def __post_init__(self) -> None:
        for name in ("context_length", "d_model", "h", "n_layers", "n_vocab"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; it has to be at least 1")
        if self.d_model % self.h:
            raise ValueError(f"d_model: {self.d_model} is not divisible by h = {self.h}")
        for name in ("dropout", "attention_dropout"):
            p = getattr(self, name)
            if p is not None and not 0 <= p < 1:
                raise ValueError(f"{name}: {p}; it has to be at least 0 and below 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: {self.activation!r}; it has to be one of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True)
class TrainConfig:
    """What `train` does: model, batches, optimizer, schedule, and where it all goes."""

    text: str = ""
    """a text file; "shakespeare": tiny shakespeare by dlpapers_shared; empty: the Python language reference"""
    out: str = "runs/gpt"
    """folder of the run"""
    resume: bool = False
    """go on from the checkpoint in --out, on the very same trajectory"""
    seed: int = 1337
    """of weights, batches and dropout"""
    device: str = "auto"
    """auto (cuda, mps, cpu) or a torch device"""
    dtype: str = "auto"
    """of the matrix products: float32, bfloat16, float16 (with a gradient scaler) or auto, the faster one that works"""
    threads: int = 0
    """CPU threads; 0 leaves it to torch"""
    compile: bool = False
    """torch.compile the model"""

    context_length: int = 64
    """tokens in a window"""
    d_model: int = 128
    """width of the residual stream"""
    h: int = 4
    """attention heads in a block"""
    n_layers: int = 4
    """blocks"""
    dropout: float = 0.0
    """chance that an attention weight, or a number a branch adds to the residual stream, is dropped in training"""
    attention_dropout: float | None = None
    """dropout of the attention weights, where it is to be another"""
    activation: str = "relu"
    """relu, as the source, or gelu"""
    bias: bool = False
    """whether projections, feed-forward layers, norms and the head have biases"""
    tie_embeddings: bool = True
    """one matrix for the token embedding and the head"""

    batch_size: int = 16
    """windows in a batch"""
    tokens: int = 1_536_000
    """tokens to train on, repeats counted; it sets the number of steps"""
    optimizer: str = "muon"
    """muon: for the blocks' matrices, AdamW for the rest; adamw: for everything"""
    muon_lr: float = 0.02
    """peak learning rate of Muon"""
    momentum: float = 0.95
    """of Muon"""
    lr: float = 4e-3
    """peak learning rate of AdamW"""
    beta2: float = 0.99
    """of AdamW; beta1 is 0.9"""
    weight_decay: float = 0.01
    """of the matrices in the blocks"""
    warmup: float = 0.05
    """part of the steps in which the learning rates rise; they then fall linearly to zero"""
    clip: float = 1.0
    """largest gradient norm of what AdamW trains; 0: no clipping"""

    evaluations: int = 4
    """how often the whole validation split is scored, the last time at the end"""
    checkpoints: int = 8
    """how often a checkpoint for --resume is written, the last time at the end"""
    sample_length: int = 200
    """characters of the sample drawn at each evaluation"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "tokens", "evaluations", "checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; it has to be at least 1")
        if self.optimizer not in ("muon", "adamw"):
            raise ValueError(f"optimizer: {self.optimizer!r}; it has to be 'muon' or 'adamw'")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: {self.warmup}; it has to be at least 0 and below 1")
        self.model(n_vocab=1)  # checks the model's own numbers

    def model(self, n_vocab: int) -> ModelConfig:
        """The shape of the model that is trained."""
        return ModelConfig(
            self.context_length,
            self.d_model,
            self.h,
            self.n_layers,
            n_vocab,
            self.dropout,
            self.activation,
            self.bias,
            self.tie_embeddings,
            self.attention_dropout,
        )

    @property
    def steps(self) -> int:
        """Optimizer updates: as many as the tokens fill batches, at least one."""
        return max(1, self.tokens // (self.batch_size * self.context_length))
