"""The two levels of IR: graph values, and loops over buffers."""
