# Vendored: edit shared/vendored/__init__.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Small utilities that every package copies verbatim: atomic writes, argument checks, the command-line wrapper."""
