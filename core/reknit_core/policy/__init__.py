"""The configuration of a proxy, and what may stand in it."""
