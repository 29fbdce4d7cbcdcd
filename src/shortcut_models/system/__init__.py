"""The process and its machine: signals, torchrun, whole files, locks, hashes, and pools of processes."""
