"""Equal to torch.nn.Transformer and torch's autograd in float64: logits, loss and every gradient."""

import json

import numpy as np
import pytest
import torch
from attention_numpy import Dropout, Transformer, TransformerConfig, causal_mask, cross_entropy, sinusoid
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

TOLERANCE = 1e-11
torch.set_num_threads(1)


class TorchTransformer:
    """The same model in torch, float64: logits, loss, gradients by our names."""

    def __init__(self, model):
        c = self.config = model.config
        state = {name: torch.tensor(value.astype(np.float64)) for name, value in model.state_dict().items()}
        self.table = lambda n: torch.tensor(sinusoid(n, c.d_model))
        shape = (c.d_model, c.n_heads, c.d_ff)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": c.norm == "pre", "dtype": torch.float64}
        layer = torch.nn.TransformerEncoderLayer(*shape, **options)
        norm = torch.nn.LayerNorm(c.d_model, dtype=torch.float64)
        encoder = torch.nn.TransformerEncoder(layer, c.n_layers, norm, enable_nested_tensor=False)
        depth = (c.n_layers, c.n_layers)
        self.core = torch.nn.Transformer(*shape[:2], *depth, c.d_ff, custom_encoder=encoder, **options)
        if not c.has_final_norm:
            self.core.encoder.norm = self.core.decoder.norm = None
        own = {"src_embed.weight", "tgt_embed.weight", "generator.weight", "generator.bias"}
        self.core.load_state_dict({name: value for name, value in state.items() if name not in own})
        self.leaves = {name: state[name].clone().requires_grad_() for name in own}
        if c.tie_embeddings:
            for name in ("tgt_embed.weight", "generator.weight"):
                self.leaves[name] = self.leaves["src_embed.weight"]

    def logits(self, src, tgt):
        src, tgt = torch.tensor(src), torch.tensor(tgt)
        scale, pad = self.config.d_model**0.5, self.config.pad_id
        n, m = tgt.shape[1], src.shape[1]
        memory = self.core.encoder(
            F.embedding(src, self.leaves["src_embed.weight"]) * scale + self.table(m), src_key_padding_mask=src == pad
        )
        h = self.core.decoder(
            F.embedding(tgt, self.leaves["tgt_embed.weight"]) * scale + self.table(n),
            memory,
            tgt_mask=torch.triu(torch.ones(n, n, dtype=torch.bool), 1),
            tgt_key_padding_mask=tgt == pad,
            memory_key_padding_mask=src == pad,
        )
        return F.linear(h, self.leaves["generator.weight"], self.leaves["generator.bias"])

    def loss_and_gradients(self, src, tgt, targets, label_smoothing):
        logits = self.logits(src, tgt)
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            torch.tensor(targets).flatten(),
            ignore_index=self.config.pad_id,
            label_smoothing=label_smoothing,
        )
        loss.backward()
        gradients = {name: p.grad.numpy() for name, p in self.core.named_parameters()}
        gradients |= {name: leaf.grad.numpy() for name, leaf in self.leaves.items()}
        return logits.detach().numpy(), loss.item(), gradients


@st.composite
def cases(draw):
    """A small model of any kind, and a batch with padding anywhere but at the first position."""
    n_heads = draw(st.integers(1, 4))
    d_model = n_heads * draw(st.integers(4, 9))
    tie = draw(st.booleans())
    src_vocab_size = draw(st.integers(4, 12))
    config = TransformerConfig(
        src_vocab_size=src_vocab_size,
        tgt_vocab_size=src_vocab_size if tie else draw(st.integers(4, 12)),
        d_model=d_model,
        n_heads=n_heads,
        n_layers=draw(st.integers(1, 3)),
        d_ff=draw(st.integers(1, 17)),
        dropout=0.0,
        norm=draw(st.sampled_from(["post", "pre"])),
        final_norm=draw(st.booleans()),
        tie_embeddings=tie,
    )
    shape = [draw(st.integers(1, high)) for high in (4, 7, 7)]
    return config, shape, draw(st.sampled_from(["none", "ragged", "anywhere"])), draw(st.integers(0, 2**32 - 1))


def batch(config, shape, padding, rng):
    """src, target inputs and targets, padded in the way asked for."""
    size, m, n = shape
    src, tgt = rng.integers(1, config.src_vocab_size, (size, m)), rng.integers(1, config.tgt_vocab_size, (size, n + 1))
    for ids in (src, tgt):
        for row in ids:
            if padding == "ragged":
                row[rng.integers(1, len(row) + 1) :] = config.pad_id
            elif padding == "anywhere":
                row[1:][rng.random(len(row) - 1) < 0.3] = config.pad_id
    tgt[0, 1] = 1  # at least one target counts
    return src, tgt[:, :-1], tgt[:, 1:]


