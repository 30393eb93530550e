import json
import os
import subprocess
import sys

import gpt2.loss
import numpy as np
import pytest
import torch
from gpt2._common.errors import DivergenceError
from gpt2._common.muon import orthogonalize
from gpt2._common.run_folder import TRAINING_STATE
from gpt2.attention import causal_mask, explicit, fused, matmul_backend, sliding_window
from gpt2.config import OptimConfig, TrainConfig
from gpt2.data.prepare import CHUNK_BYTES, chunks, prepare
from gpt2.data.token_file import TokenFiles, Windows
from gpt2.data.tokenizers import ByteTokenizer
from gpt2.training.optim import make_optimizers
from gpt2.training.run import start_run
from gpt2.training.trainer import Trainer, held_out_loss
from helpers_models import Data, random_ids, small_model
from torch.nn.functional import cross_entropy


def settings(**changes):
    optim = OptimConfig(lr=3e-3, warmup_steps=3)
    return TrainConfig(
        **{"steps": 12, "batch_size": 8, "optim": optim, "dtype": "float32", "eval_every": 4, "log_every": 1, **changes}
    )


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def fresh(dropout=0.0):
    return small_model(torch.float32, seed=2, dropout=dropout)


def test_the_model_overfits_one_batch(tmp_path):
    model, (ids, targets) = fresh(), Data().batch(0, 8)
    trainer = Trainer(model, Data(), settings(), tmp_path)
    for _ in range(150):
        loss, _ = trainer.step(ids, targets, lr=1e-2)
    assert loss < 0.05


def test_float16_learns_with_its_scaler(tmp_path):
    trainer = Trainer(fresh(), Data(), settings(dtype="float16"), tmp_path)
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**30})
    batch = Data().batch(0, 8)
    values = [trainer.step(*batch, lr=1e-2)[0] for _ in range(40)]
    assert values[1] == values[0]  # the first steps overflow, are skipped, and lower the scale
    assert trainer.scaler.get_scale() < 2**30
    assert values[-1] < 0.5 * values[0]
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_metrics_report_the_throughput(tmp_path):
    Trainer(fresh(), Data(), settings(steps=2, report_mfu=True), tmp_path).fit()
    for entry in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()):
        assert entry["tokens"] == entry["step"] * 8 * 16
        assert entry["tokens_per_second"] > 0
        assert 0 < entry["mfu"] < 1
        peak = entry["tflops"] / entry["mfu"]
        assert 1e-3 < peak < 1e4  # a matmul reaches at least 1 GFLOP/s


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path, optimizer):
    config = settings(optim=OptimConfig(optimizer=optimizer, lr=3e-3, warmup_steps=3))
    whole, parts = fresh(dropout=0.2), fresh(dropout=0.2)
    Trainer(whole, Data(), config, tmp_path / "whole").fit()
    Trainer(parts, Data(), config, tmp_path / "parts").fit(stop_after=6)
    with (tmp_path / "parts/metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 0}\n')  # a step that was logged, but not saved: it is repeated
    again = fresh(dropout=0.2)
    torch.manual_seed(99)
    Trainer(again, Data(), config, tmp_path / "parts").fit(resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))


