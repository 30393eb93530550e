"""A trained run as a translator: lines in, lines out, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from transformer_torch.batching import pad
from transformer_torch.config import Device, TransformerConfig, from_dict
from transformer_torch.decode import LengthPenalty, Stop, beam_search, greedy_decode
from transformer_torch.device import choose_device
from transformer_torch.files import read_json, read_tensors
from transformer_torch.model import Transformer
from transformer_torch.train import load_weights
from transformer_torch.vocab import BOS, EOS, Vocabulary, load_vocabulary


class Translator:
    """A model with its vocabulary.

    `translate` keeps many lines in a batch, sorted by length; the result of a line does not depend on the others.
    """

    def __init__(self, model: Transformer, vocabulary: Vocabulary) -> None:
        if len(vocabulary) != model.config.vocab_size:
            raise ValueError(
                f"vocabulary: {len(vocabulary):,} ids; this model has {model.config.vocab_size:,}: "
                "they are of different runs"
            )
        self.model, self.vocabulary = model.eval(), vocabulary

    @classmethod
    def load(
        cls, folder: str | Path, device: Device = "cpu", dtype: Literal["float32", "bfloat16"] = "float32"
    ) -> Translator:
        """From the folder of a run; bfloat16 halves the weights, and is faster where the device computes it."""
        folder = Path(folder)
        values = read_json(folder / "config.json")
        if not isinstance(values, dict) or "model" not in values:
            raise ValueError(f"{folder / 'config.json'}: not the configuration of a run")
        model = Transformer(from_dict(TransformerConfig, values["model"], str(folder / "config.json")))
        weights, _ = read_tensors(folder / "model.safetensors")
        load_weights(model, weights, folder / "model.safetensors")
        translator = cls(model, load_vocabulary(folder))
        model.to(choose_device(device), torch.bfloat16 if dtype == "bfloat16" else torch.float32)
        return translator

    def encode(self, line: str) -> list[int]:
        """Ids of a source line with the end id; ValueError if it is longer than the model's positions."""
        ids = [*self.vocabulary.encode(line), EOS]
        if len(ids) > self.model.config.max_length:
            raise ValueError(
                f"line: {len(ids):,} tokens in {line[:40]!r}...; "
                f"this model has {self.model.config.max_length:,} positions"
            )
        return ids

    def nbest(
        self,
        lines: Sequence[str],
        beam: int = 4,
        alpha: float = 0.6,
        length_penalty: LengthPenalty = "gnmt",
        stop: Stop = "heuristic",
        batch_size: int = 64,
    ) -> list[list[tuple[str, float]]]:
        """For each line up to `beam` translations with their scores, best first. A line without text stays empty."""
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} sentences; at least 1")
        found: list[list[tuple[str, float]]] = [[("", 0.0)] for _ in lines]
        ids = [self.encode(line) for line in lines]
        order = sorted((i for i, line in enumerate(lines) if line.strip()), key=lambda i: len(ids[i]))
        device = self.model.embedding.weight.device
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            src = pad([ids[i] for i in chosen], self.model.config.pad_id).to(device)
            if beam == 1:
                hypotheses = [[(output, 0.0)] for output in greedy_decode(self.model, src, BOS, EOS)]
            else:
                hypotheses = beam_search(self.model, src, BOS, EOS, beam, alpha, length_penalty, stop)
            for i, pool in zip(chosen, hypotheses, strict=True):
                found[i] = [(self.vocabulary.decode(output), score) for output, score in pool]
        return found

    def translate(self, lines: Sequence[str], beam: int = 4, alpha: float = 0.6, batch_size: int = 64) -> list[str]:
        """The best translation of each line; beam 1 is greedy."""
        return [pool[0][0] for pool in self.nbest(lines, beam, alpha, batch_size=batch_size)]

    def stream(self, lines: Iterable[str], beam: int = 4, alpha: float = 0.6, chunk: int = 512) -> Iterator[str]:
        """Translations in order, as they come: after every `chunk` lines, so that the input may be without end."""
        waiting = iter(lines)
        while block := list(islice(waiting, chunk)):
            yield from self.translate(block, beam, alpha)

    @torch.inference_mode()
    def attention(self, line: str, translation: str | None = None) -> tuple[list[str], list[str], dict[str, Tensor]]:
        """Pieces of source and target, end ids included, and all attention weights, each (heads, queries, keys).

        The query that produced target piece i is row i: `decoder.0.cross` and so on; see `Transformer.forward`.
        """
        src = self.encode(line)
        target = self.translate([line], beam=1)[0] if translation is None else translation
        tgt = [BOS, *self.vocabulary.encode(target), EOS]
        device = self.model.embedding.weight.device
        record: dict[str, Tensor] = {}
        self.model(torch.tensor([src], device=device), torch.tensor([tgt[:-1]], device=device), record)
        pieces = self.vocabulary.pieces
        return pieces(src), pieces(tgt[1:]), {name: weights[0].float().cpu() for name, weights in record.items()}
