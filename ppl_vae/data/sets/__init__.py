"""Data sets known by name, one module each."""
