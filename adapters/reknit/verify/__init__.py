"""What holds the core against other words of it: model, fuzzers, simulation."""
