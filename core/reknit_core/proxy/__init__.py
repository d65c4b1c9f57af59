"""What stands around the sessions: their map, admission, plain requests, the drain."""
