"""Experiments by name: a recipe is a function without arguments that returns a `RunConfig`.

A recipe of this package is found by its name, a user's own by ``path/to/file.py:function`` (or just the file, when it
defines one recipe named as the file).
"""
