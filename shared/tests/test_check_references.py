"""The references that learners are compared with equal PyTorch, transformers, tokenizers, tiktoken and subword-nmt."""

import io
import random

import numpy as np
import pytest
import torch
from dlpapers_shared.check import engine
from dlpapers_shared.check.reference import attention, block, bpe, loss, transformer
from dlpapers_shared.check.subjects import adam, positions, sampling, schedule
from torch.nn import functional as F

SEEDS = range(8)


def tensor(array):
    return torch.from_numpy(np.asarray(array))


def assert_close(ours, theirs, tolerance=1e-10):
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def sampled_attention(seed):
    rng = np.random.default_rng(seed)
    batch, queries, keys, d_k, d_v = rng.integers(1, 7, 5)
    q, k, v = (
        rng.normal(size=(batch, queries, d_k)),
        rng.normal(size=(batch, keys, d_k)),
        rng.normal(size=(batch, keys, d_v)),
    )
    mask = rng.random((queries, keys)) < 0.6
    mask[:, 0] = True
    return q, k, v, mask, rng.normal(size=(batch, queries, d_v))


@pytest.mark.parametrize("seed", SEEDS)
def test_attention_and_its_gradients_equal_torch(seed):
    q, k, v, mask, upstream = sampled_attention(seed)
    tensors = [tensor(a).requires_grad_() for a in (q, k, v)]
    theirs = F.scaled_dot_product_attention(*tensors, attn_mask=tensor(mask))
    assert_close(attention.reference(q, k, v, mask), theirs)
    gradients = torch.autograd.grad(theirs, tensors, tensor(upstream))
    for mine, right in zip(attention.backward(upstream, q, k, v, mask), gradients, strict=True):
        assert_close(mine, right, 1e-9)
    complex_step = engine.gradients(attention.reference, {"q": q, "k": k, "v": v, "mask": mask}, upstream, "qkv")
    for mine, right in zip(complex_step.values(), gradients, strict=True):
        assert_close(mine, right, 1e-9)


def test_a_query_that_may_attend_to_nothing_gives_zeros():
    q, k, v, mask, _ = sampled_attention(3)
    mask[0] = False
    assert (attention.reference(q, k, v, mask)[:, 0] == 0).all()


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_a_block_with_cross_attention_and_all_gradients_equal_torch(norm, act):
    torch.manual_seed(0)
    layer = torch.nn.TransformerDecoderLayer(
        8, 2, 12, dropout=0.0, activation=act, norm_first=norm == "pre", batch_first=True
    ).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    named = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(2, 5, 8)), "memory": rng.normal(size=(2, 3, 8))}

    def heads(w, name):
        qkv = np.split(w[f"{name}.in_proj_weight"], 3)
        bias = np.split(w[f"{name}.in_proj_bias"], 3)
        parts = {"w" + r: m.T for r, m in zip("qkv", qkv, strict=True)} | {
            "b" + r: b for r, b in zip("qkv", bias, strict=True)
        }
        return parts | {"wo": w[f"{name}.out_proj.weight"].T, "bo": w[f"{name}.out_proj.bias"]}

    def ours(x, memory, **w):
        norms = [(w[f"norm{i}.weight"], w[f"norm{i}.bias"]) for i in (1, 2, 3)]
        ffn = (w["linear1.weight"].T, w["linear1.bias"], w["linear2.weight"].T, w["linear2.bias"])
        weights = block.Weights([heads(w, "self_attn"), heads(w, "multihead_attn")], norms, ffn)
        return block.block(x, weights, 2, norm=norm, act=act, eps=1e-5, memory=memory)

    tensors = {name: tensor(value).requires_grad_() for name, value in inputs.items()}
    mask = torch.ones(5, 5).triu(1).bool()
    theirs = layer(tensors["x"], tensors["memory"], tgt_mask=mask)
    assert_close(ours(**inputs, **named), theirs)
    upstream = rng.normal(size=(2, 5, 8))
    wanted = {**tensors, **dict(layer.named_parameters())}
    right = torch.autograd.grad(theirs, list(wanted.values()), tensor(upstream))
    mine = engine.gradients(ours, {**inputs, **named}, upstream, wanted)
    for name, gradient in zip(wanted, right, strict=True):
        assert_close(mine[name], gradient, 1e-9)


