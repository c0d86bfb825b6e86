"""Simulators with a known state, and bots that play them."""
