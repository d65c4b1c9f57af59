"""Heads of requests and answers: what is read of them, and what may not stand in them."""
