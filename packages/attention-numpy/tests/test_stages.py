"""Small checks of single functions, in the order of the learning track (`stages.toml`), with torch as the oracle."""

import numpy as np
import pytest
import torch
from attention_numpy import (
    Adam,
    Dropout,
    Embedding,
    EncoderLayer,
    LayerNorm,
    MultiHeadAttention,
    Parameter,
    ParameterVector,
    PositionalEncoding,
    PositionwiseFeedForward,
    ReLU,
    Transformer,
    TransformerConfig,
    causal_mask,
    cross_entropy,
)
from attention_numpy.attention import scaled_dot_product_attention, scaled_dot_product_attention_backward
from attention_numpy.functional import scatter_rows, softmax, softmax_backward
from attention_numpy.gradcheck import check
from attention_numpy.layers import affine, affine_backward, new_rng
from attention_numpy.model import padding_mask

F64 = {"dtype": np.float64}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def leaves(*arrays):
    return [torch.tensor(a, requires_grad=True) for a in arrays]


def heads_and_mask():
    """q, k, v of two heads, and a mask that lets every query attend to its first key at least."""
    mask = np.random.default_rng(1).random((2, 2, 3, 4)) < 0.5
    mask[..., 0] = True
    return normal(2, 2, 3, 5, seed=2), normal(2, 2, 4, 5, seed=3), normal(2, 2, 4, 5, seed=4), mask


# ------------------------------------------------------------------------------------------------- softmax


def test_rows_of_softmax_sum_to_1_and_equal_torchs():
    x = normal(2, 3, 5)
    np.testing.assert_allclose(softmax(x).sum(-1), 1, **CLOSE, err_msg="the sum of a row of softmax(x)")
    np.testing.assert_allclose(softmax(x), torch.tensor(x).softmax(-1), **CLOSE, err_msg="softmax(x)")


def test_softmax_does_not_change_its_input():
    x = normal(3, 4)
    before = x.copy()
    softmax(x)
    np.testing.assert_array_equal(x, before, err_msg="x after softmax(x)")


def test_softmax_of_large_numbers_does_not_overflow():
    x = np.array([[1000.0, 1001.0, 999.0]])
    wanted = torch.tensor(x).softmax(-1)
    np.testing.assert_allclose(softmax(x), wanted, **CLOSE, err_msg="softmax([1000, 1001, 999])")


def test_masked_entries_of_softmax_are_0_and_the_others_sum_to_1():
    x, mask = normal(2, 1, 4, 4), causal_mask_of(4)
    p = softmax(x, mask)
    np.testing.assert_array_equal(p[..., ~mask], 0, err_msg="a masked entry of softmax(x, mask)")
    np.testing.assert_allclose(p.sum(-1), 1, **CLOSE, err_msg="the sum of a row of softmax(x, mask)")


def causal_mask_of(n):
    return np.tril(np.ones((n, n), bool))


def test_a_row_whose_every_entry_is_masked_is_all_zeros():
    p = softmax(normal(2, 3), np.array([[False] * 3, [True] * 3]))
    np.testing.assert_array_equal(p[0], 0, err_msg="the row of softmax(x, mask) with nothing to attend to")


def test_gradient_of_softmax_equals_torchs():
    x, dy = normal(2, 3, 5), normal(2, 3, 5, seed=1)
    (leaf,) = leaves(x)
    (leaf.softmax(-1) * torch.tensor(dy)).sum().backward()
    np.testing.assert_allclose(softmax_backward(dy, softmax(x)), leaf.grad, **CLOSE, err_msg="dx of softmax")


# ----------------------------------------------------------------------------------------------- attention


def test_attention_equals_torchs_without_a_mask():
    q, k, v, _ = heads_and_mask()
    wanted = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, v)))
    output, p, dropped = scaled_dot_product_attention(q, k, v)
    np.testing.assert_allclose(p.sum(-1), 1, **CLOSE, err_msg="the sum of a row of the weights P")
    np.testing.assert_allclose(output, wanted, **CLOSE, err_msg="softmax(Q K^T / sqrt(d_k)) V")
    np.testing.assert_array_equal(dropped, p, err_msg="P after dropout, without dropout,")


