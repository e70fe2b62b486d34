"""The scripts that try the product, tried themselves."""
