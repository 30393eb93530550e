"""A trained run as a translator: lines in, lines out, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_torch._common.atomic import read_json_object, write_json
from transformer_torch._common.device import pick_device, pick_dtype
from transformer_torch._common.errors import check_integer, check_not_negative
from transformer_torch._common.pretrained import find_run
from transformer_torch._common.run_folder import CONFIG, WEIGHTS
from transformer_torch._common.tensors import load_weights, read_tensors
from transformer_torch.config import Dtype, TransformerConfig, from_dict
from transformer_torch.data.batching import pad
from transformer_torch.data.tokenizer import BOS_ID, EOS_ID, Tokenizer, load_tokenizer
from transformer_torch.inference.generate import LengthNorm, Stop, beam_search, greedy_decode
from transformer_torch.model import Transformer

Truncated = Callable[[int, int, int], None]  # index of the line, its tokens, how many of them were kept


LENGTH_ALPHA = "length_alpha"  # in config.json
DEFAULT_ALPHA = 0.6  # the paper's (section 6.1)


def store_length_alpha(folder: Path, length_alpha: float) -> None:
    """Make an exponent of the length norm the default of a run."""
    write_json(folder / CONFIG, read_json_object(folder / CONFIG) | {LENGTH_ALPHA: length_alpha})


class Translator:
    """A model with its tokenizer.

    Lines are translated in batches of similar length. In float32 the result of a line does not depend on the others;
    in bfloat16 rounding makes about one line in ten differ.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        if len(tokenizer) != model.config.vocab_size:
            raise ValueError(
                f"`tokenizer` must have the model's vocabulary of {model.config.vocab_size:,} ids, "
                f"got {len(tokenizer):,}. They are of different runs"
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.length_alpha = DEFAULT_ALPHA  # or what store_length_alpha wrote into the run folder

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", dtype: Dtype = "float32") -> Translator:
        """Return the translator in a run folder, or the shipped model `pretrained:NAME`.

        dtype: of the weights; "auto" is bfloat16 where it is faster.

        Raises: ValueError that names the file that is missing, damaged or of another model.
        """
        folder = find_run(folder, "transformer_torch")
        path = folder / CONFIG
        if not path.exists():
            raise ValueError(f"{path}: not found. Is {folder} a run folder?")
        values = read_json_object(path)
        if "model" not in values:
            raise ValueError(f"{path}: not the settings of a run")
        where = pick_device(device)
        kind = pick_dtype(dtype, where)
        model = Transformer(from_dict(TransformerConfig, values["model"], str(path)))
        weights, _ = read_tensors(folder / WEIGHTS)
        load_weights(model, weights, folder / WEIGHTS)
        translator = cls(model, load_tokenizer(folder))
        if LENGTH_ALPHA in values:
            check_not_negative(f"{path}: {LENGTH_ALPHA}", values[LENGTH_ALPHA])
            translator.length_alpha = float(values[LENGTH_ALPHA])
        model.to(where, kind)
        return translator

    def encode(self, line: str, max_source_tokens: int | None = None) -> list[int]:
        """Return the ids of a source line with the end id, truncated to `max_source_tokens` ids (None: max_length)."""
        ids = [*self.tokenizer.encode(line), EOS_ID]
        most = self.model.config.max_length if max_source_tokens is None else max_source_tokens
        return ids if len(ids) <= most else [*ids[: most - 1], EOS_ID]

    def nbest(
        self,
        lines: Sequence[str],
        beam_size: int = 4,
        length_alpha: float = 0.6,
        length_norm: LengthNorm = "gnmt",
        stop: Stop = "heuristic",
        batch_size: int = 64,
        max_source_tokens: int | None = None,
        truncated: Truncated = lambda line, tokens, kept: None,
        at_least: int = 1,
    ) -> list[list[tuple[str, float]]]:
        """Return up to `beam_size` different translations of each line with their scores, best first.

        A blank line has one empty translation. Longer lines than `max_source_tokens` are truncated, and `truncated`
        is told. With beam size 1 decoding is greedy, and the score is 0. Different ids may have the same text; a line
        with fewer than `at_least` different texts is searched again with beams of up to 8 times the size.
        """
        check_integer("beam_size", beam_size, 1)
        check_integer("batch_size", batch_size, 1)
        if max_source_tokens is not None:
            check_integer("max_source_tokens", max_source_tokens, 2)
        found: list[list[tuple[str, float]]] = [[("", 0.0)] for _ in lines]
        ids: dict[int, list[int]] = {}
        for i, line in enumerate(lines):
            if line.strip():
                ids[i] = self.encode(line, max_source_tokens)
                if len(ids[i]) < (tokens := len(self.tokenizer.encode(line)) + 1):
                    truncated(i, tokens, len(ids[i]))
        order = sorted(ids, key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            width = beam_size
            while chosen:
                pools = self._search([ids[i] for i in chosen], width, length_alpha, length_norm, stop)
                for i, pool in zip(chosen, pools, strict=True):
                    found[i] = pool[:beam_size]
                chosen = [i for i in chosen if len(found[i]) < at_least] if width < 8 * beam_size else []
                width *= 2
        return found

    def _search(
        self, sources: list[list[int]], beam_size: int, length_alpha: float, length_norm: LengthNorm, stop: Stop
    ) -> list[list[tuple[str, float]]]:
        """Return the different texts of one batch; of equal texts the one with the best score."""
        src = pad(sources, self.model.config.pad_id).to(self.model.embedding.weight.device)
        if beam_size == 1:
            hypotheses = [[(output, 0.0)] for output in greedy_decode(self.model, src, BOS_ID, EOS_ID)]
        else:
            hypotheses = beam_search(self.model, src, BOS_ID, EOS_ID, beam_size, length_alpha, length_norm, stop)
        found = []
        for pool in hypotheses:
            texts: dict[str, float] = {}
            for output, score in pool:
                texts.setdefault(self.tokenizer.decode(output), score)
            found.append(list(texts.items()))
        return found

    def translate(
        self,
        lines: Sequence[str],
        beam_size: int = 4,
        length_alpha: float = 0.6,
        length_norm: LengthNorm = "gnmt",
        batch_size: int = 64,
        max_source_tokens: int | None = None,
        truncated: Truncated = lambda line, tokens, kept: None,
    ) -> list[str]:
        """Return the best translation of each line. Beam size 1 is greedy decoding."""
        pools = self.nbest(
            lines,
            beam_size,
            length_alpha,
            length_norm,
            batch_size=batch_size,
            max_source_tokens=max_source_tokens,
            truncated=truncated,
        )
        return [pool[0][0] for pool in pools]

    def stream(
        self, blocks: Iterable[Sequence[str]], beam_size: int = 4, length_alpha: float = 0.6
    ) -> Iterator[list[str]]:
        """Yield the translations of each block of lines as it arrives, so that the input may be endless."""
        for block in blocks:
            yield self.translate(block, beam_size, length_alpha)

    @torch.inference_mode()
    def attention(self, line: str, translation: str | None = None) -> tuple[list[str], list[str], dict[str, Tensor]]:
        """Return the tokens of source and target, end included, and all attention weights, (heads, queries, keys).

        Row i of `decoder.0.cross_attn` is the query that predicts target token i; see `Transformer.forward`.
        """
        src = self.encode(line)
        target = self.translate([line], beam_size=1)[0] if translation is None else translation
        tgt = [BOS_ID, *self.tokenizer.encode(target), EOS_ID]
        device = self.model.embedding.weight.device
        inputs = (torch.tensor([ids], device=device) for ids in (src, tgt[:-1]))
        _, found = self.model(*inputs, return_intermediates=True)
        tokens = self.tokenizer.tokens
        return tokens(src), tokens(tgt[1:]), {name: weights[0].float().cpu() for name, weights in found.items()}
