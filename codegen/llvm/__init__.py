"""Kernels to LLVM IR text, and that text to object files, assembly, or code in this process."""
