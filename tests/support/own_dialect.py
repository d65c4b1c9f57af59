"""A dialect of a user's own, as a file describes it."""

RULES = """
name = "mine"
subprotocols = ["mine"]

[[statement]]
match = { type = "login" }
awaits = { type = "welcome" }
"""
