"""What the proxy knows of protocols inside WebSocket messages, so that a new server hears enough.

`speech` has the words: what a dialect is given, and what it says of a message. `statements` keeps
what a new server must be told, `halves` what it must have heard where the queue is cut within
something; `interpreter` is one session's conversation. `registry` has all dialects by name. The
other modules are dialects: `rules` those that are data, `conversation` and `stream` what those
have in common that are a stream of bytes.
"""
