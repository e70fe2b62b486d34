"""The fault runs of scripts/chaos.py, and a short one of them."""
