"""Several machines that are one proxy: whose a session is, and how its client gets there."""
