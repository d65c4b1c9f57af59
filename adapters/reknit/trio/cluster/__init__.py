"""The other nodes of a cluster: clients are brought to them, and come from them."""
