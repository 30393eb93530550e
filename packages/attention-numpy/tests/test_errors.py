"""Bad input raises one clear error, and the model can be used afterwards."""

import numpy as np
import pytest
from attention_numpy import (
    Adam,
    BackwardError,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionwiseFeedForward,
    Transformer,
    TransformerConfig,
    clip_gradients,
    cross_entropy,
    noam,
)

CONFIG = TransformerConfig(7, 9, 8, 2, 1, 12, 0.1)
SRC, TGT = np.ones((2, 3), int), np.ones((2, 4), int)


def part_of_a_model():
    model = Transformer(CONFIG)
    model.parameters()
    model.encoder.parameters()


def logits_of(model):
    return model(SRC, TGT)


MODEL_INPUTS = {
    "src too few axes": (SRC[0], TGT, r"`src` must have the shape \(batch, time\), neither of them 0, got \(3,\)"),
    "src empty": (SRC[:0], TGT[:0], r"`src` must .*, got \(0, 3\)"),
    "src too large": (SRC + 6, TGT, "`src` must have ids from 0 to 6, got 7"),
    "src negative": (SRC - 2, TGT, "`src` must have ids from 0 to 6, got -1"),
    "src float": (SRC * 1.0, TGT, "`src` must be an array of integer ids, got float64"),
    "src NaN": (np.full((2, 3), np.nan), TGT, "`src` must be an array of integer ids, got float64"),
    "tgt too large": (SRC, TGT + 8, "`tgt` must have ids from 0 to 8, got 9"),
    "tgt of another batch": (SRC, TGT[:1], "`tgt` must have as many sequences as `src` = 2, got 1"),
    "bool": (SRC > 0, TGT, "`src` must be an array of integer ids, got bool"),
}


@pytest.mark.parametrize("case", MODEL_INPUTS)
def test_wrong_ids_are_named_and_nothing_is_saved(case):
    src, tgt, message = MODEL_INPUTS[case]
    model = Transformer(CONFIG)
    with pytest.raises(ValueError, match=message):
        model(src, tgt)
    assert not any(layer._saved for _, layer in model.named_modules())


def test_backward_before_forward_or_twice_raises_an_error_of_its_own():
    model = Transformer(CONFIG)
    with pytest.raises(BackwardError, match="no forward pass to backpropagate"):
        model.backward(np.zeros((2, 4, 9), np.float32))
    logits = logits_of(model)
    model.backward(np.zeros_like(logits))
    with pytest.raises(BackwardError, match="Transformer has no forward pass"):
        model.backward(np.zeros_like(logits))
    model.eval()
    logits = logits_of(model)
    with pytest.raises(BackwardError, match="training mode"):
        model.backward(np.zeros_like(logits))
    with pytest.raises(BackwardError, match="Linear has no forward pass"):
        Linear(2, 3).backward(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 8), np.float32), np.zeros((2, 4, 9)), np.zeros((2, 36), np.float32)])
