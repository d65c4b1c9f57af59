"""What is said of the proxy: the log and the event hook."""