def test_attention_equals_torchs_with_a_mask():
    q, k, v, mask = heads_and_mask()
    wanted = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, v, mask)))
    output, p, _ = scaled_dot_product_attention(q, k, v, mask)
    np.testing.assert_array_equal(p[~mask], 0, err_msg="a masked weight in P")
    np.testing.assert_allclose(output, wanted, **CLOSE, err_msg="softmax(Q K^T / sqrt(d_k)) V with a mask")


@pytest.mark.parametrize("part", ["dQ", "dK", "dV"])
def test_gradients_of_attention_equal_torchs(part):
    q, k, v, mask = heads_and_mask()
    do = normal(2, 2, 3, 5, seed=9)
    theirs = leaves(q, k, v)
    output = torch.nn.functional.scaled_dot_product_attention(*theirs, torch.tensor(mask))
    (output * torch.tensor(do)).sum().backward()
    _, p, dropped = scaled_dot_product_attention(q, k, v, mask)
    ours = scaled_dot_product_attention_backward(do, q, k, v, p, dropped)
    number = ["dQ", "dK", "dV"].index(part)
    np.testing.assert_allclose(ours[number], theirs[number].grad, **CLOSE, err_msg=part)


# --------------------------------------------------------------------------- linear maps, dropout, the network


def test_affine_equals_torchs_linear():
    x, weight, bias = normal(2, 3, 4), normal(5, 4, seed=1), normal(5, seed=2)
    wanted = torch.nn.functional.linear(*map(torch.tensor, (x, weight, bias)))
    np.testing.assert_allclose(affine(x, weight, bias), wanted, **CLOSE, err_msg="x W^T + b")


def test_gradients_of_affine_equal_torchs_and_are_added_to_what_is_there():
    x, weight, bias, dy = normal(2, 3, 4), normal(5, 4, seed=1), normal(5, seed=2), normal(2, 3, 5, seed=3)
    theirs = leaves(x, weight, bias)
    (torch.nn.functional.linear(*theirs) * torch.tensor(dy)).sum().backward()
    dweight, dbias = np.ones((5, 4)), np.ones(5)
    dx = affine_backward(dy, x, weight, dweight, dbias)
    np.testing.assert_allclose(dx, theirs[0].grad, **CLOSE, err_msg="dx")
    np.testing.assert_allclose(dweight, 1 + theirs[1].grad, **CLOSE, err_msg="dW, added to ones,")
    np.testing.assert_allclose(dbias, 1 + theirs[2].grad, **CLOSE, err_msg="db, added to ones,")


def test_dropout_zeroes_the_share_p_and_scales_the_rest():
    y = Dropout(0.25, rng=new_rng(1)).forward(np.ones((300, 401)))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], **CLOSE, err_msg="the set of values of y = dropout(1)")
    assert abs((y == 0).mean() - 0.25) < 0.01, f"the share of zeros must be near 0.25, got {(y == 0).mean():.3f}"


def test_dropout_does_nothing_in_evaluation_mode():
    x = normal(3, 4)
    np.testing.assert_array_equal(Dropout(0.5).eval().forward(x), x, err_msg="dropout in evaluation mode")


def test_backward_of_dropout_uses_the_mask_of_its_forward_pass():
    layer = Dropout(0.5, rng=new_rng(2))
    y = layer.forward(np.ones((7, 9)))
    np.testing.assert_allclose(layer.backward(np.ones((7, 9))), y, **CLOSE, err_msg="dropout's backward of ones")


def test_attention_with_dropout_gives_the_weights_before_and_after_it():
    q, k, v, mask = heads_and_mask()
    output, p, dropped = scaled_dot_product_attention(q, k, v, mask, Dropout(0.5, rng=new_rng(3)))
    zeroed = dropped == 0
    np.testing.assert_allclose(dropped[~zeroed], 2 * p[~zeroed], **CLOSE, err_msg="P' where dropout keeps P")
    np.testing.assert_allclose(output, dropped @ v, **CLOSE, err_msg="O = P' V")


def test_relu_and_its_gradient():
    layer, x = ReLU(), np.array([[-1.0, 0.0, 2.0]])
    np.testing.assert_array_equal(layer.forward(x), [[0, 0, 2]], err_msg="ReLU([-1, 0, 2])")
    np.testing.assert_array_equal(layer.backward(np.full((1, 3), 5.0)), [[0, 0, 5]], err_msg="dx of ReLU")


