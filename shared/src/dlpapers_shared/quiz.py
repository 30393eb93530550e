"""A short quiz at the end of a notebook: the answer is checked and explained, without an account or a network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from dlpapers_shared._common.errors import check_choice


@dataclass(frozen=True)
class Question:
    """A question with its choices. A notebook shows it; `answer` checks a choice."""

    text: str
    choices: Mapping[str, str]
    correct: str
    why: str

    def answer(self, choice: str | None) -> Answer:
        """Return whether a choice is correct, with the explanation. None is no answer yet: only the question is shown.

        Raises: ValueError if the choice is not one of the letters.
        """
        if choice is not None:
            check_choice("choice", choice, tuple(self.choices))
        return Answer(self, choice)


@dataclass(frozen=True)
class Answer:
    """A question and the choice of the reader. `bool(answer)` is whether the choice is correct."""

    question: Question
    choice: str | None

    def __bool__(self) -> bool:
        return self.choice == self.question.correct

    @property
    def verdict(self) -> str:
        """Return one line: what to do, or whether the choice is correct and why."""
        if self.choice is None:
            return f"Your answer: set `choice` to one of {', '.join(map(repr, self.question.choices))}."
        start = "Correct." if self else f"Not {self.choice!r}. Read the question again, or see the explanation:"
        return f"{start} {self.question.why}"

    def __str__(self) -> str:
        rows = [f"  {letter}) {text}" for letter, text in self.question.choices.items()]
        return "\n".join([self.question.text, *rows, self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows; after a wrong answer, the explanation is folded."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in self.question.choices.values())
        body = f"<p><b>{html.escape(self.question.text)}</b></p><ol type='a'>{items}</ol>"
        if self.choice is None:
            return f"{body}<p>{html.escape(self.verdict)}</p>"
        why = html.escape(self.question.why)
        if self:
            return f"{body}<p>✓ <b>Correct.</b> {why}</p>"
        fold = f"<details><summary>Explanation</summary>{why}</details>"
        return f"{body}<p>✗ <b>Not {html.escape(self.choice)}.</b> Read the question again.</p>{fold}"


def question(text: str, *choices: str, correct: str, why: str) -> Question:
    """Return a question with two to six choices, which get the letters a, b, c, …

    Define the questions of a notebook in one folded cell, so that the cells in which they are answered show neither
    `correct`, the letter of the correct choice, nor `why`, the explanation.
    Raises: ValueError if the letter is not that of a choice, or the number of choices is not 2 to 6.

    >>> sum_of_ones = question("What is 1 + 1?", "1", "2", correct="b", why="1 + 1 = 2.")
    >>> bool(sum_of_ones.answer("a"))
    False
    """
    if not 2 <= len(choices) <= 6:
        raise ValueError(f"`choices` must be 2 to 6 texts, got {len(choices)}")
    lettered = dict(zip("abcdef", choices, strict=False))
    check_choice("correct", correct, tuple(lettered))
    return Question(text, lettered, correct, why)


def ask(text: str, *choices: str, correct: str, why: str, choice: str | None = None) -> Answer:
    """Ask a question and check a choice at once.

    text, choices, correct, why: as for `question`. choice: the letter that the reader chose, None for no answer yet.
    Raises: ValueError if a letter is not that of a choice, or the number of choices is not 2 to 6.

    >>> ask("What is 1 + 1?", "1", "2", correct="b", why="1 + 1 = 2.", choice="b")
    What is 1 + 1?
      a) 1
      b) 2
    Correct. 1 + 1 = 2.
    """
    return question(text, *choices, correct=correct, why=why).answer(choice)
