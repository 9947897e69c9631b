"""An expert from labelled texts: questions and right answers (``examples``), rows (``rows``), LoRA training by trl.

In go data sets and a recipe, out comes a PEFT folder and what the run did. ``generation`` gives prompts and reads
answers; only ``trainer`` and ``checkpoints`` need trl.
"""
