"""Random sessions and random bytes, and scenarios that shrink from them."""
