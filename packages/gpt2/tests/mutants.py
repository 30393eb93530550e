"""Mistakes that people make in GPT-2; see tools/mutation.py."""

from mutation import Mutant

GENERATION, PARITY, SAMPLING, TRAINING, FILES, TASKS, DATA, COMPACT, DOWNLOAD, PARALLEL, ROBUST = (
    f"test_{name}.py"
    for name in (
        *("generation", "parity", "sampling", "training", "pretrained"),
        *("tasks", "data", "compact", "download", "parallel", "robust"),
    )
)

MUTANTS = [
    Mutant("attention.py", "-1) / math.sqrt(q.shape[-1])\n    #", "-1)\n    #", "no scaling by sqrt(d_k)", TRAINING),
    Mutant(
        "attention.py", "alpha=1 / math.sqrt(q.shape[-1])", "alpha=1.0", "no scaling where training is fast", TRAINING
    ),
    Mutant("attention.py", ".triu(1)", ".triu(2)", "a token sees the next one where training is fast", TRAINING),
    Mutant("attention.py", "mask = key <= query", "mask = key < query + 2", "a token sees the next one", TRAINING),
    Mutant("attention.py", "(key > query - window)", "(key >= query - window)", "a window one too wide", GENERATION),
    Mutant("attention.py", "weights.masked_fill(~mask, 0.0)", "weights", "nothing to attend to is not zero", TRAINING),
    Mutant("attention.py", "mask[0, :, :window] = False", "", "the first block looks at padding", TRAINING),
    Mutant(
        "loss.py", "p.index_fill_(0, (~keep).nonzero()[:, 0], 0.0)", "", "ignored targets have a gradient", TRAINING
    ),
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
        "train.py",
        "torch.manual_seed(int(np.random.SeedSequence([config.seed, step, parallel.rank()]).generate_state(1)[0]))",
        "pass",
        "dropout differs after a resume",
        TRAINING,
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
    Mutant("tasks.py", 'text.count("\\n")', "0", "line ends are no words", TASKS),
    Mutant("tasks.py", '" " + word', "word", "the last word without its space", TASKS),
    Mutant(
        "tasks.py", "[s.mean for s in scores]", "[s.total for s in scores]", "endings not normalised by length", TASKS
    ),
    Mutant(
        "tasks.py",
        "state[len(row) - 1 - len(completion)",
        "state[len(row) - len(completion)",
        "scores shifted by one",
        TASKS,
    ),
    Mutant(
        "packing.py",
        "ids[number, column + 1 : column + count] = text[:-1]",
        "ids[number, column : column + count] = text",
        "a token predicts itself",
        DATA,
    ),
    Mutant(
        "packing.py",
        "slice(column, column + count)",
        "slice(column, column + count - 1)",
        "the end of text is not learned",
        DATA,
    ),
    Mutant("packing.py", "if count > room:", "if count > room + 1:", "a row too full", DATA),
    Mutant(
        "prepare.py",
        "n_vocab != tokenizer.n_vocab",
        "n_vocab > tokenizer.n_vocab",
        "ids of another vocabulary are read",
        DATA,
    ),
    Mutant(
        "tokenizers.py",
        "if ours != theirs:",
        "if type(tokenizer) is not type(of_model):",
        "another tokenizer passes",
        DATA,
    ),
    Mutant(
        "compact.py",
        "torch.addcmul(self.bias, y, self.scale)",
        "(y + self.bias) * self.scale",
        "the bias is scaled",
        COMPACT,
    ),
    Mutant("compact.py", "if model.config.tied else", "if True else", "an untied head shares its matrix", COMPACT),
    Mutant(
        "block.c",
        "c->first[r] > c->oldest ? c->first[r] : c->oldest",
        "c->oldest",
        "in C, padding is attended to",
        COMPACT,
    ),
    Mutant("block.c", "expf(fminf(80, ", "expf(fminf(1e9f, ", "in C, GELU overflows", COMPACT),
    Mutant(
        "block.c", "variance / n + eps", "variance / (n - 1) + eps", "in C, LayerNorm with the wrong variance", COMPACT
    ),
    Mutant(
        "block.c",
        "weights[j - from] / sum",
        "weights[j - from]",
        "in C, attention weights that do not sum to 1",
        COMPACT,
    ),
    Mutant("block.c", "b->gamma_2, b->beta_2", "b->gamma_1, b->beta_1", "in C, the first LayerNorm twice", COMPACT),
    Mutant("products.c", "127.0f * (d_in / LANES + 1)", "127.0f", "sums of integers overflow", COMPACT),
    Mutant("products.c", "j < d_in; j++) sum", "j < i; j++) sum", "inputs that fill no vector are left out", COMPACT),
    Mutant("compact.py", "largest / 127", "largest / 128", "the largest weight overflows", COMPACT),
    Mutant(
        "download.py",
        "if have and answer.status != 206:",
        "if False:",
        "a whole file appended to its beginning",
        DOWNLOAD,
    ),
    Mutant("download.py", "            part.unlink()\n", "", "a wrong file is kept", DOWNLOAD),
    Mutant("parallel.py", "value=IGNORE", "value=0", "padding rows count", PARALLEL),
    Mutant("train.py", "loss * parallel.world_size()", "loss", "gradients divided by the processes", PARALLEL),
    Mutant(
        "pretrained.py",
        "temporary.replace(path)",
        "path.write_bytes(temporary.read_bytes())",
        "files are not written atomically",
        ROBUST,
    ),
    Mutant("train.py", "if math.isfinite(value):", "if True:", "a step along NaN", TRAINING),
]
