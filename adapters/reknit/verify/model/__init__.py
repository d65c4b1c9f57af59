"""The reference model: what a session must do, written a second time, simply."""
