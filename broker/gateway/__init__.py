"""The REST gateway: HTTP in front of the broker, for whatever does not speak the bus.

It holds no state and asks the broker through `sessionclient`, as every other operator does; it
imports nothing of the broker, so it runs beside it or on another host alike.
"""
