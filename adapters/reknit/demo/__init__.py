"""`reknit demo`: both peers, the proxy, and what arrived."""
