"""Properties of layers beside their gradients: dropout statistics, positions, the flat vector, saved values."""

import numpy as np
import pytest
import torch
from attention_numpy import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionalEncoding,
    PositionwiseFeedForward,
    ReLU,
    Transformer,
    TransformerConfig,
    causal_mask,
    cross_entropy,
    sinusoid,
)
from attention_numpy.layers import new_rng

CONFIG = TransformerConfig(7, 9, 8, 2, 1, 12, 0.3)
SRC, TGT = np.array([[1, 2, 3], [4, 5, 0]]), np.array([[1, 2, 3, 4], [1, 5, 6, 0]])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_has_its_probability_and_keeps_the_mean(p):
    layer = Dropout(p, rng=new_rng(1))
    y = layer.forward(np.ones((1000, 1001), np.float32))
    values = np.unique(y)
    np.testing.assert_allclose(values, [0, 1 / (1 - p)], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(p, abs=3e-3)
    np.testing.assert_array_equal(layer.backward(np.ones_like(y)), y)


def test_backward_of_dropout_uses_the_mask_of_its_own_call():
    layer, x = Dropout(0.5, rng=new_rng(1)), np.ones((4, 50))
    first, second = layer.forward(x), layer.forward(x)
    assert (first != second).any()
    np.testing.assert_array_equal(layer.backward(x), second)
    np.testing.assert_array_equal(layer.backward(x), first)


def test_dropout_units_are_independent_and_odd_sizes_work():
    y = Dropout(0.5, rng=new_rng(2)).forward(np.ones((2001, 41)))
    kept = (y > 0).astype(float) - 0.5
    np.testing.assert_allclose((kept[:, :-1] * kept[:, 1:]).mean(), 0, atol=4e-3)
    np.testing.assert_allclose((kept[:-1] * kept[1:]).mean(), 0, atol=4e-3)


def test_no_layer_changes_its_input():
    rng = np.random.default_rng(0)
    cases = [
        Linear(6, 4),
        LayerNorm(6),
        Dropout(0.5),
        ReLU(),
        PositionalEncoding(6, 0.5),
        MultiHeadAttention(6, 2, 0.5),
    ]
    for layer in [*cases, PositionwiseFeedForward(6, 8, 0.5)]:
        x = rng.normal(size=(2, 3, 6)).astype(np.float32)
        before = x.copy()
        y = layer.forward(x)
        np.testing.assert_array_equal(x, before, err_msg=type(layer).__name__)
        dy = rng.normal(size=y.shape).astype(np.float32)
        before = dy.copy()
        layer.backward(dy)
        np.testing.assert_array_equal(dy, before, err_msg=type(layer).__name__)


def test_sinusoids_are_the_papers():
    table = sinusoid(50, 6)
    for position in (0, 1, 49):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert table[position, 2 * i] == pytest.approx(np.sin(angle), abs=1e-15)
            assert table[position, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-15)
    np.testing.assert_array_equal(sinusoid(10, 7)[:, :6].shape, (10, 6))
    np.testing.assert_allclose(sinusoid(3, 6, start=40), table[40:43], atol=1e-15)


def test_the_table_of_positions_grows_and_starts_anywhere():
    layer = PositionalEncoding(6).eval()
    zeros = np.zeros((1, 4, 6))
    np.testing.assert_allclose(layer.forward(zeros)[0], sinusoid(4, 6))
    np.testing.assert_allclose(layer.forward(zeros, start=90)[0], sinusoid(4, 6, 90))
    assert layer.forward(zeros.astype(np.float32)).dtype == np.float32


def test_embedding_scales_by_the_root_of_d_model():
    layer = Embedding(5, 16, dtype=np.float64)
    ids = np.array([[0, 4]])
    np.testing.assert_allclose(layer.forward(ids), 4 * layer.weight.data[ids], rtol=1e-15)


def test_attention_equals_torchs_with_any_mask():
    rng = np.random.default_rng(0)
    layer = MultiHeadAttention(12, 3, dtype=np.float64).eval()
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(p.data) for name, p in layer.named_parameters()})
    x, memory = rng.normal(size=(2, 4, 12)), rng.normal(size=(2, 5, 12))
    mask = rng.random((2, 3, 4, 5)) < 0.6
    mask[..., 0] = True
    wanted, weights = theirs(
        *map(torch.tensor, (x, memory, memory)),
        attn_mask=torch.tensor(~mask.reshape(6, 4, 5)),
        average_attn_weights=False,
    )
    weights_of = {}
    layer.name = "here"
    np.testing.assert_allclose(layer.forward(x, memory, mask, weights_of), wanted.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(weights_of["here"], weights.detach().numpy(), atol=1e-13)


def test_the_decoder_attends_neither_to_the_future_nor_to_padding():
    model = Transformer(CONFIG, dtype=np.float64).eval()
    base = model(SRC, TGT)
    later = TGT.copy()
    later[:, 2:] = 7
    np.testing.assert_array_equal(model(SRC, later)[0, :2], base[0, :2])
    assert (model(SRC, later)[0, 2] != base[0, 2]).any()
    longer = np.pad(SRC, ((0, 0), (0, 2)))
    np.testing.assert_allclose(model(longer, TGT), base, atol=1e-12)
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_parameters_and_gradients_are_views_into_two_vectors():
    model = Transformer(CONFIG)
    vector = model.parameters()
    assert model.parameters() is vector
    assert sum(p.data.size for p in vector.named.values()) == model.num_parameters() == len(vector) == vector.data.size
    model.encoder.layers[0].self_attn.in_proj_weight.data[...] = 7
    assert (vector.data == 7).sum() == 3 * 8 * 8
    vector.grad[...] = 3
    assert (model.generator.bias.grad == 3).all()


def test_tied_embeddings_are_one_matrix_under_three_names_and_their_gradients_add():
    config = TransformerConfig(9, 9, 8, 2, 1, 12, 0.0, tie_embeddings=True)
    tied = Transformer(config, seed=1, dtype=np.float64)
    apart = Transformer(TransformerConfig(9, 9, 8, 2, 1, 12, 0.0), dtype=np.float64)
    apart.load_state_dict(tied.state_dict())
    for model in (tied, apart):
        model.backward(cross_entropy(model(SRC, TGT[:, :-1]), TGT[:, 1:])[1])
    names = ["src_embed.weight", "tgt_embed.weight", "generator.weight"]
    total = sum(apart.grad_dict()[name] for name in names)
    for name in names:
        np.testing.assert_allclose(tied.grad_dict()[name], total, atol=1e-14)
    assert apart.num_parameters() - tied.num_parameters() == 2 * 9 * 8


def test_the_state_has_torchs_names_and_can_be_loaded():
    model, other = Transformer(CONFIG, seed=1), Transformer(CONFIG, seed=2)
    core = torch.nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
    own = {"src_embed.weight", "tgt_embed.weight", "generator.weight", "generator.bias"}
    final = {f"{side}.norm.{part}" for side in ("encoder", "decoder") for part in ("weight", "bias")}
    assert set(model.state_dict()) - own == set(core.state_dict()) - final
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.parameters().data, model.parameters().data)
    state = model.state_dict()
    state["generator.bias"][:] = 9
    assert not (model.generator.bias.data == 9).any(), "a state is a copy"


