"""The pool over SmolLM2-135M-Instruct: its lessons, its training, and what it gives."""
