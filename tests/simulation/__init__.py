"""Registry, links and mirrors on a faulty network, in virtual time."""
