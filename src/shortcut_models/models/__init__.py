"""A trained model and its files: checkpoint, run directory, Hub folder."""
