"""Training data: synthetic tasks for the encoder-decoder, text files for the language model."""

from attention_numpy.config import TASKS, DataConfig, TaskName
from attention_numpy.data.number_words import NumberDigits, NumberWords, english, german
from attention_numpy.data.tasks import BOS_ID, EOS_ID, PAD_ID, Addition, Copy, Reverse, Sort, Task
from attention_numpy.data.text import CharTokenizer, TextFile

__all__ = [
    "BOS_ID",
    "EOS_ID",
    "PAD_ID",
    "Addition",
    "CharTokenizer",
    "Copy",
    "NumberDigits",
    "NumberWords",
    "Reverse",
    "Sort",
    "Task",
    "TextFile",
    "english",
    "german",
    "make_task",
]


def make_task(name: TaskName, digits: int = 3, sum_reversed: bool = True, sparse: float = 0.5) -> Task:
    """Return the task of this name. The options are those of `Addition`.

    >>> make_task("reverse").transform(list("abc"))
    ['c', 'b', 'a']
    """
    if name == "addition":
        return Addition(digits, sum_reversed, sparse)
    kinds: dict[str, type[Task]] = {
        "number-words": NumberWords,
        "number-digits": NumberDigits,
        "copy": Copy,
        "reverse": Reverse,
        "sort": Sort,
    }
    if name not in kinds:
        raise ValueError(f"`task` must be one of {', '.join(t for t in TASKS if t != 'text')}, got {name!r}")
    return kinds[name]()


def task_of(config: DataConfig) -> Task:
    """Return the task of a configuration other than `text`."""
    assert config.task != "text"
    return make_task(config.task, config.digits, config.sum_reversed, config.sparse)
