"""What the proxy knows of protocols inside WebSocket messages, so that a new server hears enough.

`speech` has the words: what a dialect is given, and what it says of a message. `statements` keeps
what a new server must be told. The other modules are dialects.
"""
