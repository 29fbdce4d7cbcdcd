"""The checkpoints of the paper's own code."""
