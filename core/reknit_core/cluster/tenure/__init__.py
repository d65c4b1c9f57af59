"""Whose a book is: a node's lease, its claims, and its promises to the others."""
