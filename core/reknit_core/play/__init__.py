"""How scenarios are read and played: the parts behind trace.py."""
