"""Bad input gets one clear error each, and the model can be used afterwards."""

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
    NoamSchedule,
    PositionwiseFeedForward,
    Transformer,
    TransformerConfig,
    clip_gradients,
    cross_entropy,
)

CONFIG = TransformerConfig(7, 9, 8, 2, 1, 12, 0.1)
SRC, TGT = np.ones((2, 3), int), np.ones((2, 4), int)


def logits_of(model):
    return model(SRC, TGT)


MODEL_INPUTS = {
    "src too few axes": (SRC[0], TGT, r"src: shape \(3,\)"),
    "src empty": (SRC[:0], TGT[:0], r"src: shape \(0, 3\)"),
    "src too large": (SRC + 6, TGT, "src: id 7 met, the vocabulary has ids 0 to 6"),
    "src negative": (SRC - 2, TGT, "src: id -1"),
    "src float": (SRC * 1.0, TGT, "src: float64 met, an array of integer ids"),
    "src NaN": (np.full((2, 3), np.nan), TGT, "src: float64 met"),
    "tgt too large": (SRC, TGT + 8, "tgt: id 9"),
    "tgt of another batch": (SRC, TGT[:1], "tgt: 1 sequences met, src has 2"),
    "bool": (SRC > 0, TGT, "src: bool met"),
}


@pytest.mark.parametrize("case", MODEL_INPUTS)
def test_wrong_ids_are_named_and_nothing_is_kept(case):
    src, tgt, message = MODEL_INPUTS[case]
    model = Transformer(CONFIG)
    with pytest.raises(ValueError, match=message):
        model(src, tgt)
    assert not any(layer._stack for _, layer in model.named_layers())


def test_backward_before_forward_or_twice_is_an_error_of_its_own():
    model = Transformer(CONFIG)
    with pytest.raises(BackwardError, match="no forward pass left to undo"):
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
    with pytest.raises(ValueError, match="dy: "):
        model.backward(wrong)
    model.backward(np.ones_like(logits))
    assert model.parameters().grad.any()


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (Linear(3, 2), np.ones((2, 4), np.float32), "x: shape .2, 4. met, the last axis must be 3"),
        (Linear(3, 2), np.ones((2, 3)), "x: float64 met, but the parameters are float32"),
        (LayerNorm(3, dtype=np.float64), np.ones((2, 3), np.float32), "x: float32 met, but the parameters are float64"),
        (LayerNorm(3), [[1.0, 2.0, 3.0]], "x: list met"),
        (MultiHeadAttention(4, 2), np.ones((1, 2, 3), np.float32), "x: shape"),
        (Embedding(4, 2), np.array([[4]]), "ids: id 4 met"),
    ],
)
def test_a_layer_refuses_what_does_not_fit(layer, x, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(x)


def test_a_layer_of_two_dtypes_is_refused():
    layer = PositionwiseFeedForward(4, 8)
    layer.linear2 = Linear(8, 4, dtype=np.float64)
    with pytest.raises(ValueError, match="parameters: float32 and float64 met"):
        layer.parameters()


def test_cross_attention_refuses_a_memory_of_another_dtype():
    layer = MultiHeadAttention(4, 2)
    with pytest.raises(ValueError, match="memory: float64 met"):
        layer.forward(np.ones((1, 2, 4), np.float32), np.ones((1, 2, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransformerConfig(7, 9, n_layers=0), "n_layers: 0"),
        (lambda: TransformerConfig(7, 9, norm="mid"), "norm: 'mid'"),
        (lambda: TransformerConfig(7, 9, tie_embeddings=True), "tie_embeddings: one vocabulary"),
        (lambda: TransformerConfig(7, 9, pad=8), "pad: id 8"),
        (lambda: Transformer(TransformerConfig(7, 9, 8, 3)), "n_heads: 3 met, d_model = 8"),
        (lambda: Transformer(CONFIG, dtype=np.float16), "dtype: float16"),
        (lambda: Dropout(1.0), "dropout: 1.0"),
        (lambda: NoamSchedule(64, 0), "warmup"),
        (lambda: Adam(Transformer(CONFIG).parameters(), betas=(0.9, 1.0)), "betas"),
        (lambda: Adam(Transformer(CONFIG).state_dict()), "parameters: dict met"),
        (lambda: Transformer(CONFIG).encoder.parameters(), "parameters: they belong to a larger model"),
    ],
)
def test_a_wrong_setting_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("logits", "targets", "options", "message"),
    [
        (np.zeros((2, 3), int), np.zeros(2, int), {}, "logits: "),
        (np.zeros((2, 3)), np.zeros(3, int), {}, "targets: shape"),
        (np.zeros((2, 3)), np.array([0, 3]), {}, "targets: id 3"),
        (np.zeros((2, 3)), np.zeros(2), {}, "targets: float64"),
        (np.zeros((2, 3)), np.zeros(2, int), {"label_smoothing": 1.0}, "label_smoothing: 1.0"),
        (np.array([[0.0, np.nan, 1.0]]), np.zeros(1, int), {}, "NaN or infinity"),
        (np.array([[0.0, np.inf, 1.0]]), np.zeros(1, int), {}, "NaN or infinity"),
        (np.array([[0.0, -np.inf, 1.0]]), np.ones(1, int), {}, "probability 0"),
    ],
)
def test_the_loss_refuses_what_does_not_fit(logits, targets, options, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(logits, targets, **options)


def test_without_a_real_target_loss_and_gradient_are_zero():
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
        (wider, r"src_embed.weight has shape \(7, 16\), this model's has \(7, 8\)"),
        (deeper, r"holds decoder\.layers\.1\."),
        (poisoned, "generator.bias holds NaN"),
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
        ({"bos": 9}, "bos: id 9"),
        ({"beam": 0}, "beam: 0"),
        ({"max_length": 0}, "max_length: 0"),
        ({"temperature": 0.0}, "temperature: 0.0"),
        ({"temperature": 1.0, "beam": 2}, "beam does not sample"),
        ({"temperature": 1.0, "top_k": 0}, "top_k: 0"),
    ],
)
def test_generate_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(CONFIG).generate(SRC, **options)


def test_clipping_refuses_a_gradient_that_is_no_number():
    parameters = Transformer(CONFIG).parameters()
    parameters.grad[3] = np.nan
    with pytest.raises(ValueError, match="its norm is nan"):
        clip_gradients(parameters, 1.0)
