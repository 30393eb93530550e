"""Every common mistake of every subject is recognized by name, and no correct implementation is."""

import numpy as np
import pytest
from dlpapers_shared import check
from dlpapers_shared.check.reference import attention, block, bpe, loss, transformer
from dlpapers_shared.check.subjects import adam, positions, sampling, schedule

IDS = {"ids": lambda mistake: "-".join(f"{k}-{v}".replace(" ", "-") for k, v in mistake.switches.items())}


def recognized(report, mistake):
    """The report fails and names the mistake; equivalent ones may be named beside it."""
    assert not report.passed, report
    assert len(report.diagnosis) >= 1, report
    assert mistake.sentence in " ".join(report.diagnosis), report


@pytest.mark.parametrize("mistake", attention.MISTAKES, **IDS)
def test_attention(mistake):
    recognized(
        check.attention(lambda q, k, v, mask=None: attention.reference(q, k, v, mask, **mistake.switches)), mistake
    )


@pytest.mark.parametrize("mistake", attention.BACKWARD_MISTAKES, **IDS)
def test_backward_pass_of_attention(mistake):
    def backward(dout, q, k, v, mask=None):
        return attention.backward(dout, q, k, v, mask, **mistake.switches)

    recognized(
        check.attention(lambda q, k, v, mask=None: attention.reference(q, k, v, mask), backward=backward), mistake
    )


class MultiHead:
    def __init__(self, d_model, n_heads, **switches):
        self.n_heads, self.switches = n_heads, switches
        for name in ("w_q", "w_k", "w_v", "w_o"):
            setattr(self, name, np.zeros((d_model, d_model)))
        self.b_o = np.zeros(d_model)

    @property
    def weights(self):
        return {"wq": self.w_q, "wk": self.w_k, "wv": self.w_v, "wo": self.w_o, "bo": self.b_o}

    def forward(self, x, mask=None):
        return transformer.multi_head(x, self.weights, self.n_heads, mask, **self.switches)


@pytest.mark.parametrize("mistake", transformer.MULTI_HEAD_MISTAKES, **IDS)
def test_multi_head_attention(mistake):
    recognized(check.multi_head_attention(MultiHead(12, 3, **mistake.switches)), mistake)


@pytest.mark.parametrize("mistake", transformer.LAYER_NORM_MISTAKES, **IDS)
def test_layer_norm(mistake):
    def layer_norm(x, gamma, beta, eps=3e-5):
        return transformer.layer_norm(x, gamma, beta, eps, **mistake.switches)

    recognized(check.layer_norm(layer_norm), mistake)


@pytest.mark.parametrize("mistake", transformer.LAYER_NORM_BACKWARD, **IDS)
def test_backward_pass_of_layer_norm(mistake):
    def backward(dy, x, gamma, beta, eps):
        return transformer.layer_norm_backward(dy, x, gamma, beta, eps, **mistake.switches)

    recognized(
        check.layer_norm(lambda x, gamma, beta, eps: transformer.layer_norm(x, gamma, beta, eps), backward=backward),
        mistake,
    )


class Block:
    def __init__(self, d_model, n_heads, norm="pre", **switches):
        self.n_heads, self.norm, self.switches = n_heads, norm, switches
        self.attn = MultiHead(d_model, n_heads)
        self.ln_1 = {"gamma": np.ones(d_model), "beta": np.zeros(d_model)}
        self.ln_2 = {"gamma": np.ones(d_model), "beta": np.zeros(d_model)}
        self.ffn = {
            "w_1": np.zeros((d_model, 20)),
            "b_1": np.zeros(20),
            "w_2": np.zeros((20, d_model)),
            "b_2": np.zeros(d_model),
        }

    def forward(self, x):
        norms = [tuple(self.ln_1.values()), tuple(self.ln_2.values())]
        weights = block.Weights([self.attn.weights], norms, tuple(self.ffn.values()))
        return block.block(x, weights, self.n_heads, norm=self.norm, act="gelu", eps=1e-5, **self.switches)


BLOCK_MISTAKES = [m for m in block.BLOCK_MISTAKES if m.switches.get("sequence") not in ("no cross", "self memory")]


@pytest.mark.parametrize("mistake", BLOCK_MISTAKES, **IDS)
def test_decoder_block(mistake):
    recognized(check.decoder_block(Block(12, 3, **mistake.switches), norm="pre", activation="gelu"), mistake)


