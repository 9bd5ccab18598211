"""Kernels to machine code: one folder for each kind of target, and what they share."""
