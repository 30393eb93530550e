"""Mistakes that people make in this paper; the named tests have to notice each."""

from mutation import Mutant

PARITY, PROPERTIES, DECODE, TRAINING, TEXT = (
    f"test_{n}.py" for n in ("parity", "properties", "decode", "training", "text")
)

MUTANTS = [
    Mutant("attention.py", "(q / math.sqrt(q.size(-1))) @", "q @", "no scaling by sqrt(d_k)", PARITY),
    Mutant("attention.py", "(q / math.sqrt(q.size(-1)))", "(q / q.size(-1))", "scaling by d_k", PARITY),
    Mutant("attention.py", ".softmax(-1).masked_fill(~mask, 0.0)", ".softmax(-1)", "an empty query attends evenly", PROPERTIES),
    Mutant("attention.py", "dtype=torch.bool, device=device).tril()", "dtype=torch.bool, device=device).tril(1)", "the mask lets the next token through", PROPERTIES),
    Mutant("attention.py", "mask | ~some", "mask", "the fused kernel gets rows without any key", PARITY),
    Mutant("attention.py", "self.split_heads(k), self.split_heads(v)\n\n    def queries_keys", "self.split_heads(v), self.split_heads(k)\n\n    def queries_keys", "keys and values of the memory swapped", PARITY),
    Mutant("attention.py", "self.n_heads, -1).transpose(1, 2)", "-1, self.n_heads).permute(0, 3, 1, 2)", "heads cut across", PARITY),
    Mutant("attention.py", "x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)", "x.reshape(x.size(0), self.n_heads, x.size(1), -1)", "heads reshaped without transposing", PARITY),
    Mutant("layers.py", "centred.square().mean(-1, keepdim=True)", "centred.square().sum(-1, keepdim=True) / (x.size(-1) - 1)", "LayerNorm with Bessel's correction", PARITY),
    Mutant("layers.py", "self.norm(x + dropout(sublayer(x), self.dropout, self.training))", "x + self.norm(dropout(sublayer(x), self.dropout, self.training))", "the residual added after the norm", PARITY),
    Mutant("layers.py", 'config.norm == "pre"', 'config.norm == "post"', "pre-norm under the name of post-norm", PARITY),
    Mutant("layers.py", "self.w_2(self.w_1(x).relu())", "self.w_2(torch.nn.functional.gelu(self.w_1(x)))", "GELU for ReLU", PARITY),
    Mutant("layers.py", "self.cross_attention(y, memory, memory_mask, record", "self.cross_attention(y, memory, None, record", "padding of the source is attended to", PROPERTIES),
    Mutant("layers.py", "x + dropout(sublayer(self.norm(x)), self.dropout, self.training)", "x + sublayer(self.norm(x))", "no dropout in pre-norm", PROPERTIES),
    Mutant("model.py", "self.embedding(ids) * math.sqrt(self.config.d_model)", "self.embedding(ids)", "embeddings not scaled", PARITY),
    Mutant("model.py", "dropout(x, self.config.dropout, self.training)", "x", "no dropout of embeddings", PROPERTIES),
    Mutant("positional.py", "torch.arange(0, d_model, 2, dtype=torch.float64) / d_model", "torch.arange(0, d_model, 2, dtype=torch.float64) / 2 / d_model", "frequencies by i instead of 2i", PARITY),
    Mutant("positional.py", "table[:, 0::2] = angle.sin()", "table[:, 0::2] = angle.cos()", "cosine where sine belongs", PARITY),
    Mutant("loss.py", "loss.sum() / max(1, loss.numel())", "loss.sum() / max(1, counted.numel())", "the mean counts padding", PARITY),
    Mutant("loss.py", "1 - eps + eps / vocab_size, eps / vocab_size, eps / vocab_size", "1 - eps, eps / vocab_size, eps / vocab_size", "the right class lacks its share of the smoothing", PARITY),
    Mutant("loss.py", "other = eps / (vocab_size - 2)", "other = eps / (vocab_size - 1)", "padding counted among the others", PARITY),
    Mutant("loss.py", "max(1, loss.numel())", "loss.numel()", "no token, no number", PROPERTIES),
    Mutant("fused_loss.py", "other - right))", "-right))", "the gradient forgets the smoothing of the right class", PARITY),
    Mutant("fused_loss.py", "dweight += short_grad.T @ rows", "dweight = short_grad.T @ rows", "only the last block reaches the matrix", PARITY),
    Mutant("schedule.py", "step * self.warmup**-1.5", "step * self.warmup**-0.5", "warm-up too steep", PARITY),
    Mutant("batching.py", "rng.shuffle(order)\n", "pass\n", "every epoch the same batches", PROPERTIES),
    Mutant("batching.py", "(src + tgt) * (len(batch) + 1)", "(src + tgt) * len(batch)", "a batch above its budget", PROPERTIES),
    Mutant("incremental.py", "x = self.model.embed(tokens[:, None], self.time)", "x = self.model.embed(tokens[:, None])", "every cached token at position 0", DECODE),
    Mutant("incremental.py", "torch.index_select(old[: self.time], 1, rows, out=new[: self.time])", "new[: self.time] = old[: self.time, : len(rows)]", "the cache is not reordered", DECODE),
    Mutant("incremental.py", "seen = slice(0, self.time + 1)", "seen = slice(0, max(1, self.time))", "a token does not see itself", DECODE),
    Mutant("decode.py", "log_p[:, 0] = 0.0  # all", "log_p[:, :] = 0.0  # all", "all beams alike", DECODE),
    Mutant("decode.py", "torch.tensor(float(state.time), device=top.device), alpha, rule)", "torch.tensor(float(state.time - 1), device=top.device).clamp(min=1), alpha, rule)", "the length does not count the end token", DECODE),
    Mutant("decode.py", "((5.0 + length) / 6.0", "(length / 6.0", "another length penalty", DECODE),
    Mutant("decode.py", "parents = parents.gather(1, order)", "parents = parents[:, : order.size(1)]", "parents of the wrong hypotheses", DECODE),
    Mutant("decode.py", "pool.sort(key=lambda h: -h[1])", "pool.sort(key=lambda h: h[1])", "the worst are kept", DECODE),
    Mutant("train.py", "self.schedule(progress.step + 1)", "self.schedule(max(1, progress.step))", "the schedule lags by a step", TRAINING),
    Mutant("train.py", "loss * (self.world / n_targets)", "loss * (self.world / sum(len(self.pairs[i][1]) - 1 for i in batch) / len(batches))", "accumulation by mean of means", TRAINING),
    Mutant("train.py", 'torch.set_rng_state(state["random"])', "pass", "dropout differs after resuming", TRAINING),
    Mutant("train.py", "batches[self.progress.used :]", "batches", "a resumed epoch begins anew", TRAINING),
    Mutant("train.py", "self.model.eval()\n        evaluate", "evaluate", "validation with dropout", TRAINING),
    Mutant("train.py", "loss * (self.world / n_targets)", "loss / n_targets", "gradients of several processes averaged", TRAINING),
    Mutant("vocab.py", "return [FIRST + i for i in self.tokenizer", "return [i for i in self.tokenizer", "subwords take the ids of the signs", TEXT),
]  # fmt: skip
