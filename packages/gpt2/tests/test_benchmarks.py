"""WikiText-2, LAMBADA, HellaSwag: each example equals an independent loop over transformers."""

import json
import math
import sys

import pytest
import torch
from gpt2.data.tokenizers import ByteTokenizer, save
from gpt2.evaluation.benchmarks import evaluate_task, hellaswag, lambada, score
from gpt2.evaluation.perplexity import token_losses
from helpers_models import hugging_face_twin, run, small_model
from torch.nn.functional import cross_entropy

LENGTH = 256
TOKENIZER = ByteTokenizer()


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = small_model(torch.float32, vocab_size=257, context_length=LENGTH, eos_id=256)
    save(TOKENIZER, folder)
    return model, hugging_face_twin(model, folder), folder


@torch.no_grad()
def their_logprobs(twin, prompt, completion):
    """Return log-probabilities, argmax tokens, and tokens of one completion, from one pass of transformers."""
    ids = torch.tensor([[256, *prompt.encode(), *completion.encode()][-(LENGTH + 1) :]])
    logits = twin(ids[:, :-1]).logits[0, -len(completion.encode()) :]
    wanted = ids[0, -len(completion.encode()) :]
    return (
        [-float(cross_entropy(row, token)) for row, token in zip(logits, wanted, strict=True)],
        logits.argmax(1),
        wanted,
    )


def test_lambada_passage_by_passage(twins, data_file):
    model, twin, _ = twins
    passages = [json.loads(line) for line in data_file("lm-eval/lambada_test_first50.jsonl").read_text().splitlines()]
    assert len(passages) == 50
    assert any(len(p["text"]) > LENGTH for p in passages)  # its beginning is cut off
    for passage, ours in zip(passages, lambada(model, TOKENIZER, passages), strict=True):
        words = passage["text"].split(" ")
        logprobs, best, wanted = their_logprobs(twin, " ".join(words[:-1]), " " + words[-1])
        assert ours["logprob"] == pytest.approx(sum(logprobs), abs=1e-3)
        assert ours["accuracy"] == float(torch.equal(best, wanted))


def test_a_predicted_word_is_counted():
    class Words(ByteTokenizer):
        eos_id = 0

        def encode(self, text):
            return [("one", "two", "three").index(word) + 1 for word in text.split()]

    model = small_model(torch.float32)
    with torch.no_grad():  # whatever the prompt is, the model predicts "three"
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(model.wte.weight[3] * 100)
    found = list(lambada(model, Words(), [{"text": "one two three"}, {"text": "one three two"}]))
    assert [f["accuracy"] for f in found] == [1.0, 0.0]
    assert [s.greedy for s in score(model, [([1], [3, 3]), ([1], [2, 3]), ([1], [3, 2])])] == [True, False, False]


def test_hellaswag_ending_by_ending(twins, data_file):
    model, twin, _ = twins
    record = json.loads(data_file("lm-eval/hellaswag_val_record0.jsonl").read_text())
    # shorter contexts and other labels make more records of the one
    records = [{**record, "ctx": record["ctx"][:cut], "label": label} for cut in (5, 17, 28, 31) for label in range(4)]
    for case, ours in zip(records, hellaswag(model, TOKENIZER, records), strict=True):
        logprobs = [their_logprobs(twin, case["ctx"], " " + ending)[0] for ending in case["endings"]]
        sums, means = ([f(row) for row in logprobs] for f in (sum, lambda row: sum(row) / len(row)))
        assert ours["accuracy"] == float(sums.index(max(sums)) == case["label"])
        assert ours["accuracy_per_token"] == float(means.index(max(means)) == case["label"])
        assert ours["accuracy_per_byte"] == ours["accuracy_per_token"]  # a token is a byte here
    lengths = {sums.index(max(sums)), means.index(max(means))}
    assert len(lengths) == 2  # the two measures differ, so the test can tell them apart


@torch.no_grad()
def test_wikitext_token_by_token_with_a_stride_and_words_as_published(twins, data_file, tmp_path):
    model, twin, _ = twins
    raw = data_file("lm-eval/wiki.valid.raw").read_text(encoding="utf-8")
    assert len(raw.split()) + raw.count("\n") == 217_646  # the published count of the validation part's words
    text = raw[:1500]
    (tmp_path / "part.raw").write_text(text, encoding="utf-8")
    ids = torch.tensor([256, *text.encode()])
    losses = []
    for token in range(1, len(ids)):  # each prediction by itself
        start = 0 if token <= LENGTH else math.ceil((token - LENGTH) / 100) * 100
        if token % 7 == 0 or token > len(ids) - 20:
            logits = twin(ids[None, start:token]).logits[0, -1]
            losses.append((token - 1, float(cross_entropy(logits, ids[token]))))
    ours = token_losses(model, ids, stride=100)
    assert max(abs(float(ours[i]) - loss) for i, loss in losses) < 1e-3
    found = evaluate_task(model, TOKENIZER, "wikitext2", tmp_path / "part.raw", stride=100)
    words = len(text.split()) + text.count("\n")
    assert found["perplexity_per_word"] == pytest.approx(math.exp(float(ours.double().sum()) / words))
    assert found["perplexity_per_token"] == pytest.approx(math.exp(float(ours.double().mean())))


def test_from_the_command_line(twins, data_file, tmp_path):
    file = data_file("lm-eval/lambada_test_first50.jsonl")
    given = ["--task", "lambada", "--text", file, "--limit", 3]
    done = run("evaluate", twins[2], *given)
    assert done.stdout.startswith("examples: 3\naccuracy: 0\nlogprob: -")
    (tmp_path / "bad.jsonl").write_text('{"txt": 1}\n')
    for options, complaint in [
        (
            ["--task", "lambada", "--text", tmp_path / "bad.jsonl"],
            "bad.jsonl:1: `text` must be a text",
        ),
        ([], "`text` must be a file, or `task` a benchmark, got neither"),
    ]:
        done = run("evaluate", twins[2], *options)
        assert done.returncode == 2
        assert complaint in done.stderr


def test_a_missing_download_package_is_an_error(twins, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlpapers_shared.data", None)  # as if it were not installed
    done = run("evaluate", twins[2], "--task", "hellaswag")
    assert done.returncode == 2
    assert "hellaswag without --text needs dlpapers-shared. Install it: pip install" in done.stderr
