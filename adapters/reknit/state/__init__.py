"""`--state-dir`: sessions that outlive a crash of the proxy."""
