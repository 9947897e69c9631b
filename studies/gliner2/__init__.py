"""A pool over GLiNER2: a small base where no hub is at hand, and all experts and the table by one command."""
