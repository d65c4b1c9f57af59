"""Adapters of reknit: they move bytes and tell the time; the core decides."""
