"""How good samples are: the task's own measures, FID, and results on the disk."""