def test_evaluation_saves_nothing_and_clear_saved_discards_all():
    model = Transformer(CONFIG)
    model(SRC, TGT)
    assert any(layer._saved for _, layer in model.named_modules())
    model.clear_saved()
    model.eval()(SRC, TGT)
    assert not any(layer._saved for _, layer in model.named_modules())


def test_the_same_seed_gives_the_same_model_and_the_same_dropout():
    one, two, other = (Transformer(CONFIG, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one(SRC, TGT), two(SRC, TGT))
    assert (one.parameters().data != other.parameters().data).any()


def test_returned_attention_weights_are_distributions_over_allowed_keys():
    model = Transformer(CONFIG, dtype=np.float64).eval()
    logits, intermediates = model(SRC, TGT, return_intermediates=True)
    np.testing.assert_array_equal(logits, model(SRC, TGT))
    assert {name: w.shape for name, w in intermediates.items()} == {
        "encoder.layers.0.self_attn": (2, 2, 3, 3),
        "decoder.layers.0.self_attn": (2, 2, 4, 4),
        "decoder.layers.0.multihead_attn": (2, 2, 4, 3),
    }
    for weights in intermediates.values():
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-14)
    assert not intermediates["decoder.layers.0.multihead_attn"][1, :, :, 2].any()
    assert not np.triu(intermediates["decoder.layers.0.self_attn"][0, 0], 1).any()
