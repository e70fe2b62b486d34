"""The registry: everything the broker decides, without sockets, threads, disk or clocks."""
