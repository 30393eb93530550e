"""One-line faults that people make in a GPT; the suite has to notice each (`nox -s "mutants(lets-build-gpt)"`)."""

from mutation import Mutant

PARITY, PROPERTIES, TRAINING = "test_parity.py", "test_properties.py", "test_training.py"

# fmt: off
MUTANTS = [
    Mutant("model.py", "alpha=1 / math.sqrt(d_k)", "alpha=1.0", "scores not scaled by sqrt(d_k)", PARITY),
    Mutant("model.py", "k.transpose(-2, -1) / math.sqrt(k.shape[-1])", "k.transpose(-2, -1)", "head not scaled", PARITY),
    Mutant("model.py", ".triu(keys - queries + 1)", ".triu(keys - queries + 2)", "mask shifted: sees the future", PARITY),
    Mutant("model.py", ".triu(keys - queries + 1)", ".triu(1)", "mask of cached keys from the wrong corner", PARITY),
    Mutant("model.py", "masked_fill(~may_attend", "masked_fill(may_attend", "inverted mask", PARITY),
    Mutant("model.py", "weights = torch.softmax(scores, dim=-1)", "weights = torch.softmax(scores, dim=-2)", "softmax over queries", PARITY),
    Mutant("model.py", "out.transpose(1, 2).reshape", "out.reshape", "heads concatenated across tokens", PARITY),
    Mutant("model.py", "self.qkv.weight.detach().split(d_model)", "self.qkv.weight.detach().split(d_k)", "heads read from the wrong rows", PARITY),
    Mutant("model.py", "x = x + self.dropout(self.attention(self.norm_1(x), cache, weights_out))", "x = self.norm_1(x + self.dropout(self.attention(x, cache, weights_out)))", "post-norm under the name of pre-norm", PARITY),
    Mutant("model.py", "return x + self.dropout(self.ffn(self.norm_2(x)))", "return self.dropout(self.ffn(self.norm_2(x)))", "no residual around the feed-forward layer", PARITY),
    Mutant("model.py", "return self.head(self.norm(x))", "return self.head(x)", "no final norm", PARITY),
    Mutant("model.py", "0.02 / math.sqrt(2 * n_layers) if", "0.02 / math.sqrt(n_layers) if", "residual initialisation forgets one branch", PARITY),
    Mutant("model.py", 'F.gelu(wide) if self.activation == "gelu"', 'F.relu(wide) if self.activation == "gelu"', "gelu is a relu", PARITY),
    Mutant("model.py", "self.position_embedding.weight[start:end]", "self.position_embedding.weight[: end - start]", "cached tokens at the wrong positions", PROPERTIES),
    Mutant("model.py", "self.p_dropout if self.training else 0.0", "self.p_dropout", "dropout on attention weights at inference", PROPERTIES),
    Mutant("model.py", "kept = dropout(weights, p_dropout) if p_dropout else weights", "kept = weights", "no dropout on attention weights", PROPERTIES),
    Mutant("dropout.py", "2**16 / (2**16 - dropped)", "1.0", "dropout that does not scale what it keeps", PROPERTIES),
    Mutant("dropout.py", "bits >= dropped", "bits < dropped", "dropout that keeps what it should drop", PROPERTIES),
    Mutant("cache.py", "values[:, :, self.length : end] = v", "values[:, :, self.length : end] = k", "cache keeps keys as values", PROPERTIES),
    Mutant("generate.py", "                cache.clear()", "                pass", "stale cache after the context is cut", PROPERTIES),
    Mutant("generate.py", "[:, -1]\n", "[:, 0]\n", "next token from the first logits", PROPERTIES),
    Mutant("generate.py", "logits < threshold", "logits <= threshold", "top_k drops the k-th", PROPERTIES),
    Mutant("generate.py", "logits.float() / temperature", "logits.float() * temperature", "temperature the wrong way round", PROPERTIES),
    Mutant("data.py", "ids[1 : end + 1]", "ids[:end]", "validation targets not moved", PROPERTIES),
    Mutant("data.py", "tokens[:, 1:].contiguous()", "tokens[:, :-1].contiguous()", "training targets not moved", PROPERTIES),
    Mutant("data.py", "+ 7919 * epoch", "", "every epoch in the same order", PROPERTIES),
    Mutant("evaluate.py", "* y.numel()", "* len(x)", "validation loss not a mean over tokens", PROPERTIES),
    Mutant("bigram.py", "ids[:-1] * n_vocab + ids[1:]", "ids[1:] * n_vocab + ids[:-1]", "bigrams backwards", PROPERTIES),
    Mutant("muon.py", "max(1.0, p.shape[0] / p.shape[1])", "max(1.0, p.shape[1] / p.shape[0])", "Muon scales by the wrong side", PARITY),
    Mutant("muon.py", "p.grad.lerp(state", "state[\"momentum\"].lerp(state", "Muon without Nesterov", PARITY),
    Mutant("train.py", "1_000_003 * self.step", "1_000_003 * torch.initial_seed()", "dropout after a resume is another", TRAINING),
    Mutant("train.py", 'self.step, self.val_loss = checkpoint["step"]', 'self.step, self.val_loss = 0', "a resume starts from step 0", TRAINING),
    Mutant("train.py", "optimizer.load_state_dict(state)", "pass", "a resume forgets the momentum", TRAINING),
    Mutant("train.py", 'json.loads(line)["step"] <= self.step]', 'json.loads(line)]', "a resume logs steps twice", TRAINING),
]
