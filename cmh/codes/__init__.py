"""Packed binary codes: Hamming distances, compiled kernels, exact and approximate search, index files."""
