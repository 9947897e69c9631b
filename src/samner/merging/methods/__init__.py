"""The merge methods, one file each. Whoever adds one adds its file's name here, which registers it."""
