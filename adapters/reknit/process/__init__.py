"""`reknit serve` as a process: start, signals, restart, takeover."""
