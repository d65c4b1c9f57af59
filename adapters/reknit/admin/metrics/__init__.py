"""What all sessions together do, in Prometheus' text form."""
