"""A synthetic translation task: dates as people write them, in seven languages, to ISO 8601.

"14. März 2021", "le 14 mars 2021" and "3/14/2021" all become "2021-03-14". With slashes the month comes first, as in
the United States; with dots or hyphens the day does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

from transformer_torch.data.corpus import Corpus

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}
WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
}
# d, m, y: day, month and year in digits; D, M: with two digits; N: name of the month; S: its first three letters;
# W: name of the weekday
FORMS = {
    "en": ["N d, y", "W, N d, y", "d N y", "S d, y", "d S y", "m/d/y", "M/D/y", "W, d S y"],
    "de": ["d. N y", "W, d. N y", "W, den d. N y", "d.m.y", "D.M.y"],
    "fr": ["d N y", "le d N y", "W d N y", "le W d N y"],
    "es": ["d de N de y", "W, d de N de y", "el d de N de y"],
    "it": ["d N y", "W d N y", "il d N y"],
    "nl": ["d N y", "W d N y", "d-m-y"],
    "ja": ["y年m月d日", "y年M月D日"],
}


@dataclass(frozen=True)
class WrittenDate:
    """A date in one of its forms, in ISO 8601, and the alignment of their digits."""

    text: str
    iso: str
    alignment: dict[int, int]
    """Position in `iso` -> position in `text` of every digit that is in both; "March" has no digit for "03"."""


def write(day: date, language: str, form: str) -> WrittenDate:
    """Return one date in one form.

    >>> write(date(2021, 3, 4), "de", "d. N y").text
    '4. März 2021'
    """
    iso, text = day.isoformat(), ""
    alignment: dict[int, int] = {}
    names = {"N": MONTHS, "S": MONTHS, "W": WEEKDAYS}
    fields = {"y": (0, f"{day:%Y}"), "M": (5, f"{day:%m}"), "D": (8, f"{day:%d}"), "m": (5, ""), "d": (8, "")}
    word = ""
    for character in [*form, ""]:
        if character.isascii() and character.isalpha():
            word += character
            continue
        if word in fields:
            start, digits = fields[word]
            digits = digits or str(day.month if word == "m" else day.day)
            end = start + (4 if word == "y" else 2)  # digits are at the right of their field
            alignment |= {end - len(digits) + i: len(text) + i for i in range(len(digits))}
            text += digits
        elif word in names:
            name = names[word][language].split()[day.weekday() if word == "W" else day.month - 1]
            text += name[:3] if word == "S" else name
        else:
            text += word
        word = ""
        text += character
    return WrittenDate(text, iso, alignment)


def sample_form(rng: random.Random, day: date) -> WrittenDate:
    """Return a date in a random form: first the language is sampled, then one of its forms."""
    language = rng.choice(list(FORMS))
    return write(day, language, rng.choice(FORMS[language]))


def is_held_out(day: date) -> bool:
    """Return whether a day is for testing only; about every tenth is, and training has it in no form."""
    return random.Random(day.toordinal()).random() < 0.1


def date_pairs(n: int, seed: int = 0, held_out: bool = False) -> list[WrittenDate]:
    """Return n dates from 1900 to 2099 in random forms, from the days for training or from those held out."""
    rng = random.Random(f"{seed} {held_out}")
    days = (LAST_DAY - FIRST_DAY).days
    pairs: list[WrittenDate] = []
    while len(pairs) < n:
        day = FIRST_DAY + timedelta(rng.randint(0, days))
        if is_held_out(day) == held_out:
            pairs.append(sample_form(rng, day))
    return pairs


def date_corpus(n: int, seed: int = 0, held_out: bool = False) -> Corpus:
    """Return `date_pairs` as lines of source and target."""
    pairs = date_pairs(n, seed, held_out)
    return Corpus([p.text for p in pairs], [p.iso for p in pairs], "synthetic dates")
