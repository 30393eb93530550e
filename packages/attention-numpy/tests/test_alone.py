"""NumPy is all that it takes: imported and trained in an environment that holds numpy alone."""

import subprocess
import sys
from pathlib import Path

import attention_numpy
import numpy

CODE = """
import importlib.util, sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + [sys.argv[1]]
for name in ("tyro", "tqdm", "torch", "dlpapers_shared", "matplotlib", "pytest"):
    assert importlib.util.find_spec(name) is None, name
import numpy as np
from attention_numpy import Adam, NoamSchedule, Transformer, TransformerConfig, cross_entropy
from attention_numpy.training import Trainer, TrainConfig
from pathlib import Path
rng = np.random.default_rng(0)
src, tgt = rng.integers(3, 40, (4, 7)), rng.integers(3, 50, (4, 9))
model = Transformer(TransformerConfig(40, 50, 32, 4, 1, 64, dropout=0.1), seed=0)
optimizer = Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9, schedule=NoamSchedule(d_model=32, warmup=20))
losses = []
for _ in range(40):
    loss, dlogits = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
    model.backward(dlogits); optimizer.step(); optimizer.zero_grad()
    losses.append(loss)
assert losses[-1] < 0.5 * losses[0], losses
assert len(model.generate(src, bos=1, eos=2, max_length=5, beam=2)) == 4
Trainer(TrainConfig(task="sort", steps=2, batch=4, d_model=16, d_ff=16)).run(Path(sys.argv[1]) / "run")
third = {m.split(".")[0] for m in sys.modules} - set(sys.stdlib_module_names) - {"numpy", "attention_numpy", "__main__"}
print(sorted(m for m in third if not m.startswith("_") and m != "cython_runtime"))  # NumPy's own
"""


def test_it_imports_and_trains_where_there_is_numpy_alone(tmp_path):
    site = Path(numpy.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (site / name).exists():
            (tmp_path / name).symlink_to(site / name, target_is_directory=True)
    (tmp_path / "attention_numpy").symlink_to(Path(attention_numpy.__file__).parent, target_is_directory=True)
    command = [sys.executable, "-I", "-S", "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
