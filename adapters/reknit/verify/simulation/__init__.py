"""Many sessions in a storm of faults, in virtual time by seed."""
