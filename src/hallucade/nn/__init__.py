"""Layers used by world models."""
