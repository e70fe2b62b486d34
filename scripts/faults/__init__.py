"""The parts of ``scripts/chaos.py``: what goes wrong when, the processes it goes wrong with, and
what must hold when it is over."""
