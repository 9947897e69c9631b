"""Both pools trained on a GPU that is there for minutes, on a machine that can fetch nothing."""
