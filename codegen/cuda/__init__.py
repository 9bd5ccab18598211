"""Kernels to CUDA C++: words, expressions, the mapping of loops to threads, and whole programs."""
