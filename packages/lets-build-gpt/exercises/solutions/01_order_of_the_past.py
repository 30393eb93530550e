"""Solution of exercise 1: from the second block on, keys and values depend on the tokens before them."""


def order_matters(n_layers: int) -> bool:
    """With one block, keys and values depend on their own token only, and a weighted mean has no order."""
    return n_layers > 1


WRONG = [{"order_matters": lambda n_layers: True}, {"order_matters": lambda n_layers: False}]