def test_the_feed_forward_network_is_equation_2():
    layer, x = PositionwiseFeedForward(6, 9, **F64), normal(2, 3, 6)
    w1, b1, w2, b2 = (p.data for _, p in layer.named_parameters())
    np.testing.assert_allclose(layer.forward(x), np.maximum(0, x @ w1.T + b1) @ w2.T + b2, **CLOSE, err_msg="FFN(x)")


# --------------------------------------------------------------------------------- multi-head attention, positions


def test_heads_are_split_along_d_model_and_not_along_time():
    layer, x = MultiHeadAttention(6, 2, **F64), normal(2, 3, 6)
    (head,) = layer._heads(x)
    assert head.shape == (2, 2, 3, 3), f"a head must have the shape (batch, heads, time, d_k), got {head.shape}"
    np.testing.assert_array_equal(head[:, 1], x[:, :, 3:], err_msg="the second head")


def test_self_attention_equals_torchs():
    layer, x = MultiHeadAttention(12, 3, **F64), normal(2, 4, 12)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(p.data) for name, p in layer.named_parameters()})
    wanted = theirs(*[torch.tensor(x)] * 3)[0].detach()
    np.testing.assert_allclose(layer.forward(x), wanted, **CLOSE, err_msg="MultiHead(x, x, x)")


def test_positions_are_added_from_a_start():
    layer, x = PositionalEncoding(6), np.zeros((1, 3, 6))
    whole = layer.forward(np.zeros((1, 5, 6)))
    np.testing.assert_allclose(whole[0, 1, :2], [np.sin(1), np.cos(1)], **CLOSE, err_msg="PE(1, 0) and PE(1, 1)")
    np.testing.assert_allclose(layer.forward(x, start=2), whole[:, 2:], **CLOSE, err_msg="the positions from 2 on")


def test_rows_with_the_same_id_add_up():
    dw = np.ones((4, 2))
    scatter_rows(np.array([3, 0, 3], np.uint8), np.array([[1.0, 2], [3, 4], [5, 6]]), dw)
    np.testing.assert_array_equal(dw, [[4, 5], [1, 1], [1, 1], [7, 9]], err_msg="dw")


def test_gradient_of_the_embedding_has_the_factor_of_the_forward_pass():
    layer, ids = Embedding(5, 4, **F64), np.array([[1, 3, 1]])
    layer.forward(ids)
    layer.backward(np.ones((1, 3, 4)))
    np.testing.assert_allclose(layer.weight.grad[:, 0], [0, 4, 0, 2, 0], **CLOSE, err_msg="dW")


# ---------------------------------------------------------------------------------------- layers and the model


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6)])
def test_layer_norm_and_its_gradients_equal_torchs(shape):
    layer, x, dy = LayerNorm(6, **F64), normal(*shape) * 3 + 2, normal(*shape, seed=1)
    layer.weight.data, layer.bias.data = normal(6, seed=2), normal(6, seed=3)
    leaf, gamma, beta = leaves(x, layer.weight.data, layer.bias.data)
    wanted = torch.nn.functional.layer_norm(leaf, (6,), gamma, beta)
    (wanted * torch.tensor(dy)).sum().backward()
    np.testing.assert_allclose(layer.forward(x), wanted.detach(), **CLOSE, err_msg="LayerNorm(x)")
    np.testing.assert_allclose(layer.backward(dy), leaf.grad, **CLOSE, err_msg="dx of LayerNorm")
    np.testing.assert_allclose(layer.weight.grad, gamma.grad, **CLOSE, err_msg="dgamma")
    np.testing.assert_allclose(layer.bias.grad, beta.grad, **CLOSE, err_msg="dbeta")


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_an_encoder_layer_equals_torchs(norm):
    layer, x = EncoderLayer(8, 2, 12, 0.0, norm, **F64), normal(2, 5, 8)
    options = {"batch_first": True, "norm_first": norm == "pre", "dtype": torch.float64}
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, 0.0, **options)
    theirs.load_state_dict({name: torch.tensor(p.data) for name, p in layer.named_parameters()})
    wanted = theirs(torch.tensor(x)).detach()
    np.testing.assert_allclose(layer.forward(x), wanted, **CLOSE, err_msg="the output of the encoder layer")


def slopes(row):
    return f"the gradient of {row.name} has the slope {row.analytic:.6g}, expected {row.numeric:.6g}"


def small_model(norm="post", **options):
    return Transformer(TransformerConfig(9, 9, 8, 2, 2, 12, 0.0, norm, **options), **F64)


