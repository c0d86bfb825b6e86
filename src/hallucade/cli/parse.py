"""How every command reads its options."""

from collections.abc import Callable, Sequence

import tyro

MARKERS = (tyro.conf.AvoidSubcommands, tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff)


def parse(command: Callable[..., None], name: str, arguments: Sequence[str]) -> None:
    """Run a command whose options are its function's arguments."""
    tyro.cli(command, args=arguments, prog=f"hallucade {name}", config=(*MARKERS, tyro.conf.DisallowNone))
