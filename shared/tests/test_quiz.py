"""A quiz checks and explains the answer of a reader."""

import pytest
from dlpapers_shared import quiz


def ask(choice=None):
    return quiz.ask("Is 2 < 3?", "no", "yes & always", correct="b", why="3 - 2 > 0.", choice=choice)


def test_without_a_choice_the_question_is_shown_without_its_explanation():
    answer = ask()
    assert not answer
    assert str(answer) == "Is 2 < 3?\n  a) no\n  b) yes & always\nYour answer: set `choice` to one of 'a', 'b'."
    assert "3 - 2" not in answer._repr_html_()
    assert "Is 2 &lt; 3?" in answer._repr_html_()
    assert "yes &amp; always" in answer._repr_html_()


def test_a_correct_choice_is_confirmed_and_explained():
    answer = ask("b")
    assert answer
    assert str(answer).endswith("Correct. 3 - 2 > 0.")
    assert "<b>Correct.</b> 3 - 2 &gt; 0." in answer._repr_html_()


def test_a_wrong_choice_is_explained_behind_a_fold():
    answer = ask("a")
    assert not answer
    assert answer._repr_html_().endswith("<details><summary>Explanation</summary>3 - 2 &gt; 0.</details>")
    assert str(answer).endswith("Not 'a'. Read the question again, or see the explanation: 3 - 2 > 0.")


@pytest.mark.parametrize("choice", ["c", "B", 1, "", ["a"]])
def test_a_choice_that_is_not_one_of_the_letters_is_an_error(choice):
    with pytest.raises(ValueError, match="`choice` must be one of a, b, got"):
        ask(choice)


def test_wrong_questions_are_errors():
    with pytest.raises(ValueError, match="`choices` must be 2 to 6 texts, got 1"):
        quiz.ask("?", "a", correct="a", why="")
    with pytest.raises(ValueError, match="`correct` must be one of a, b, got 'c'"):
        quiz.ask("?", "x", "y", correct="c", why="")
