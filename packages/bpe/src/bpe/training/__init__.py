"""Training: read the corpus (`corpus`), count its pre-tokens (`count`), learn merges (`merges`), all in one (`api`)."""
