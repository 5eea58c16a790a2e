"""Packed binary codes: Hamming distances, compiled kernels, search, what it finds, index files."""
