"""What happened, as data that can be asked for."""
