"""Compare generation with the key/value cache and without it, at context 256.

python benchmarks/generation.py      # writes results/generation.json
"""

from __future__ import annotations

from pathlib import Path

import torch
from dlpapers_shared.timing import compare, write_record
from lets_build_gpt import Model

FOLDER = Path(__file__).parent.parent
SHAPES = {"0.8 M (nanogpt-cpu)": (128, 4, 4), "1.8 M (cpu-15min)": (192, 6, 4), "10.7 M (gpu)": (384, 6, 6)}


def main() -> None:
    """Time both, check that the texts are identical, and write the record."""
    torch.set_num_threads(1)
    rows = []
    for name, (d_model, n_heads, n_layers) in SHAPES.items():
        torch.manual_seed(0)
        model = Model(256, d_model, n_heads, n_layers, 65, dropout=0.0).eval()
        start = torch.zeros(1, 1, dtype=torch.long)

        def text(use_cache: bool, model: Model = model, start: torch.Tensor = start) -> torch.Tensor:
            return model.generate(start, 256, generator=torch.Generator().manual_seed(0), use_cache=use_cache)

        assert torch.equal(text(True), text(False))
        found = compare(lambda text=text: text(True), {"no cache": lambda text=text: text(False)}, rounds=5)
        rows.append(
            {
                "model": name,
                "tokens/s with cache": 255 / found.seconds(),
                "tokens/s without cache": 255 / found.seconds("no cache"),
                "speedup": found.ratio("no cache"),
            }
        )
    write_record(
        FOLDER / "results" / "generation.json",
        title="Generating 256 characters with and without the key/value cache, batch 1, one thread",
        command="python packages/lets-build-gpt/benchmarks/generation.py",
        seed=0,
        rows=rows,
        distributions=["torch"],
        note="The texts are identical. Median of 5 interleaved rounds, CPU time.",
    )


if __name__ == "__main__":
    main()
