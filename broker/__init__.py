"""The broker: owns the registry and its database, and pushes kills the moment they are accepted."""
