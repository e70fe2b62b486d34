"""Tests of the monitor without a browser."""