@pytest.mark.parametrize("mistake", positions.MISTAKES, **IDS)
def test_positional_encoding(mistake):
    recognized(
        check.positional_encoding(lambda n, d_model: positions.reference(n, d_model, **mistake.switches)), mistake
    )


@pytest.mark.parametrize("mistake", loss.SOFTMAX_MISTAKES, **IDS)
def test_softmax(mistake):
    recognized(check.softmax(lambda x: loss.softmax(x, **mistake.switches)), mistake)


@pytest.mark.parametrize("mistake", loss.SOFTMAX_BACKWARD, **IDS)
def test_backward_pass_of_softmax(mistake):
    backward = lambda dp, p: loss.softmax_backward(dp, p, **mistake.switches)  # noqa: E731
    recognized(check.softmax(lambda x: loss.softmax(x), backward=backward), mistake)


@pytest.mark.parametrize("mistake", loss.CROSS_ENTROPY_MISTAKES, **IDS)
def test_cross_entropy(mistake):
    recognized(check.cross_entropy(lambda x, y: loss.cross_entropy(x, y, **mistake.switches)), mistake)


@pytest.mark.parametrize("mistake", loss.SMOOTHING_MISTAKES, **IDS)
def test_label_smoothing(mistake):
    def smoothed(logits, targets, eps):
        return loss.cross_entropy(logits, targets, eps, **mistake.switches)

    recognized(check.label_smoothing(smoothed), mistake)


@pytest.mark.parametrize("mistake", loss.GRADIENT_MISTAKES, **IDS)
def test_gradient_of_label_smoothing(mistake):
    def with_gradient(logits, targets, eps):
        gradient = loss.cross_entropy_gradient(logits, targets, eps, **mistake.switches)
        return loss.cross_entropy(logits, targets, eps), gradient

    recognized(check.label_smoothing(with_gradient), mistake)


@pytest.mark.parametrize("mistake", schedule.MISTAKES, **IDS)
def test_schedule(mistake):
    recognized(
        check.schedule(lambda t, d_model, warmup: schedule.reference(t, d_model, warmup, **mistake.switches)), mistake
    )


@pytest.mark.parametrize("mistake", adam.MISTAKES, **IDS)
def test_adam(mistake):
    class Wrong:
        """Replays the reference: all weights of a run follow from its gradients."""

        def __init__(self, params, lr, beta1, beta2, eps):
            self.params, self.start, self.grads = params, [p.copy() for p in params], []
            self.settings = (lr, beta1, beta2, eps)

        def step(self, grads):
            self.grads.append(grads[0])
            trace = adam.reference(self.start[0], np.array(self.grads), *self.settings, **mistake.switches)
            self.params[0][...] = trace[-1]

    recognized(check.adam(Wrong), mistake)


@pytest.mark.parametrize("mistake", bpe.ENCODER_MISTAKES, **IDS)
def test_bpe_encoder(mistake):
    recognized(check.bpe_encoder(lambda text, merges: bpe.encode(text, merges, **mistake.switches)), mistake)


@pytest.mark.parametrize("ties", [None, *bpe.TIES])
@pytest.mark.parametrize("mistake", bpe.TRAINER_MISTAKES, **IDS)
def test_bpe_trainer(mistake, ties):
    switches = {"ties": ties or "ids", **mistake.switches}
    recognized(
        check.bpe_trainer(lambda words, num_merges: bpe.train(words, num_merges, **switches), ties=ties), mistake
    )


@pytest.mark.parametrize("mistake", sampling.TOP_K_MISTAKES, **IDS)
def test_top_k(mistake):
    recognized(check.top_k(lambda logits, k: sampling.reference_top_k(logits, k, **mistake.switches)), mistake)


@pytest.mark.parametrize("mistake", sampling.TOP_P_MISTAKES, **IDS)
def test_top_p(mistake):
    recognized(check.top_p(lambda logits, p: sampling.reference_top_p(logits, p, **mistake.switches)), mistake)


@pytest.mark.parametrize("mistake", sampling.TEMPERATURE_MISTAKES, **IDS)
def test_temperature(mistake):
    recognized(
        check.temperature(lambda logits, t: sampling.reference_temperature(logits, t, **mistake.switches)), mistake
    )
