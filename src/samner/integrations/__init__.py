"""samner inside of other tools: a component of spaCy, a recogniser of Presidio, a backend of Label Studio, Ray.

Each file needs its own extra and is imported by who has it; it turns the tool's texts into questions to a
``TaskModel`` and the answers into what the tool knows. ``shards`` is what there is to do with many files, whoever
shares out the work. May import everything but ``cli`` and ``serving``.
"""
