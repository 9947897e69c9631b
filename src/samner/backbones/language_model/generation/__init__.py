"""Entities as JSON that a language model writes: a prompt becomes questions, answers become entities with offsets.

What goes in are texts and entity types, what comes out are entities and their scores. Whoever answers is an engine
(``ask``); nothing here runs a model but the grammar that an answer is held to.
"""
