"""Measure how good samples are: the task's own metrics, FID, and results on the disk."""
