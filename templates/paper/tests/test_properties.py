"""What holds for every input: round trips, examples, schedules, sampling."""
# Replace: the properties of your model, such as causality or invariances.

import hypothesis
import hypothesis.strategies as st
import torch
from MODULE import CharTokenizer, Model, ModelConfig, SamplingConfig
from MODULE.data import current_line, load_text, make_examples, split_lines
from MODULE.generate import sample_next
from MODULE.optim import cosine

settings = hypothesis.settings(deadline=None, derandomize=True)  # a slow machine is not a failure


@settings
@hypothesis.given(st.text())
def test_decoding_inverts_encoding(text):
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings
@hypothesis.given(st.text(), st.text())
def test_the_vocabulary_does_not_depend_on_the_order_of_the_text(first, second):
    one, other = CharTokenizer.from_text(first + second), CharTokenizer.from_text(second + first)
    assert one.characters == other.characters


@settings
@hypothesis.given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 6))
def test_a_context_is_the_current_line_padded_with_newlines(ids, context_length):
    contexts, targets = make_examples(ids, context_length)
    assert targets.tolist() == ids
    for position, context in enumerate(contexts.tolist()):
        before = ids[:position]
        while 0 in before:
            before = before[before.index(0) + 1 :]
        assert context == ([0] * context_length + before)[-context_length:]
    assert torch.equal(current_line(contexts), contexts)


@settings
@hypothesis.given(st.lists(st.text("ab ", max_size=4), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_training_and_validation_lines_are_the_whole_text(lines, held_out):
    text = "".join(line + "\n" for line in lines)
    train, val = split_lines(text, held_out)
    assert train + val == text
    assert train.endswith("\n")
    assert val


@settings
@hypothesis.given(st.integers(0, 20), st.integers(1, 60))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(warmup_steps, after):
    steps = warmup_steps + after
    rates = [cosine(step, 2.0, warmup_steps, steps) for step in range(1, steps + 1)]
    rise, fall = rates[:warmup_steps], rates[warmup_steps:]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert all(0 <= rate <= 2.0 for rate in rates)
    assert warmup_steps == 0 or rise[-1] == 2.0
    assert abs(fall[-1]) < 1e-12


@settings
@hypothesis.given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9), st.floats(1e-6, 100))
def test_a_sampled_id_has_a_probability_above_zero(logits, temperature):
    chosen = sample_next(torch.tensor(logits), temperature, torch.Generator().manual_seed(0))
    assert (torch.tensor(logits).double() / temperature).softmax(0)[chosen] > 0


def test_sampling_matches_the_softmax():
    logits, generator = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([sample_next(logits, 0.5, generator) for _ in range(4000)]), minlength=3)
    torch.testing.assert_close(counts / 4000, (logits / 0.5).softmax(0), atol=0.03, rtol=0)


def test_generation_is_deterministic_and_ignores_earlier_lines():
    torch.manual_seed(0)
    model = Model(ModelConfig(context_length=3), 5)
    torch.nn.init.normal_(model.output_weight)
    sampling = SamplingConfig(max_new_tokens=20)
    runs = [model.generate(ids, sampling, torch.Generator().manual_seed(1)) for ids in ([], [], [4, 2, 0], [1, 0])]
    assert runs[0] == runs[1] == runs[2] == runs[3]
    assert len(runs[0]) == 20


def test_greedy_generation_takes_the_most_probable_character():
    torch.manual_seed(0)
    model = Model(ModelConfig(context_length=2), 5)
    torch.nn.init.normal_(model.output_weight)
    (new,) = model.generate([3, 2], SamplingConfig(max_new_tokens=1, temperature=0.0))
    assert new == model(torch.tensor([[3, 2]])).argmax().item()


def test_a_text_file_with_other_line_ends_is_the_same_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\ntwo".encode("utf-8-sig"))
    assert load_text(tmp_path / "a.txt") == "one\ntwo\n"