def perturbed(config, rng, dtype=np.float64):
    """A model with every bias and gain away from its default."""
    model = Transformer(config, seed=int(rng.integers(1000)), dtype=dtype)
    model.parameters().data += rng.normal(0, 0.2, model.num_parameters())
    return model


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases(), st.sampled_from([0.0, 0.1, 0.4]))
def test_logits_loss_and_every_gradient_equal_torchs(relative_error, case, label_smoothing):
    config, shape, padding, seed = case
    rng = np.random.default_rng(seed)
    model = perturbed(config, rng)
    src, tgt, targets = batch(config, shape, padding, rng)
    their_logits, their_loss, theirs = TorchTransformer(model).loss_and_gradients(src, tgt, targets, label_smoothing)

    logits = model(src, tgt)
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=label_smoothing, ignore_index=config.pad_id)
    model.backward(dlogits)

    assert relative_error(logits, their_logits) <= TOLERANCE
    assert abs(loss - their_loss) <= TOLERANCE * abs(their_loss)
    ours = model.grad_dict()
    assert set(ours) == set(theirs)
    scale = max(np.abs(g).max() for g in theirs.values())
    for name, gradient in ours.items():
        assert relative_error(gradient, theirs[name], floor=1e-3 * scale) <= TOLERANCE, name


def run(model, src, tgt, targets, label_smoothing, pad=0):
    """Logits, loss and gradients of ours."""
    logits = model(src, tgt)
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=label_smoothing, ignore_index=pad)
    model.backward(dlogits)
    return logits, loss, model.grad_dict()


def test_float32_equals_float64_at_equal_weights(relative_error):
    config = TransformerConfig(23, 29, 32, 4, 2, 64, 0.0)
    rng = np.random.default_rng(0)
    exact = perturbed(config, rng)
    single = Transformer(config, dtype=np.float32)
    single.load_state_dict(exact.state_dict())
    exact.load_state_dict(single.state_dict())  # the very same numbers
    data = batch(config, (8, 12, 11), "ragged", rng)
    (logits, loss, gradients), (logits32, loss32, gradients32) = (run(m, *data, 0.1) for m in (exact, single))
    assert logits32.dtype == np.float32
    assert relative_error(logits32, logits) <= 1e-5
    assert abs(loss32 - loss) <= 1e-5 * loss
    ours, theirs = (np.concatenate([g.ravel() for g in found.values()]) for found in (gradients32, gradients))
    assert ours.dtype == np.float32
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_logits_loss_and_every_gradient_equal_the_recorded_ones(golden_file, relative_error):
    found = np.load(golden_file("transformer_f64_a.npz"))
    meta = json.loads(str(found["meta"]))
    sizes = (meta["vocab"], meta["vocab"], meta["d_model"], meta["heads"], meta["layers"], meta["d_ff"])
    config = TransformerConfig(*sizes, 0.0, tie_embeddings=True, pad_id=meta["pad"])
    model = Transformer(config, dtype=np.float64)
    embeddings = ("src_embed.weight", "tgt_embed.weight", "generator.weight")
    state = {name[2:]: found[name] for name in found if name.startswith("w/") and name != "w/emb"}
    state |= dict.fromkeys(embeddings, found["w/emb"]) | {"generator.bias": np.zeros(meta["vocab"])}
    model.load_state_dict(state)
    assert (
        relative_error(model.encode(found["src"])[found["src"] != 0], found["memory"][found["src"] != 0]) <= TOLERANCE
    )
    model.clear_saved()
    src, tgt = found["src"], found["tgt"]
    logits, loss, gradients = run(model, src, tgt[:, :-1], tgt[:, 1:], meta["label_smoothing"])
    real = tgt[:, 1:] != 0
    assert relative_error(logits[real], found["logits"][real]) <= TOLERANCE
    assert abs(loss - found["loss"]) <= TOLERANCE * loss
    for name, gradient in gradients.items():
        if name != "generator.bias":  # the recorded model has none
            theirs = found["g/emb" if name in embeddings else f"g/{name}"]
            assert relative_error(gradient, theirs, floor=1e-3) <= TOLERANCE, name


def test_smoothed_loss_equals_the_recorded_ones(golden_file, relative_error):
    cases = json.loads(golden_file("label_smoothing_a.json").read_text())["cases"]
    assert len(cases) > 3
    for case in cases:
        logits, targets = np.array(case["logits"]), np.array(case["target"])
        loss, dlogits = cross_entropy(logits, targets, label_smoothing=case["eps"], ignore_index=case["pad"])
        n = case["n_tokens"]
        assert abs(loss * n - case["torch_sum"]) <= 1e-12 * abs(case["torch_sum"])
        assert relative_error(dlogits * n, case["torch_grad"], floor=1.0) <= 1e-12


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 9), st.integers(2, 30), st.floats(0, 0.9), st.sampled_from([None, 0, 1]), st.integers(0, 2**32 - 1)
)
def test_smoothed_loss_equals_torchs(relative_error, n, vocab, eps, pad, seed):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (n, vocab)), rng.integers(0, vocab, n)
    targets[0] = vocab - 1 if pad == 0 else 0  # one target that counts
    theirs = torch.tensor(logits, requires_grad=True)
    ignored = -100 if pad is None else pad
    wanted = torch.nn.functional.cross_entropy(theirs, torch.tensor(targets), ignore_index=ignored, label_smoothing=eps)
    wanted.backward()
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=eps, ignore_index=pad)
    assert abs(loss - wanted.item()) <= 1e-12 * abs(wanted.item())
    assert relative_error(dlogits, theirs.grad.numpy(), floor=1e-2) <= 1e-12


