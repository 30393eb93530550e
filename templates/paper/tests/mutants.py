"""Mistakes that people make in this paper, one line each. `nox -s "mutants({{NAME}})"` shows that tests detect them."""
# Replace: the mistakes that people make in your paper.

from mutation import Mutant

MUTANTS = [
    Mutant("model.py", "torch.tanh(x @", "torch.relu(x @", "relu instead of tanh", "test_parity.py"),
    Mutant("model.py", " + self.hidden_bias)", ")", "no bias in the hidden layer", "test_parity.py"),
    Mutant("model.py", "dropout, self.training", "dropout, True", "dropout in evaluation", "test_training.py"),
    Mutant("loss.py", ".mean()", ".sum()", "sum instead of mean", "test_parity.py"),
    Mutant("data.py", "length, 1)[:-1]", "length, 1)[1:]", "the context contains its target", "test_properties.py"),
    Mutant("optim.py", "if p.dim() >= 2:", "if p.dim() >= 1:", "weight decay on biases", "test_parity.py"),
    Mutant("generate.py", "/ temperature", "* temperature", "multiplied by the temperature", "test_properties.py"),
]
