"""Pretrained weights: Hugging Face folders, nanoGPT and minGPT files, OpenAI's download."""