@pytest.mark.parametrize("name", block.ACTIVATIONS)
def test_activations_and_their_derivatives_equal_torch(name):
    x = np.linspace(-4, 4, 33)
    theirs = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"), "silu": F.silu}[
        name
    ]
    given = tensor(x).requires_grad_()
    assert_close(transformer.activation(x, name), theirs(given))
    gradient = torch.autograd.grad(theirs(given).sum(), given)[0]
    mine = engine.gradients(lambda x: transformer.activation(x, name), {"x": x}, np.ones(33), "x")["x"]
    keep = x != 0  # ReLU has no derivative there
    assert_close(mine[keep], gradient.numpy()[keep])


@pytest.mark.parametrize("seed", SEEDS)
def test_layer_norm_and_its_gradients_equal_torch(seed):
    rng = np.random.default_rng(seed)
    width = int(rng.integers(2, 9))
    x, gamma, beta, dy = (
        rng.normal(size=(3, 4, width)),
        rng.normal(size=width),
        rng.normal(size=width),
        rng.normal(size=(3, 4, width)),
    )
    tensors = [tensor(a).requires_grad_() for a in (x, gamma, beta)]
    theirs = F.layer_norm(tensors[0], (width,), tensors[1], tensors[2], 1e-3)
    assert_close(transformer.layer_norm(x, gamma, beta, 1e-3), theirs)
    right = torch.autograd.grad(theirs, tensors, tensor(dy))
    for mine, gradient in zip(transformer.layer_norm_backward(dy, x, gamma, beta, 1e-3), right, strict=True):
        assert_close(mine, gradient, 1e-9)