def test_resuming_another_run_names_the_setting_that_differs(tmp_path):
    Trainer(fresh(), Data(), settings(steps=4), tmp_path).fit()
    narrow = small_model(torch.float32, d_model=16)
    for trainer, setting in [
        (Trainer(fresh(), Data(), settings(steps=4, batch_size=4), tmp_path), "`batch_size` must be 8 to resume"),
        (Trainer(fresh(), Data(), settings(steps=5), tmp_path), "`steps` must be 4 to resume"),
        (Trainer(fresh(0.1), Data(), settings(steps=4), tmp_path), "`dropout` must be 0.0 to resume"),
        (Trainer(fresh(), Data(uneven=True), settings(steps=4), tmp_path), "`fingerprint` must be"),
        (Trainer(narrow, Data(), settings(steps=4), tmp_path), "`d_model` must be 32 to resume"),
    ]:
        with pytest.raises(ValueError, match=setting):
            trainer.fit(resume=True)
    with pytest.raises(ValueError, match="holds a run"):
        Trainer(fresh(), Data(), settings(steps=4), tmp_path).fit()
    state = (tmp_path / TRAINING_STATE).read_bytes()
    (tmp_path / TRAINING_STATE).write_bytes(state[: len(state) // 2])
    with pytest.raises(ValueError, match="truncated"):
        Trainer(fresh(), Data(), settings(steps=4), tmp_path).fit(resume=True)


def test_a_nan_loss_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    Trainer(fresh(), Data(), settings(), tmp_path).fit(stop_after=4)
    before = (tmp_path / TRAINING_STATE).read_bytes()

    class Poisoned(Trainer):
        def load(self):
            super().load()
            with torch.no_grad():
                self.model.wte.weight[3] = torch.nan

    with pytest.raises(DivergenceError, match=r"loss became NaN at step 5\. The checkpoint of step 4 is kept"):
        Poisoned(fresh(), Data(), settings(), tmp_path).fit(resume=True)
    assert (tmp_path / TRAINING_STATE).read_bytes() == before
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_matrices_and_embeddings_decay(optimizer):
    model = fresh()
    decays = {}
    for made in make_optimizers(model, OptimConfig(optimizer=optimizer, weight_decay=0.3)):
        decays |= {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert {p.dim() >= 2: decays[id(p)] for p in model.parameters()} == {True: 0.3, False: 0.0}
    assert all(decays[id(p)] == (0.3 if p.dim() >= 2 else 0.0) for p in model.parameters())


def test_a_nan_gradient_does_not_change_the_weights(tmp_path):
    trainer = Trainer(fresh(), Data(), settings(), tmp_path)
    before = [p.clone() for p in trainer.model.parameters()]
    trainer.model.h[0].mlp.c_fc.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(DivergenceError):
        trainer.fit()
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before, strict=True))


def test_weights_and_validation_losses_that_are_not_finite_are_never_saved(tmp_path):
    trainer = Trainer(fresh(), Data(), settings(), tmp_path)
    with torch.no_grad():
        trainer.model.wpe.weight[20] = torch.inf  # a position that no batch uses
    with pytest.raises(DivergenceError, match="weights became NaN at step 4"):
        trainer.fit()
    assert not (tmp_path / TRAINING_STATE).exists()
    trainer = Trainer(fresh(), Data(), settings(), tmp_path)
    trainer.evaluate = lambda: float("inf")
    with pytest.raises(DivergenceError, match=r"validation loss became infinite at step 4\. No checkpoint was written"):
        trainer.fit()


def test_early_stopping_needs_held_out_data(tmp_path):
    data = Data()
    data.validation = lambda size: iter(())
    with pytest.raises(ValueError, match="`patience` must be 0 without held-out data, got 2"):
        Trainer(fresh(), data, settings(patience=2), tmp_path).fit()
    assert not list(tmp_path.iterdir())
    line = Trainer(fresh(), data, settings(steps=2), tmp_path).fit()
    assert "val_loss" not in line


def test_a_finished_run_is_extended_and_continues_an_interrupted_extension(tmp_path):
    config = settings(steps=4)
    Trainer(fresh(), Data(), config, tmp_path).fit()

    def start(**options):
        return start_run(tmp_path, config, resume=True, **options)

    assert start().finished
    longer = start(extend=5)
    assert (longer.config.steps, longer.finished) == (9, False)
    Trainer(fresh(), Data(), longer.config, tmp_path).fit(longer, stop_after=6)
    assert json.loads((tmp_path / "train_config.json").read_text())["train"]["steps"] == 9
    with pytest.raises(ValueError, match="`extend` must be used with a finished run"):
        start(extend=4)
    for again in (start(), start(extend=5)):
        assert (again.config.steps, again.finished, again.step) == (9, False, 6)
    last = Trainer(fresh(), Data(), again.config, tmp_path).fit(again)
    assert last["step"] == 9
    assert start().finished
    with pytest.raises(ValueError, match="--resume"):
        start_run(tmp_path, config, extend=1)


def test_micro_batches_give_the_large_batchs_gradient_with_targets_ignored_unevenly(tmp_path):
    ids, targets = (t.clone() for t in Data().batch(0, 8))
    targets[0] = -100
    targets[1, 3:] = -100
    whole, small = fresh().double(), fresh().double()
    first = Trainer(whole, Data(), settings(), tmp_path).step(ids, targets, lr=0.0)
    second = Trainer(small, Data(), settings(micro_batch=2), tmp_path).step(ids, targets, lr=0.0)
    assert np.allclose(first, second, rtol=0, atol=1e-6)
    assert first[0] == pytest.approx(whole.loss(ids, targets).item(), abs=1e-6)


@pytest.mark.parametrize("at_once", [1, 200, 10_000])
def test_the_chunked_loss_has_cross_entropys_value_and_gradients(monkeypatch, at_once):
    monkeypatch.setattr(gpt2.loss, "MAX_LOGITS", at_once)
    torch.manual_seed(0)
    x, w = (torch.randn(n, 12, dtype=torch.float64, requires_grad=True) for n in (23, 37))
    targets = torch.randint(0, 37, (23,))
    targets[[2, 22]] = -100
    ours = gpt2.loss.linear_cross_entropy(x, w, targets) * 0.3
    theirs = cross_entropy(x @ w.T, targets, reduction="sum") * 0.3
    assert abs(ours - theirs) < 1e-12
    for a, b in zip(torch.autograd.grad(ours, (x, w)), torch.autograd.grad(theirs, (x, w)), strict=True):
        assert (a - b).abs().max() < 1e-12
    if at_once == 200:  # against finite differences too
        assert torch.autograd.gradcheck(lambda *xw: gpt2.loss.linear_cross_entropy(*xw, targets), (x, w))


def test_activation_checkpointing_changes_no_gradient():
    model, (ids, targets) = fresh().double().train(), Data().batch(0, 4)
    gradients = []
    for model.activation_checkpointing in (False, True):
        model.zero_grad()
        model.loss(ids, targets).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("tokens", [5, 8, 13, 16])
def test_all_attention_implementations_agree_forward_and_backward(tokens):
    torch.manual_seed(0)
    qkv = [torch.randn(2, 3, tokens, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    for window in (None, 4):
        mask = causal_mask(tokens, tokens, window, torch.device("cpu"))[None, None]
        reference = explicit(*qkv, mask)[0]
        weight = torch.randn_like(reference)
        expected = torch.autograd.grad((reference * weight).sum(), qkv)
        others = [fused(*qkv), matmul_backend(*qkv)] if window is None else [sliding_window(*qkv, window)]
        for other in others:
            assert (reference - other).abs().max() < 1e-12
            found = torch.autograd.grad((other * weight).sum(), qkv)
            assert max((a - b).abs().max() for a, b in zip(expected, found, strict=True)) < 1e-12


def test_a_query_with_nothing_to_attend_to_yields_zeros_and_no_nan():
    q, k, v = (torch.randn(1, 1, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[False] * 3, [True, False, False], [True] * 3])[None, None]
    y, _ = explicit(q, k, v, mask)
    y.sum().backward()
    assert y[0, 0, 0].abs().max() == 0
    assert all(t.grad.isfinite().all() for t in (q, k, v))


def test_muon_makes_singular_values_nearly_equal():
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonalize(torch.randn(2, 20, 50)))
    assert found.min() > 0.6
    assert found.max() < 1.3
    tall = torch.randn(1, 50, 20)
    assert torch.allclose(orthogonalize(tall), orthogonalize(tall.mT).mT, atol=1e-5)


def test_early_stopping_keeps_the_best_model(tmp_path):
    config = settings(
        steps=400, eval_every=5, patience=2, optim=OptimConfig(lr=1e-2, warmup_steps=0, schedule="constant")
    )
    last = Trainer(fresh(), Data(), config, tmp_path).fit()
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = [e["val_loss"] for e in entries if "val_loss" in e]
    assert last["step"] < 400  # random targets: held-out loss can only rise
    from gpt2 import GPT2

    assert held_out_loss(GPT2.from_pretrained(tmp_path), Data(), 2) == pytest.approx(min(scores), abs=1e-5)


def test_bfloat16_autocast_trains_float32_weights():
    code = """
import torch
from gpt2 import GPT2, GPT2Config
torch.manual_seed(0)
model = GPT2(GPT2Config(64, 32, 64, 4, 2, dropout=0.0))
ids = torch.randint(0, 64, (4, 33))
full = model.loss(ids[:, :-1], ids[:, 1:])
with torch.autocast("cpu", torch.bfloat16):
    half = model.loss(ids[:, :-1], ids[:, 1:])
half.backward()
assert model.wte.weight.grad.dtype == torch.float32
assert abs(full - half) < 0.01, (full, half)
assert full != half
"""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"}  # see gpt2._common.device
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------ data


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("The quick brown fox, naïve  and\n\nold, jumps. " * 200, encoding="utf-8")
    return path


def test_prepared_tokens_do_not_depend_on_chunks_and_workers(tmp_path, text):
    whole = ByteTokenizer().encode(text.read_text(encoding="utf-8"))
    for number, (size, workers) in enumerate([(CHUNK_BYTES, 1), (1000, 2)]):
        folder = tmp_path / str(number)
        index = prepare([text, text], folder, workers=workers, chunk_bytes=size)
        files = TokenFiles(folder)
        assert files.read(0, files.tokens).tolist() == [*whole, 256] * 2
        assert (index["documents"], index["tokens"]) == (2, 2 * len(whole) + 2)
        assert files.read(len(whole) - 3, 9).tolist() == [*whole[-3:], 256, *whole[:5]]


def test_chunks_are_cut_only_between_pre_tokens(text):
    raw = text.read_bytes()
    found = list(chunks(text, 100))
    assert len(found) > 20
    assert b"".join(raw[p.start : p.end] for p in found) == raw
    assert [p.last for p in found] == [False] * (len(found) - 1) + [True]
    for chunk in found[1:]:
        assert raw[chunk.start : chunk.start + 1] in (b" ", b",", b".")
        assert raw[chunk.start - 1 : chunk.start] not in (b" ", b"\n")


@pytest.mark.parametrize(
    "text", ["他说，今天天气很好。" * 400, "word\n" * 400, "word\r\n" * 400, "naïve café, über.\n\n  x" * 200]
)
def test_any_text_is_cut_and_joins_to_the_same_pre_tokens(tmp_path, text):
    regex = pytest.importorskip("regex")
    gpt2 = regex.compile(r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    found = list(chunks(path, 300))
    assert len(found) > 5
    parts = [text.encode()[c.start : c.end].decode().replace("\r\n", "\n") for c in found]
    assert [t for part in parts for t in gpt2.findall(part)] == gpt2.findall(text.replace("\r\n", "\n"))


def test_a_second_run_reuses_shards_and_detects_changes(tmp_path, text):
    folder = tmp_path / "out"
    prepare([text], folder, chunk_bytes=1000)
    sorted(folder.glob("shard-*.bin"))[3].unlink()
    stamps = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.bin")}
    prepare([text], folder, chunk_bytes=1000)
    assert TokenFiles(folder).tokens == len(text.read_bytes()) + 1
    assert {n: (folder / n).stat().st_mtime_ns for n in stamps} == stamps
    text.write_text("Other text. " * 300, encoding="utf-8")
    prepare([text], folder, chunk_bytes=1000)
    assert bytes(TokenFiles(folder).read(0, 12).tolist()) == b"Other text. "
    assert not set(stamps) & {p.name for p in folder.iterdir()}  # shards of the earlier text are deleted


def test_jsonl_documents(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two é"}\n')
    assert prepare([path], tmp_path / "out")["documents"] == 2
    assert TokenFiles(tmp_path / "out").read(0, 11).tolist() == [*b"one", 256, *"two é".encode(), 256]
    path.write_text('{"txt": "one"}\n')
    with pytest.raises(ValueError, match='"text"'):
        prepare([path], tmp_path / "out")


def test_batches_depend_on_seed_and_step_alone(tmp_path, text):
    prepare([text], tmp_path / "out", held_out=0.25)
    files = TokenFiles(tmp_path / "out")
    for order in ("random", "epochs"):
        a, b = (Windows(files, 32, seed=5, order=order) for _ in range(2))
        a.batch(0, 4)
        assert all(torch.equal(x, y) for x, y in zip(a.batch(9, 6), b.batch(9, 6), strict=True))
        assert a.starts(1, 6) != a.starts(2, 6)
        assert max(max(a.starts(s, 8)) for s in range(60)) + 32 < files.train_tokens
        ids, targets = a.batch(3, 2)
        assert torch.equal(ids[:, 1:], targets[:, :-1])
    windows = (files.train_tokens - 1) // 32
    once = [s for step in range(windows // 7 + 1) for s in a.starts(step, 7)][:windows]
    assert sorted(once) == [i * 32 for i in range(windows)]
    held_out = torch.cat([ids.flatten() for ids, _ in a.validation(4)])
    assert held_out.tolist() == files.read(files.train_tokens, len(held_out)).tolist()
    assert files.tokens - files.train_tokens - len(held_out) in range(1, 33)


@pytest.mark.parametrize(("content", "complaint"), [(b"", "must hold text"), (b"a\xff", "not UTF-8 .byte 1.")])
def test_bad_texts_are_named(tmp_path, content, complaint):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        prepare([tmp_path / "a.txt"], tmp_path / "out")


def test_token_files_that_do_not_fit_their_index_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="gpt2 prepare"):
        TokenFiles(tmp_path)
    prepare([text], tmp_path / "out")
    with pytest.raises(ValueError, match="`context_length` must be less than"):
        Windows(TokenFiles(tmp_path / "out"), 10**6)
    next((tmp_path / "out").glob("shard-00000-*.bin")).write_bytes(b"12")
    with pytest.raises(ValueError, match=r"shard-00000.*\.bin: missing"):
        TokenFiles(tmp_path / "out")


def test_strided_evaluation_predicts_each_token_once_from_the_stated_window():
    from gpt2.evaluation.perplexity import token_losses

    model = small_model()
    ids = random_ids(model, 1, 60)[0]
    found = token_losses(model, ids, stride=10)
    assert len(found) == 59
    for token in range(1, 60):
        start = 0 if token <= 24 else -(-(token - 24) // 10) * 10
        logits = model(ids[None, start:token])[0, -1]
        assert found[token - 1] == pytest.approx(cross_entropy(logits, ids[token]).item(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile uses deprecated parts of PyTorch
def test_a_compiled_run_has_no_graph_break_in_the_loss_and_the_same_losses(tmp_path):
    import torch._dynamo

    torch._dynamo.reset()
    model, (ids, targets) = fresh(), Data(uneven=True).batch(0, 4)
    explained = torch._dynamo.explain(model.loss)(ids, targets, reduction="sum")
    assert explained.graph_break_count == 0, explained.break_reasons
    Trainer(fresh(), Data(uneven=True), settings(steps=3), tmp_path / "plain").fit()
    Trainer(fresh(), Data(uneven=True), settings(steps=3, compile=True), tmp_path / "compiled").fit()
    assert np.abs(np.subtract(losses(tmp_path / "compiled"), losses(tmp_path / "plain"))).max() < 1e-4
