"""Who answers a question: a model in this process (``local``), or a server over OpenAI's API (``client``, ``server``).

In go questions (``questions.Question``), out come answers with the probability of each token. Prompts and grammars
come from ``generation``.
"""
