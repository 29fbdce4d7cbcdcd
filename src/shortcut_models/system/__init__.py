"""The process and its machine: signals, torchrun, whole files, hashes, files from strangers."""
