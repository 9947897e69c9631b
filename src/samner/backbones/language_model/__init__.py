"""Causal language models that read a prompt and answer in JSON: the paper's family."""
