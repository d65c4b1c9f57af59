"""A session as data: for another process, and for the time after a crash."""
