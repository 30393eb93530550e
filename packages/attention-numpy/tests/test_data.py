"""Synthetic tasks: correct words and transformed letters, and no held-out input in training."""

import numpy as np
import pytest
from attention_numpy.data import BOS_ID, EOS_ID, PAD_ID, Addition, english, german, make_task

NAMES = ["number-words", "number-digits", "copy", "reverse", "sort", "addition"]


@pytest.mark.parametrize(
    ("n", "in_english", "in_german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (12, "twelve", "zwölf"),
        (21, "twenty one", "ein und zwanzig"),
        (42, "forty two", "zwei und vierzig"),
        (90, "ninety", "neunzig"),
        (100, "one hundred", "ein hundert"),
        (101, "one hundred one", "ein hundert eins"),
        (1000, "one thousand", "ein tausend"),
        (1001, "one thousand one", "ein tausend eins"),
        (31_016, "thirty one thousand sixteen", "ein und dreißig tausend sechzehn"),
        (101_000, "one hundred one thousand", "ein hundert ein tausend"),
        (
            999_999,
            "nine hundred ninety nine thousand nine hundred ninety nine",
            "neun hundert neun und neunzig tausend neun hundert neun und neunzig",
        ),
    ],
)
def test_numbers_are_spelled_as_the_languages_do(n, in_english, in_german):
    assert " ".join(english(n)) == in_english
    assert " ".join(german(n)) == in_german


def test_different_numbers_have_different_words():
    numbers = [*range(3000), *range(99_000, 103_000), 999_999]
    assert len({tuple(english(n)) for n in numbers}) == len({tuple(german(n)) for n in numbers}) == len(numbers)


EXPECTED = {
    "copy": lambda s: s,
    "reverse": lambda s: s[::-1],
    "sort": lambda s: sorted(s),
    "number-digits": lambda s: list(str(next(n for n in range(1_000_000) if english(n) == s))),
}


@pytest.mark.parametrize("name", ["copy", "reverse", "sort"])
def test_letters_are_transformed(name):
    task = make_task(name)
    for source, target in task.training_pairs(np.random.default_rng(0), 50):
        assert 4 <= len(source) <= 16
        assert target == EXPECTED[name](source)


def test_sums_are_correct_in_both_orders():
    for flipped in (True, False):
        task = Addition(3, flipped)
        pairs = task.training_pairs(np.random.default_rng(0), 300)
        for source, target in pairs:
            a, b = map(int, "".join(source).split("+"))
            digits = "".join(target)
            assert int(digits[::-1] if flipped else digits) == a + b
        assert {len(source) for source, _ in pairs} >= {5, 6, 7}


def test_only_training_sums_are_sparse():
    def zeros(task, split):
        sample = task.training_pairs if split == "train" else task.held_out_pairs
        digits = "".join("".join(source) for source, _ in sample(np.random.default_rng(0), 500))
        return digits.count("0") / (len(digits) - 500)

    assert zeros(Addition(5, sparse=0.0), "train") < 0.1
    assert zeros(Addition(5, sparse=1.0), "held-out") < 0.1
    assert zeros(Addition(5, sparse=1.0), "train") > 0.35  # half of all and a tenth of the others, less leading zeros


def test_number_words_become_digits():
    task = make_task("number-digits")
    source = english(30_742)
    pairs = task.training_pairs(np.random.default_rng(0), 200)
    spelled = {tuple(english(int("".join(target)))): tuple(source) for source, target in pairs}
    assert all(words == source for words, source in spelled.items())
    assert task.encode(" ".join(source)).shape == (1, len(source) + 1)


@pytest.mark.parametrize("name", NAMES)
def test_held_out_inputs_are_never_trained_on(name):
    task = make_task(name)
    trained = {tuple(source) for source, _ in task.training_pairs(np.random.default_rng(0), 3000)}
    unseen = [tuple(source) for source, _ in task.held_out_pairs(np.random.default_rng(1), 500)]
    assert len(set(unseen)) == 500
    assert not trained & set(unseen)


def test_every_word_is_trained_on():
    task = make_task("number-words")
    pairs = task.training_pairs(np.random.default_rng(0), 20_000)
    assert {s for source, _ in pairs for s in source} == set(task.source_symbols)
    assert {s for _, target in pairs for s in target} == set(task.target_symbols)


def test_arrays_are_padded_and_texts_survive_a_round_trip():
    task = make_task("number-words")
    source, target = task.arrays([(english(42), german(42)), (english(5), german(5))])
    assert source.tolist()[1][1:] == [EOS_ID, PAD_ID]
    assert target[0, 0] == target[1, 0] == BOS_ID
    assert target.tolist()[1][2:] == [EOS_ID, PAD_ID, PAD_ID]
    np.testing.assert_array_equal(task.encode("forty  two"), source[:1])
    assert task.decode([i for i in target[0].tolist() if i > EOS_ID]) == "zwei und vierzig"
    assert make_task("reverse").decode([3, 4, 5]) == "abc"
    assert make_task("number-digits").decode([7, 5]) == "42"


@pytest.mark.parametrize(
    ("name", "text"), [("number-words", "forty tow"), ("reverse", "abC"), ("copy", " "), ("sort", "<pad>")]
)
def test_a_symbol_that_the_task_lacks_is_named(name, text):
    with pytest.raises(ValueError, match="`text` must "):
        make_task(name).encode(text)


def test_unknown_tasks_and_too_many_digits_are_refused():
    with pytest.raises(ValueError, match=r"`task` must be one of .*, got 'multiply'"):
        make_task("multiply")
    with pytest.raises(ValueError, match="`digits` must be an integer from 1 to 18, got 19"):
        Addition(19)
    with pytest.raises(ValueError, match=r"`sparse` must be in \[0, 1\], got 1\.5"):
        Addition(3, sparse=1.5)
