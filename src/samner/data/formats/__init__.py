"""The formats of labelled text, one file each, and the registry that chooses among them.

A path comes in, examples go out, and back. May import ``data.lines`` and ``data.validation``, and what is
below ``data``.
"""
