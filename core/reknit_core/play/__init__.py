"""Scenarios played against the core, with peers that the script moves."""