def test_a_gradient_that_does_not_fit_is_refused_and_the_right_one_may_follow(wrong):
    model = Transformer(CONFIG)
    logits = logits_of(model)
    with pytest.raises(ValueError, match="`dy` must be float32 of shape"):
        model.backward(wrong)
    model.backward(np.ones_like(logits))
    assert model.parameters().grad.any()


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (Linear(3, 2), np.ones((2, 4), np.float32), "`x` must have a last axis of size 3, got shape .2, 4."),
        (Linear(3, 2), np.ones((2, 3)), "`x` must be an array of the parameters' dtype float32, got float64"),
        (
            LayerNorm(3, dtype=np.float64),
            np.ones((2, 3), np.float32),
            "`x` must be an array of the parameters' dtype float64, got float32",
        ),
        (LayerNorm(3), [[1.0, 2.0, 3.0]], "got list"),
        (MultiHeadAttention(4, 2), np.ones((1, 2, 3), np.float32), "`x` must have a last axis"),
        (Embedding(4, 2), np.array([[4]]), "`ids` must have ids from 0 to 3, got 4"),
    ],
)
def test_a_layer_refuses_what_does_not_fit(layer, x, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(x)


def test_a_layer_of_two_dtypes_is_refused():
    layer = PositionwiseFeedForward(4, 8)
    layer.linear2 = Linear(8, 4, dtype=np.float64)
    with pytest.raises(ValueError, match="one dtype, got float32 and float64"):
        layer.parameters()


def test_cross_attention_refuses_a_memory_of_another_dtype():
    layer = MultiHeadAttention(4, 2)
    with pytest.raises(ValueError, match="`memory` must be an array of the parameters' dtype float32, got float64"):
        layer.forward(np.ones((1, 2, 4), np.float32), np.ones((1, 2, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformerConfig(7, 9, n_layers=0), "`n_layers` must be an integer of at least 1, got 0"),
        (lambda: TransformerConfig(7, 9, norm="mid"), "`norm` must be one of post, pre, got 'mid'"),
        (lambda: TransformerConfig(7, 9, tie_embeddings=True), "`tie_embeddings` needs equal"),
        (lambda: TransformerConfig(7, 9, pad_id=8), "`pad_id` must be an integer from 0 to 6, got 8"),
        (lambda: Transformer(TransformerConfig(7, 9, 8, 3)), "`n_heads` must divide `d_model` = 8, got 3"),
        (lambda: Transformer(CONFIG, dtype=np.float16), "`dtype` must be float32 or float64, got 'float16'"),
        (lambda: Dropout(1.0), r"`dropout` must be in \[0, 1\), got 1.0"),
        (lambda: noam(64, 0), "`warmup_steps` must be an integer of at least 1, got 0"),
        (lambda: Adam(Transformer(CONFIG).parameters(), betas=(0.9, 1.0)), r"`betas` must be in \[0, 1\), got 1.0"),
        (lambda: Adam(Transformer(CONFIG).state_dict()), "`parameters` must be what .* returns, got dict"),
        (lambda: part_of_a_model(), "these parameters belong to a larger model"),
    ],
)
def test_a_wrong_setting_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("logits", "targets", "options", "message"),
    [
        (np.zeros((2, 3), int), np.zeros(2, int), {}, "`logits` must be"),
        (np.zeros((2, 3)), np.zeros(3, int), {}, "`targets` must have the shape"),
        (np.zeros((2, 3)), np.array([0, 3]), {}, "`targets` must have ids from 0 to 2, got 3"),
        (np.zeros((2, 3)), np.zeros(2), {}, "`targets` must be an array of integer ids, got float64"),
        (np.zeros((2, 3)), np.zeros(2, int), {"label_smoothing": 1.1}, "`label_smoothing` must be in"),
    ],
)
def test_the_loss_refuses_what_does_not_fit(logits, targets, options, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(logits, targets, **options)


def test_without_a_counted_target_loss_and_gradient_are_zero():
    loss, dlogits = cross_entropy(np.ones((2, 3)), np.zeros(2, int), ignore_index=0, label_smoothing=0.1)
    assert loss == 0
    assert not dlogits.any()


def test_a_checkpoint_of_another_configuration_is_refused_and_changes_nothing():
    model = Transformer(CONFIG)
    before = model.parameters().data.copy()
    state = model.state_dict()
    wider = Transformer(TransformerConfig(7, 9, 16, 2, 1, 12)).state_dict()
    deeper = Transformer(TransformerConfig(7, 9, 8, 2, 2, 12)).state_dict()
    poisoned = {**state, "generator.bias": np.full(9, np.nan)}
    lacking = {name: value for name, value in state.items() if name != "generator.bias"}
    for wrong, message in [
        (wider, r"src_embed.weight must be a float array of shape \(7, 8\), got float32 of shape \(7, 16\)"),
        (deeper, r"holds decoder\.layers\.1\."),
        (poisoned, "generator.bias must be finite"),
        (lacking, "lacks generator.bias"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.load_state_dict(wrong)
    np.testing.assert_array_equal(model.parameters().data, before)
    tied = Transformer(TransformerConfig(9, 9, 8, 2, 1, 12, tie_embeddings=True))
    apart = Transformer(TransformerConfig(9, 9, 8, 2, 1, 12)).state_dict()
    with pytest.raises(ValueError, match="are tied in this model"):
        tied.load_state_dict(apart)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bos_id": 9}, "`bos_id` must be an integer from 0 to 8, got 9"),
        ({"beam_size": 0}, "`beam_size` must be an integer of at least 1, got 0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be an integer of at least 1, got 0"),
        ({"temperature": -0.1}, "`temperature` must be a finite number of at least 0, got -0.1"),
        ({"temperature": np.nan}, "`temperature` must be a finite number"),
        ({"top_k": 5}, "`top_k` must be None with `temperature` = 0"),
        ({"length_norm": "x"}, "`length_norm` must be one of gnmt, power, got 'x'"),
        ({"length_alpha": np.inf}, "`length_alpha` must be a finite number, got inf"),
        ({"generator": 3}, "`generator` must be a numpy.random.Generator, got 3"),
        ({"temperature": 1.0, "beam_size": 2}, "`beam_size` must be 1 with a temperature"),
        ({"temperature": 1.0, "top_k": 0}, "`top_k` must be an integer of at least 1, got 0"),
    ],
)
def test_generate_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(CONFIG).generate(SRC, **options)


def test_clipping_refuses_a_nan_gradient():
    parameters = Transformer(CONFIG).parameters()
    parameters.grad[3] = np.nan
    with pytest.raises(ValueError, match="the gradient norm is nan"):
        clip_gradients(parameters, 1.0)
