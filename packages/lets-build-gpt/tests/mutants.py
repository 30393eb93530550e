"""Mistakes that people make in a GPT, one line of code each; the suite detects all (nox session mutants)."""

from mutation import Mutant

PARITY, PROPERTIES, TRAINING = "test_parity.py", "test_properties.py", "test_training.py"

# fmt: off
MUTANTS = [
    Mutant("attention.py", "alpha=1 / math.sqrt(d_k)", "alpha=1.0", "scores not scaled by sqrt(d_k)", PARITY),
    Mutant("attention.py", "k.transpose(-2, -1) / math.sqrt(k.shape[-1])", "k.transpose(-2, -1)", "head not scaled", PARITY),
    Mutant("attention.py", ".triu(keys - queries + 1)", ".triu(keys - queries + 2)", "mask shifted: attends to the next token", PARITY),
    Mutant("attention.py", ".triu(keys - queries + 1)", ".triu(1)", "mask of cached keys from the wrong corner", PARITY),
    Mutant("attention.py", "masked_fill(~may_attend", "masked_fill(may_attend", "inverted mask", PARITY),
    Mutant("attention.py", "weights = torch.softmax(scores, dim=-1)", "weights = torch.softmax(scores, dim=-2)", "softmax over queries", PARITY),
    Mutant("attention.py", "out.transpose(1, 2).reshape", "out.reshape", "heads concatenated across tokens", PARITY),
    Mutant("attention.py", "self.qkv.weight.detach().split(d_model)", "self.qkv.weight.detach().split(d_k)", "heads read from the wrong rows", PARITY),
    Mutant("layers.py", "x = x + self.dropout(self.self_attn(self.norm1(x), cache, intermediates))", "x = self.norm1(x + self.dropout(self.self_attn(x, cache, intermediates)))", "post-norm instead of pre-norm", PARITY),
    Mutant("layers.py", "return x + self.dropout(self.ffn(self.norm2(x)))", "return self.dropout(self.ffn(self.norm2(x)))", "no residual connection around the feed-forward layer", PARITY),
    Mutant("model.py", "logits = self.head(self.norm(x))", "logits = self.head(x)", "no final norm", PARITY),
    Mutant("model.py", "0.02 / math.sqrt(2 * n_layers) if", "0.02 / math.sqrt(n_layers) if", "residual initialization counts one branch per block", PARITY),
    Mutant("layers.py", 'F.gelu(hidden) if self.activation == "gelu"', 'F.relu(hidden) if self.activation == "gelu"', "gelu is a relu", PARITY),
    Mutant("model.py", "self.position_embedding.weight[start:end]", "self.position_embedding.weight[: end - start]", "cached tokens at the wrong positions", PROPERTIES),
    Mutant("attention.py", "self.p_dropout if self.training else 0.0", "self.p_dropout", "dropout on attention weights at inference", PROPERTIES),
    Mutant("attention.py", "kept = dropout(weights, p_dropout) if p_dropout else weights", "kept = weights", "no dropout on attention weights", PROPERTIES),
    Mutant("dropout.py", "2**16 / (2**16 - dropped)", "1.0", "dropout that does not rescale", PROPERTIES),
    Mutant("dropout.py", "bits >= dropped", "bits < dropped", "dropout that keeps what it should drop", PROPERTIES),
    Mutant("cache.py", "values[:, :, self.length : end] = v", "values[:, :, self.length : end] = k", "cache stores keys as values", PROPERTIES),
    Mutant("cache.py", "(k[rows], v[rows])", "(k[rows], v)", "a reordered cache keeps the old values", PROPERTIES),
    Mutant("generate.py", "                    cache.reset()", "                    pass", "stale cache after a context shift", PROPERTIES),
    Mutant("generate.py", "cache=cache)[:, -1]\n", "cache=cache)[:, 0]\n", "next token from the first logits", PROPERTIES),
    Mutant("generate.py", "logits < threshold", "logits <= threshold", "top_k drops the k-th", PROPERTIES),
    Mutant("generate.py", "logits.float() / max(temperature, MIN_TEMPERATURE)", "logits.float() * max(temperature, MIN_TEMPERATURE)", "multiplies by the temperature", PROPERTIES),
    Mutant("generate.py", "length = start.shape[1] + max_new_tokens", "length = max_new_tokens", "max_new_tokens counts the prompt", PROPERTIES),
    Mutant("data.py", "ids[1 : end + 1]", "ids[:end]", "validation targets not shifted", PROPERTIES),
    Mutant("data.py", "tokens[:, 1:].contiguous()", "tokens[:, :-1].contiguous()", "training targets not shifted", PROPERTIES),
    Mutant("data.py", "+ 7919 * epoch", "", "every epoch in the same order", PROPERTIES),
    Mutant("evaluate.py", "* y.numel()", "* len(x)", "validation loss not a mean over tokens", PROPERTIES),
    Mutant("bigram.py", "ids[:-1] * vocab_size + ids[1:]", "ids[1:] * vocab_size + ids[:-1]", "bigrams backwards", PROPERTIES),
    Mutant("_common/muon.py", "max(1.0, rows / columns)", "max(1.0, columns / rows)", "Muon scales by the wrong side", PARITY),
    Mutant("_common/muon.py", "return parameter.grad.lerp(state", "return state[\"momentum_buffer\"].lerp(state", "Muon without Nesterov", PARITY),
    Mutant("train.py", "1_000_003 * done", "1_000_003 * torch.initial_seed()", "dropout differs after a resume", TRAINING),
    Mutant("train.py", "self.state = load_training_state(path,", "load_training_state(path,", "a resumed run starts from step 0", TRAINING),
    Mutant("checkpoint.py", '{"state": values, "param_groups"', '{"state": {}, "param_groups"', "a resumed run loses the momentum", TRAINING),
    Mutant("train.py", "self.metrics.truncate(self.state.step)", "pass", "a resumed run logs steps twice", TRAINING),
    Mutant("train.py", "value < state.best_val_loss", "value > state.best_val_loss", "the worst checkpoint is kept as the best", TRAINING),
    Mutant("train.py", "if self.state.best_step in (None, self.state.step):", "if True:", "the last weights replace the best ones", TRAINING),
]
