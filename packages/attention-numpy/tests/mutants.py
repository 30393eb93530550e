"""The mistakes that people make in this paper, one line of code each: the suite must detect every one."""

from mutation import Mutant

NAMES = ("parity", "gradients", "layers", "stability", "optim", "generate", "properties", "training", "page")
P, G, L, S, A, D, R, T, V = (f"test_{name}.py" for name in NAMES)

MUTANTS = [
    # attention
    Mutant(
        "functional.py",
        "dx: Array = np.subtract(dp, np.vecdot(dp, p)[..., None], out=out)\n    dx *= p",
        "dx: Array = np.subtract(dp, np.vecdot(dp, p)[..., None], out=out)\n    dx *= p / len(p)",
        "softmax gradient divided by the batch size",
        G,
    ),
    Mutant(
        "functional.py",
        "np.subtract(dp, np.vecdot(dp, p)[..., None], out=out)",
        "np.subtract(dp, dp * p, out=out)",
        "only the diagonal of the softmax Jacobian",
        G,
    ),
    Mutant("functional.py", "total[total == 0] = 1", "", "a fully masked row divides 0 by 0", S),
    Mutant("functional.py", "    if not safe:", "    if False:", "no maximum subtracted before exp", S),
    Mutant("functional.py", "shift[np.isneginf(shift)] = 0", "", "-inf minus -inf in a masked row", S),
    Mutant(
        "attention.py",
        "scores *= scores.dtype.type(1 / math.sqrt(q.shape[-1]))",
        "",
        "no scaling by 1 / sqrt(d_k)",
        L,
    ),
    Mutant(
        "attention.py",
        "scores *= scores.dtype.type(1 / math.sqrt(q.shape[-1]))",
        "scores *= scores.dtype.type(1 / math.sqrt(q.shape[-1] * q.shape[1]))",
        "scaling by d_model instead of d_k",
        L,
    ),
    Mutant(
        "attention.py",
        "ds *= ds.dtype.type(1 / math.sqrt(q.shape[-1]))",
        "",
        "scale forgotten on the way back",
        G,
    ),
    Mutant(
        "attention.py",
        "np.matmul(dropped.swapaxes(-1, -2), do, out=dv)",
        "np.matmul(p.swapaxes(-1, -2), do, out=dv)",
        "dV from the weights before dropout",
        G,
    ),
    Mutant("attention.py", "dropout.backward(ds, out=ds)", "pass", "dropout of the weights not undone", G),
    Mutant(
        "attention.py",
        "k, v = self._project(memory, slice(d_model, None))\n        heads",
        "k, v = self._project(x, slice(d_model, None))\n        heads",
        "cross-attention to the decoder's own values",
        L,
    ),
    Mutant(
        "attention.py",
        "split[:, :, i].transpose(0, 2, 1, 3)",
        "split[:, :, i].reshape(batch, self.n_heads, time, -1)",
        "heads split by reshape alone",
        L,
    ),
    Mutant(
        "model.py",
        "np.tril(np.ones((time, time), bool))",
        "np.tril(np.ones((time, time), bool), 1)",
        "causal mask shifted",
        L,
    ),
    Mutant(
        "model.py", "(ids != pad_id)[:, None, None, :]", "(ids != pad_id)[:, None, :, None]", "key mask on queries", L
    ),
    Mutant(
        "model.py",
        "x = self.decoder.forward(x, memory, mask, padding_mask(src, self.config.pad_id), intermediates)",
        "x = self.decoder.forward(x, memory, mask, None, intermediates)",
        "source padding attended to by the decoder",
        L,
    ),
    # LayerNorm
    Mutant(
        "layers.py",
        "ones, gamma_mean = np.ones(len(rows), dy.dtype), gamma / len(gamma)",
        "ones, gamma_mean = np.ones(len(rows), dy.dtype), np.ones_like(gamma) / len(gamma)",
        "gamma outside the sums of LayerNorm's gradient",
        G,
    ),
    Mutant("layers.py", "inverse_std /= d_model\n", "inverse_std /= d_model - 1\n", "Bessel's correction", S),
    Mutant("layers.py", "            inverse_std += np.asarray(eps, rows.dtype)\n", "", "no eps in LayerNorm", S),
    Mutant("layers.py", "        dx -= mean_g[:, None]\n", "", "mean's path forgotten in LayerNorm's gradient", G),
    Mutant(
        "layers.py", "self.weight.grad += ones @ product", "self.weight.grad += ones @ rows", "dgamma without x_hat", G
    ),
    # dropout
    Mutant(
        "layers.py",
        "keep, shape, dtype = self.pop_saved()",
        "keep, shape, dtype = self._saved.pop(0)",
        "dropout mask of the wrong call",
        L,
    ),
    Mutant("layers.py", "y *= x.dtype.type(1 / (1 - self.p))", "", "dropout without 1 / (1 - p)", L),
    Mutant("layers.py", "if not self.training or self.p == 0:", "if self.p == 0:", "dropout while evaluating", L),
    Mutant(
        "blocks.py",
        "return dsum, dropout.backward(dsum)",
        "return dsum, dsum",
        "residual dropout not undone",
        P,
    ),
    # linear maps, embeddings, positions
    Mutant("layers.py", "dweight += rows.T @ x_rows", "dweight[...] = rows.T @ x_rows", "gradients do not add up", G),
    Mutant(
        "layers.py", "dbias += np.ones(len(rows), dy.dtype) @ rows", "dbias += rows[0]", "bias gradient of one row", G
    ),
    Mutant(
        "functional.py",
        "np.add.at(dw.reshape(-1), flat, dx.reshape(-1))",
        "dw.reshape(-1)[flat] += dx.reshape(-1)",
        "repeated ids counted once",
        G,
    ),
    Mutant("layers.py", "x *= x.dtype.type(math.sqrt(x.shape[-1]))", "", "embeddings not scaled", L),
    Mutant(
        "layers.py",
        "x *= x.dtype.type(math.sqrt(x.shape[-1]))",
        "x = x * np.sqrt(np.float64(x.shape[-1]))",
        "float32 promoted to float64",
        S,
    ),
    Mutant("layers.py", "10000.0 **", "1000.0 **", "base of the positional encoding", L),
    Mutant(
        "layers.py",
        "table[:, 1::2] = np.cos(angle[:, : d_model // 2])",
        "table[:, 1::2] = np.sin(angle[:, : d_model // 2])",
        "no cosines",
        L,
    ),
    Mutant(
        "layers.py",
        "self.save_for_backward(y > 0, x.dtype)",
        "self.save_for_backward(y >= 0, x.dtype)",
        "ReLU lets everything back",
        G,
    ),
    # the model
    Mutant(
        "model.py",
        "self.tgt_embed.weight = self.generator.weight = self.src_embed.weight",
        "self.tgt_embed.weight = self.src_embed.weight",
        "output matrix not tied",
        L,
    ),
    Mutant(
        "layers.py",
        "scatter_rows(ids.reshape(-1), scaled, self.weight.grad)",
        "self.weight.grad[...] = 0; scatter_rows(ids.reshape(-1), scaled, self.weight.grad)",
        "tied gradients not added",
        L,
    ),
    Mutant(
        "blocks.py", "                dmemory += dm", "                dmemory = dm", "memory's gradients not added", P
    ),
    Mutant("blocks.py", "        dx += dsum\n", "", "residual connection without its gradient", G),
    Mutant(
        "blocks.py",
        "return y if self.pre else norm.forward(y)",
        "return norm.forward(y) if self.pre else y",
        "post-norm and pre-norm confused",
        P,
    ),
    # loss
    Mutant(
        "loss.py",
        "weight = counted.astype(logits.dtype) / dtype(count)",
        "weight = counted.astype(logits.dtype) / dtype(len(y))",
        "mean over padding too",
        P,
    ),
    Mutant(
        "loss.py",
        "z -= (weight * dtype(eps / vocab))[:, None]",
        "z -= dtype(eps / vocab / count)",
        "smoothing over padding",
        P,
    ),
    Mutant("loss.py", "weight * dtype(1 - eps)", "weight", "smoothed target counts fully in the gradient", P),
    # optimizers and schedules
    Mutant("optim.py", "(1 - b1**self.t)", "(1 - b1**(self.t + 1))", "bias correction with the wrong t", A),
    Mutant("optim.py", "c = math.sqrt(1 - b2**self.t)", "c = 1.0", "no bias correction of the second moment", A),
    Mutant("optim.py", "u += real(self.eps * c)", "u += real(self.eps)", "eps inside the bias correction", A),
    Mutant(
        "optim.py",
        "        self.t += 1\n",
        "        self.t += len(self.parameters.named)\n",
        "schedule counted per tensor",
        A,
    ),
    Mutant("optim.py", "step * warmup_steps**-1.5)", "step * warmup_steps**-0.5)", "warm-up exponent", A),
    Mutant("optim.py", "w *= real(1 - lr * self.weight_decay)", "g += real(self.weight_decay) * w", "AdamW as L2", A),
    Mutant("optim.py", "w.dtype.type(self.momentum)", "w.dtype.type(1 - self.momentum)", "momentum of 1 - momentum", A),
    Mutant("optim.py", "if 0 < max_norm < norm:", "if norm < max_norm:", "clips the small and not the large", A),
    # decoding
    Mutant("generate.py", "start=self.position)", "start=0)", "every new token at position 0", D),
    Mutant("cache.py", "        self.length += 1\n", "", "cache overwritten", D),
    Mutant(
        "generate.py",
        "((5 + length) / 6) ** alpha if",
        "((5 + length) / 6) ** -alpha if",
        "length penalty upside down",
        D,
    ),
    Mutant("generate.py", "state.reorder(parents)", "pass", "beam without reordering its cache", D),
    Mutant(
        "generate.py",
        "            state.reorder(np.flatnonzero(unfinished))\n",
        "",
        "ended sequences stay in the cache",
        D,
    ),
    # silent faults
    Mutant(
        "functional.py", "ids.astype(np.intp)[:, None]", "ids[:, None]", "positions computed in the dtype of the ids", R
    ),
    Mutant("layers.py", "rows - rows[:, :1]", "rows.copy()", "constant rows not normalized to zero", R),
    Mutant("checks.py", "or mask.dtype != np.bool_", "", "additive masks taken for boolean ones", R),
    Mutant("loss.py", "        z[~counted] = 0\n", "        pass\n", "NaN at ignored positions enters the loss", R),
    Mutant(
        "functional.py", "np.fmin(np.abs(x), x.dtype", "np.minimum(np.abs(x), x.dtype", "NaN used as a table index", R
    ),
    Mutant(
        "module.py",
        "return ParameterVector, (self.named,)",
        "return object.__reduce_ex__(self, 4)",
        "copied views detached from their vector",
        R,
    ),
    Mutant(
        "generate.py",
        "for i in {model.config.pad_id, bos_id} if",
        "for i in {model.config.pad_id} if",
        "bos_id generated",
        R,
    ),
    Mutant(
        "train.py",
        '            checkpoint.set_rng_state(self.model.rng, state["model_rng"])\n',
        "",
        "dropout masks not resumed",
        T,
    ),
    Mutant(
        "train.py",
        "            writer.truncate(self.step_number)\n",
        "",
        "metrics after the checkpoint kept on resume",
        T,
    ),
    # textbook
    Mutant(
        "textbook.py",
        "dx: Array = p * (dp - (dp * p).sum(-1, keepdims=True))",
        "dx: Array = p * (dp - dp * p)",
        "textbook: only the diagonal of the softmax Jacobian",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])",
        "scores = q @ k.swapaxes(1, 2)",
        "textbook: no scaling by sqrt(d_k)",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "dx = (d_x_hat - through_mean - through_std) / std",
        "dx = (d_x_hat - through_mean) / std",
        "textbook: the standard deviation taken as constant",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "dmemory += dm\n",
        "dmemory = dm\n",
        "textbook: only one decoder layer's gradient reaches the encoder",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "dx = dsum + dquery + dkeys  # x was query, key and value",
        "dx = dsum + dquery",
        "textbook: self-attention without the gradient of its keys",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "dweight[ids[b, t]] += ",
        "dweight[ids[b, t]] = ",
        "textbook: a repeated id counts once",
        "test_textbook.py",
    ),
    Mutant(
        "textbook.py",
        "    if not mask.any(-1).all():",
        "    if False:",
        "textbook: a row without keys gives NaN",
        "test_textbook.py",
    ),
    # the page
    Mutant(
        "page.py",
        '"embedding_scale": math.sqrt(config.d_model)',
        '"embedding_scale": 1',
        "the page does not scale embeddings",
        V,
    ),
    Mutant("page.js", "if (score > best.score)", "if (score >= -Infinity)", "the last hypothesis wins", V),
    Mutant("page.js", "      open -= 1;\n", "", "a finished hypothesis frees its place in the beam", V),
    Mutant(
        "_common/live_model.js",
        '"norm2", x, (h) => this.attention("cross_attn"',
        '"norm3", x, (h) => this.attention("cross_attn"',
        "norms exchanged",
        V,
    ),
]
