"""The product's version, stated once: the package's metadata is built from here."""

__version__ = "0.1.0"
