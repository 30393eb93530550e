"""A minute of Multi30k with a vocabulary of `bpe` is enough for a translation that is clearly better than noise."""

import gzip
import os
import subprocess
import sys

import sacrebleu

SIZES = ("--vocab-size", "2000", "--d-model", "128", "--n-heads", "4", "--n-layers", "2", "--d-ff", "512")
SCHEDULE = ("--steps", "700", "--warmup-steps", "150", "--decay-steps", "500")
TRAINING = ("--norm", "pre", "--batch-tokens", "2048", *SCHEDULE)
BLEU = 12.0  # 17.5 when this bound was chosen


def test_a_minute_of_training_beats_12_bleu(data_file, tmp_path):
    data_file("mt/train.de.gz")  # skips without the data
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments, stdin=None):
        command = [sys.executable, "-m", "transformer_torch", *map(str, arguments)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, encoding="utf-8", env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("train", "small", "--data", "multi30k-de-en", *SIZES, *TRAINING, "--dtype", "float32", "--out", tmp_path / "m")
    test = {side: data_file(f"mt/test_2016_flickr.{side}.gz").read_bytes() for side in ("de", "en")}
    lines = {side: gzip.decompress(content).decode() for side, content in test.items()}
    translated = run("translate", tmp_path / "m", "--beam-size", 1, stdin=lines["de"])
    bleu = sacrebleu.corpus_bleu(translated.splitlines(), [lines["en"].splitlines()])
    assert bleu.score > BLEU
