"""Mistakes that people make in GPT-2; see testing/mutation.py."""

from mutation import Mutant

GENERATION, PARITY, SAMPLING, TRAINING, FILES = (
    f"test_{name}.py" for name in ("generation", "parity", "sampling", "training", "pretrained")
)

MUTANTS = [
    Mutant("attention.py", " / math.sqrt(q.shape[-1])", "", "no scaling by sqrt(d_k)", TRAINING),
    Mutant("attention.py", "mask = key <= query", "mask = key < query + 2", "a token sees the next one", TRAINING),
    Mutant("attention.py", "(key > query - window)", "(key >= query - window)", "a window one too wide", GENERATION),
    Mutant("attention.py", "weights.masked_fill(~mask, 0.0)", "weights", "nothing to attend to is not zero", TRAINING),
    Mutant("attention.py", "mask[0, :, :window] = False", "", "the first block looks at padding", TRAINING),
    Mutant("loss.py", "p.masked_fill_(~keep[:, None], 0.0)", "", "ignored targets have a gradient", TRAINING),
    Mutant(
        "loss.py",
        "part_dweight if dweight is None else dweight + part_dweight",
        "part_dweight",
        "last chunk only",
        TRAINING,
    ),
    Mutant(
        "model.py",
        "x = x + self.attn(self.ln_1(x), cache, record)",
        "x = self.ln_1(x + self.attn(x, cache, record))",
        "post-norm",
        PARITY,
    ),
    Mutant("model.py", 'approximate = "tanh" if', 'approximate = "none" if', "the exact GELU", PARITY),
    Mutant("model.py", "out: Tensor = self.ln_f(x)", "out: Tensor = x", "no last LayerNorm", PARITY),
    Mutant(
        "model.py",
        "math.sqrt(2 * self.config.n_layers)",
        "math.sqrt(self.config.n_layers)",
        "one residual per layer",
        PARITY,
    ),
    Mutant("model.py", "self.lm_head.weight = self.wte.weight", "pass", "the head is not tied", PARITY),
    Mutant("model.py", 'record["resid"].append(x)\n        out', "out", "the last residual is missing", PARITY),
    Mutant(
        "model.py",
        "total / (targets != ignore_index).sum()",
        "total / targets.numel()",
        "ignored targets are counted",
        PARITY,
    ),
    Mutant(
        "cache.py",
        "self.positions = (columns[None] - self.first[:, None])",
        "self.positions = (columns[None] + 0 * self.first[:, None])",
        "positions count padding",
        GENERATION,
    ),
    Mutant(
        "cache.py",
        "real[:, None] | itself",
        "real[:, None] | real[:, None].logical_not()",
        "padding is attended to",
        GENERATION,
    ),
    Mutant(
        "cache.py",
        "self.values[layer, :, :, self.start : self.end] = v",
        "self.values[layer, :, :, self.start : self.end] = k",
        "keys in the place of values",
        GENERATION,
    ),
    Mutant("generation.py", "or begins != seen", "", "the cache is kept past the context", GENERATION),
    Mutant(
        "generation.py", "-(-beyond // step) * step", "beyond // step * step", "the window is moved late", GENERATION
    ),
    Mutant("generation.py", ".where(~done, text[:, column - 1])", "", "a finished row goes on", GENERATION),
    Mutant("generation.py", "    model.eval()\n", "", "dropout while generating", GENERATION),
    Mutant("sampling.py", "logits < kth", "logits <= kth", "top-k drops the k-th", SAMPLING),
    Mutant("sampling.py", "cumsum(-1) <= 1 - top_p", "cumsum(-1) < 1 - top_p", "top-p at its edge", SAMPLING),
    Mutant("sampling.py", "drop[..., -1] = False", "", "top-p can drop everything", SAMPLING),
    Mutant(
        "sampling.py",
        "torch.where(logits > 0, logits / penalty, logits * penalty)",
        "logits / penalty",
        "a penalty that rewards",
        SAMPLING,
    ),
    Mutant(
        "text.py",
        "keep = 0 if final else self._possible_beginning()",
        "keep = 0",
        "half a stop string is shown",
        GENERATION,
    ),
    Mutant(
        "pretrained.py", "t.T.contiguous() if PROJECTION", "t if PROJECTION", "nanoGPT's weights not transposed", FILES
    ),
    Mutant("pretrained.py", "weights_only=True", "weights_only=False", "pickles are run", FILES),
    Mutant(
        "train.py",
        'reduction="sum") / count',
        'reduction="sum") / part[0].numel()',
        "micro-batches are averaged alike",
        TRAINING,
    ),
    Mutant(
        "checkpoint.py", 'torch.set_rng_state(state["random.cpu"])', "pass", "dropout differs after a resume", TRAINING
    ),
    Mutant("optim.py", '"weight_decay": 0.0', '"weight_decay": config.weight_decay', "biases and norms decay", PARITY),
    Mutant(
        "data.py",
        "np.random.default_rng([self.seed, step])",
        "np.random.default_rng(self.seed)",
        "every step the same batch",
        TRAINING,
    ),
    Mutant("prepare.py", "look[i - 1] > 32", "True", "a cut between spaces", TRAINING),
    Mutant(
        "evaluate.py",
        "done, start = end, start + stride",
        "done, start = end, end",
        "no context after the first window",
        TRAINING,
    ),
]