SRC, TGT = np.array([[3, 4, 5, 6], [7, 8, 0, 0]]), np.array([[1, 5, 4], [1, 6, 0]])


def test_masks_are_true_where_a_query_may_attend():
    np.testing.assert_array_equal(causal_mask(3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]], err_msg="causal_mask(3)")
    assert padding_mask(np.array([[3, 4]]), 0) is None, "without padding there must be no mask"
    mask = padding_mask(SRC, 0)
    assert mask.shape == (2, 1, 1, 4), f"the padding mask must have the shape (batch, 1, 1, time), got {mask.shape}"
    np.testing.assert_array_equal(mask[1, 0, 0], [True, True, False, False], err_msg="the keys of the second text")


def test_gradients_of_every_layer_reach_the_memory():
    model = small_model()
    x, memory, dy = normal(2, 3, 8), normal(2, 4, 8, seed=1), normal(2, 3, 8, seed=2)
    mask = causal_mask_of(3)
    model.decoder.forward(x, memory, mask, None)
    dx, dmemory = model.decoder.backward(dy)
    model.eval()

    def loss():
        return float((model.decoder.forward(x, memory, mask, None) * dy).sum())

    for row in check(loss, {"x": (x, dx), "the memory": (memory, dmemory)}):
        assert row.error <= 1e-6, slopes(row)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_model_backpropagates_into_every_parameter(norm):
    model = small_model(norm)
    model.parameters().data += 0.2 * normal(model.num_parameters(), seed=4)
    dlogits = normal(2, 3, 9, seed=5)
    model.backward(dlogits * np.ones_like(model(SRC, TGT)))
    model.eval()
    arrays = {name: (p.data, p.grad) for name, p in model.parameters().named.items()}
    for row in check(lambda: float((model(SRC, TGT) * dlogits).sum()), arrays):
        assert row.error <= 1e-6, slopes(row)


def test_padding_of_the_source_changes_nothing():
    model = small_model().eval()
    longer = np.pad(SRC, ((0, 0), (0, 3)))
    np.testing.assert_allclose(model(longer, TGT), model(SRC, TGT), **CLOSE, err_msg="the logits of a padded source")


def test_the_prediction_at_a_position_does_not_depend_on_later_ones():
    model, later = small_model().eval(), TGT.copy()
    later[:, 2] = 8
    np.testing.assert_allclose(model(SRC, later)[:, :2], model(SRC, TGT)[:, :2], **CLOSE, err_msg="earlier logits")
    assert (model(SRC, later)[:, 2] != model(SRC, TGT)[:, 2]).any(), "the logits must depend on the target's ids"


# -------------------------------------------------------------------------------------------- loss, optimizer


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_equal_torchs(label_smoothing):
    logits, targets = normal(2, 3, 7) * 4, np.array([[1, 2, 0], [6, 0, 3]])
    (leaf,) = leaves(logits)
    wanted = torch.nn.functional.cross_entropy(
        leaf.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=0, label_smoothing=label_smoothing
    )
    wanted.backward()
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=label_smoothing, ignore_index=0)
    np.testing.assert_allclose(loss, wanted.item(), **CLOSE, err_msg="the loss")
    np.testing.assert_allclose(dlogits, leaf.grad, **CLOSE, err_msg="dlogits")


def test_the_loss_of_equal_logits_is_the_logarithm_of_the_vocabulary():
    loss, _ = cross_entropy(np.zeros((2, 3, 7)), np.ones((2, 3), int))
    np.testing.assert_allclose(loss, np.log(7), **CLOSE, err_msg="the loss")


@pytest.mark.parametrize("steps", [1, 10])
def test_steps_of_adam_equal_torchs(steps):
    parameter = Parameter(normal(3, 4))
    ours = Adam(ParameterVector({"w": parameter}), 0.01, betas=(0.9, 0.98), eps=1e-3)
    (leaf,) = leaves(parameter.data)
    theirs = torch.optim.Adam([leaf], 0.01, betas=(0.9, 0.98), eps=1e-3)
    for step in range(steps):
        parameter.grad = normal(3, 4, seed=step)
        leaf.grad = torch.tensor(parameter.grad)
        ours.step()
        theirs.step()
    np.testing.assert_allclose(parameter.data, leaf.detach(), **CLOSE, err_msg=f"w after {steps} steps")
