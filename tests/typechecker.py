"""The run-time type check of every annotated function of the package; named in pyproject.toml."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # as pyright: an int fits where a float is meant
