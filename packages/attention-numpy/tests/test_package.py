"""What every package promises, and what this one does: it works where there is NumPy alone."""

import subprocess
import sys
from pathlib import Path

import attention_numpy
import numpy
from package_checks import *  # noqa: F403

CODE = """
import importlib.util, sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + [sys.argv[1]]
for name in ("tyro", "tqdm", "torch", "dlpapers_shared", "matplotlib", "pytest"):
    assert importlib.util.find_spec(name) is None, name
import numpy as np
from attention_numpy import Adam, Transformer, TransformerConfig, cross_entropy, noam
from pathlib import Path
rng = np.random.default_rng(0)
src, tgt = rng.integers(3, 40, (4, 7)), rng.integers(3, 50, (4, 9))
model = Transformer(TransformerConfig(40, 50, 32, 4, 1, 64, dropout=0.1), seed=0)
optimizer = Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9, schedule=noam(d_model=32, warmup_steps=20))
losses = []
for _ in range(40):
    loss, dlogits = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:], label_smoothing=0.1, ignore_index=0)
    model.backward(dlogits); optimizer.step(); optimizer.zero_grad()
    losses.append(loss)
assert losses[-1] < 0.5 * losses[0], losses
assert len(model.generate(src, bos_id=1, eos_id=2, max_new_tokens=5, beam_size=2)) == 4
from attention_numpy import DataConfig, ModelConfig, TrainConfig, Trainer
train = TrainConfig(steps=2, batch_size=4, eval_count=5)
trainer = Trainer(ModelConfig(d_model=16, d_ff=16), train, DataConfig(task="sort"))
for _ in range(2):
    trainer.step()
third = {m.split(".")[0] for m in sys.modules} - set(sys.stdlib_module_names) - {"numpy", "attention_numpy", "__main__"}
print(sorted(m for m in third if not m.startswith("_") and m != "cython_runtime"))  # NumPy's own
"""


def test_it_imports_and_trains_where_numpy_alone_is_installed(tmp_path):
    site = Path(numpy.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (site / name).exists():
            (tmp_path / name).symlink_to(site / name, target_is_directory=True)
    (tmp_path / "attention_numpy").symlink_to(Path(attention_numpy.__file__).parent, target_is_directory=True)
    command = [sys.executable, "-I", "-S", "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_config_module_imports_no_numpy():
    code = "import sys, attention_numpy.config, attention_numpy.recipes; assert 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
