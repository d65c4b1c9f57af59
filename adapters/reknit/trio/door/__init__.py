"""Where connections come in: listening, the first bytes, plain requests."""
