"""An adapter without sockets: the core on a simulated network, in virtual time."""
