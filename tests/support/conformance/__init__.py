"""A strict WebSocket peer: its cases, who plays them, and the ordinary peers it plays against."""
