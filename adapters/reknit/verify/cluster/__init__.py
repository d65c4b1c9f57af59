"""A cluster in virtual time, by seed: nodes and a store with which everything goes wrong."""