def test_positional_encoding_equals_that_of_marian():
    """Marian has all sines first: its columns are ours in another order."""
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    marian = MarianSinusoidalPositionalEmbedding(40, 12)
    theirs = marian.create_weight() if hasattr(marian, "create_weight") else marian.weight
    ours = positions.reference(40, 12)
    assert_close(np.concatenate([ours[:, 0::2], ours[:, 1::2]], axis=1), theirs, 1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_cross_entropy_and_label_smoothing_equal_torch(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits, targets = 3 * rng.normal(size=(5, 7)), rng.integers(0, 7, 5)
    given = tensor(logits).requires_grad_()
    theirs = F.cross_entropy(given, tensor(targets), label_smoothing=smoothing)
    assert_close(loss.cross_entropy(logits, targets, smoothing), theirs)
    assert_close(loss.cross_entropy_gradient(logits, targets, smoothing), torch.autograd.grad(theirs, given)[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_gradient_equal_torch(axis):
    rng = np.random.default_rng(axis + 1)
    x, dp = 50 * rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    given = tensor(x).requires_grad_()
    theirs = given.softmax(axis)
    assert_close(loss.softmax(x, axis), theirs)
    if axis == -1:
        assert_close(loss.softmax_backward(dp, loss.softmax(x)), torch.autograd.grad(theirs, given, tensor(dp))[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_adam_equals_torch(seed):
    rng = np.random.default_rng(seed)
    w, grads = rng.normal(size=5), rng.normal(size=(20, 5))
    parameter = torch.nn.Parameter(tensor(w.copy()))
    optimizer = torch.optim.Adam([parameter], lr=0.03, betas=(0.8, 0.95), eps=1e-4)
    theirs = []
    for g in grads:
        parameter.grad = tensor(g.copy())
        optimizer.step()
        theirs.append(parameter.detach().numpy().copy())
    assert_close(adam.reference(w, grads, 0.03, 0.8, 0.95, 1e-4), np.array(theirs))


@pytest.mark.parametrize(("d_model", "warmup_steps"), [(512, 4000), (16, 4), (64, 1)])
def test_schedule_equals_that_of_transformers(d_model, warmup_steps):
    """transformers' inverse square root schedule, with the peak of Eq. (3) as its learning rate."""
    from transformers import get_inverse_sqrt_schedule

    peak = (d_model * warmup_steps) ** -0.5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    theirs = get_inverse_sqrt_schedule(optimizer, warmup_steps).lr_lambdas[0]
    for step in (1, 2, 3, 4, 5, 100, 3999, 4000, 4001, 50_000):
        assert schedule.reference(step, d_model, warmup_steps) == pytest.approx(peak * theirs(step), rel=1e-12)


def sampled_words(rng, count=40):
    words = ["".join(rng.choices("abcde", k=rng.randint(1, 7))) for _ in range(count)]
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def test_encoding_equals_tiktoken():
    import tiktoken

    rng = random.Random(0)
    for seed in range(20):
        words = sampled_words(random.Random(seed))
        merges = bpe.train({w.encode(): n for w, n in words.items()}, 30)
        ranks = {}
        for i, token in enumerate(bpe.vocabulary(merges)):
            ranks.setdefault(token, i)
        if len(ranks) < 256 + len(merges):
            continue  # two merges that give the same bytes: ranks cannot express that
        theirs = tiktoken.Encoding("x", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens={})
        for _ in range(30):
            text = "".join(rng.choices("abcdeé", k=rng.randint(1, 20)))
            expected = theirs.encode(text)
            tokens = [bpe.vocabulary(merges)[i] for i in bpe.encode(text, merges)]
            if text.encode() not in ranks:  # tiktoken looks whole pre-tokens up first
                assert tokens == theirs.decode_tokens_bytes(expected)


def test_training_with_ties_by_ids_equals_hugging_face():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    for seed in range(20):
        words = sampled_words(random.Random(seed))
        theirs = Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.BpeTrainer(vocab_size=len(set("".join(words))) + 20, show_progress=False)
        theirs.train_from_iterator([" ".join([word] * n) for word, n in words.items()], trainer)
        vocabulary = theirs.get_vocab()
        expected = sorted((i, t) for t, i in vocabulary.items())[len(set("".join(words))) :]
        ours = bpe.train({w.encode(): n for w, n in words.items()}, len(expected), ties="ids")
        tokens = [bpe.vocabulary(ours)[256 + k].decode() for k in range(len(ours))]
        assert tokens[: len(expected)] == [t for _, t in expected]


def test_training_with_ties_by_first_occurrence_equals_the_educational_tiktoken():
    from tiktoken._educational import bpe_train

    for seed in range(20):
        words = sampled_words(random.Random(seed), 12)
        text = " ".join(word for word, n in words.items() for _ in range(n))
        theirs = bpe_train(text, 256 + 15, r"\S+", visualise=None)  # wording: quoted
        ours = bpe.train({w.encode(): n for w, n in words.items()}, 15)
        assert bpe.vocabulary(ours)[256:] == [t for t, i in sorted(theirs.items(), key=lambda item: item[1]) if i > 255]


def test_training_with_ties_by_bytes_equals_subword_nmt():
    """subword-nmt marks the last character of a word; "." only ends words, so the mark changes nothing."""
    from subword_nmt.learn_bpe import learn_bpe

    for seed in range(20):
        words = {word + ".": n for word, n in sampled_words(random.Random(seed), 60).items()}
        out = io.StringIO()
        learn_bpe(io.StringIO(" ".join(w for w, n in words.items() for _ in range(n))), out, 25, min_frequency=2)
        theirs = [tuple(line.replace("</w>", "").split()) for line in out.getvalue().split("\n")[1:] if line]
        merges = bpe.train({w.encode(): n for w, n in words.items()}, len(theirs), ties="bytes")
        tokens = bpe.vocabulary(merges)
        assert [(tokens[a].decode(), tokens[b].decode()) for a, b in merges] == theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_sampling_filters_equal_those_of_transformers(seed):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(4, 11))
    for k in (1, 4, 11, 50):
        assert_close(sampling.reference_top_k(logits, k), TopKLogitsWarper(k)(None, tensor(logits)))
    for p in (0.01, 0.4, 0.9, 0.999):
        assert_close(sampling.reference_top_p(logits, p), TopPLogitsWarper(p)(None, tensor(logits)))
    for value in (0.3, 1.0, 2.5):
        assert_close(
            sampling.reference_temperature(logits, value), TemperatureLogitsWarper(value)(None, tensor(logits))
        )
