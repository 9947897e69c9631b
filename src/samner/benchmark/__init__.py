"""Measure pools on labelled targets: every way to select and merge experts, with references and ceilings.

In comes a YAML file of pools, targets and arms (``config``); each arm becomes models and a rule that joins their
answers (``arms``), the models read the test texts once (``answers``), what they found is scored (``results``), and
``run`` puts it together and hands it to ``report``. Out go ``results.json``, a report, and tables in a Markdown file.
May import everything but ``serving``, ``integrations`` and ``cli``; names no family of base models and no data set.
"""