class WithMasks:
    """The model written once more in torch, dropping what the given masks drop, in every place."""

    def __init__(self, config, state, masks):
        self.config, self.masks = config, masks
        self.w = {name: torch.tensor(value, requires_grad=True) for name, value in state.items()}

    def drop(self, x, name, call=0):
        return x * torch.tensor(self.masks[name][call].reshape(x.shape)) / (1 - self.config.dropout)

    def linear(self, x, name, rows=slice(None), parameter="."):
        return x @ self.w[f"{name}{parameter}weight"][rows].T + self.w[f"{name}{parameter}bias"][rows]

    def attention(self, x, memory, allowed, name):
        d, h = self.config.d_model, self.config.n_heads
        parts = [
            self.linear(y, name, slice(i * d, (i + 1) * d), ".in_proj_") for i, y in enumerate((x, memory, memory))
        ]
        q, k, v = (part.view(*part.shape[:2], h, d // h).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(2, 3) / (d // h) ** 0.5).masked_fill(~allowed, -torch.inf)
        o = self.drop(scores.softmax(-1), name + ".dropout") @ v
        return self.linear(o.transpose(1, 2).reshape(x.shape), name + ".out_proj")

    def feed_forward(self, x, name):
        return self.linear(self.drop(self.linear(x, name + ".linear1").relu(), name + ".dropout"), name + ".linear2")

    def norm(self, x, name):
        return torch.nn.functional.layer_norm(
            x, (self.config.d_model,), self.w[name + ".weight"], self.w[name + ".bias"]
        )

    def around(self, x, sublayer, name, number):
        norm, dropout = f"{name}.norm{number}", f"{name}.dropout{number}"
        if self.config.norm == "pre":
            return x + self.drop(sublayer(self.norm(x, norm)), dropout)
        return self.norm(x + self.drop(sublayer(x), dropout), norm)

    def embed(self, ids, side, call):
        table = torch.tensor(sinusoid(ids.shape[1], self.config.d_model))
        x = self.w[side + "_embed.weight"][torch.tensor(ids)] * self.config.d_model**0.5 + table
        return self.drop(x, "position.dropout", call)

    def logits(self, src, tgt):
        real, causal = torch.tensor(src != 0)[:, None, None, :], torch.tensor(causal_mask(tgt.shape[1]))
        x = self.embed(src, "src", 0)
        for i in range(self.config.n_layers):
            name = f"encoder.layers.{i}"
            x = self.around(x, lambda y, n=name: self.attention(y, y, real, n + ".self_attn"), name, 1)
            x = self.around(x, lambda y, n=name: self.feed_forward(y, n), name, 2)
        memory = self.norm(x, "encoder.norm") if self.config.has_final_norm else x
        x = self.embed(tgt, "tgt", 1)
        for i in range(self.config.n_layers):
            name = f"decoder.layers.{i}"
            x = self.around(x, lambda y, n=name: self.attention(y, y, causal, n + ".self_attn"), name, 1)
            x = self.around(x, lambda y, n=name: self.attention(y, memory, real, n + ".multihead_attn"), name, 2)
            x = self.around(x, lambda y, n=name: self.feed_forward(y, n), name, 3)
        return self.linear(self.norm(x, "decoder.norm") if self.config.has_final_norm else x, "generator")


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_with_fixed_dropout_masks_in_every_place_all_gradients_are_equal(norm, relative_error):
    config = TransformerConfig(11, 13, 16, 4, 2, 24, dropout=0.25, norm=norm)
    rng = np.random.default_rng(5)
    model = perturbed(config, rng)
    src, tgt, targets = batch(config, (3, 6, 5), "none", rng)
    src[1, 4:] = 0
    logits = model(src, tgt)
    masks = {
        name: [keep for keep, *_ in layer._saved] for name, layer in model.named_modules() if isinstance(layer, Dropout)
    }
    # a layer drops after each sub-layer, in each attention and in the feed-forward network; embeddings twice
    assert len(masks) == 1 + 2 * 4 + 2 * 6
    assert {len(found) for name, found in masks.items() if name != "position.dropout"} == {1}
    assert 0.6 < np.mean([keep.mean() for found in masks.values() for keep in found]) < 0.9
    theirs = WithMasks(config, model.state_dict(), masks)
    their_logits = theirs.logits(src, tgt)
    _, dlogits = cross_entropy(logits, targets)
    torch.nn.functional.cross_entropy(their_logits.flatten(0, 1), torch.tensor(targets).flatten()).backward()
    model.backward(dlogits)
    assert relative_error(logits, their_logits.detach().numpy()) <= TOLERANCE
    for name, gradient in model.grad_dict().items():
        assert relative_error(gradient, theirs.w[name].grad.numpy(), floor=1e-2) <= TOLERANCE, name
