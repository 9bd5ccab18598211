"""Runs compiled programs: loading, memory, calls and state. Imports nothing of the compiler."""
