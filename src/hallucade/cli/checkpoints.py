"""Command: import-checkpoint."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from hallucade.cli.parse import parse
from hallucade.data.store import EpisodeStore
from hallucade.models.nanowm import Injection
from hallucade.recipes.console import say
from hallucade.recipes.import_checkpoint import TOLERANCE, FamilyName, Hints, relative_error
from hallucade.recipes.import_checkpoint import import_checkpoint as import_run
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.run_folder import RUNS

CHECK = "--check"


def import_checkpoint(arguments: Sequence[str]) -> None:
    """Turn public weights into a run, or check our network against theirs."""
    parse(convert_or_check, "import-checkpoint", _with_value(arguments))


def convert_or_check(
    family: Positional[FamilyName],
    file: Positional[Path | None] = None,
    out: Positional[Path | None] = None,
    /,
    check: Path | None = None,
    store: Path | None = None,
    size: tuple[int, int] | None = None,
    injection: Injection | None = None,
    prefix: str | None = None,
    tokenizer: str | None = None,
) -> None:
    """Turn public weights into a run, or check our network against theirs.

    Args:
        family: whose weights they are.
        file: the weights: safetensors, or a checkpoint that torch.save wrote.
        out: the run folder; by default runs/FILE.
        check: a parity fixture; prints the relative error as JSON and ends with 1 if it is above 1e-4.
        store: play of the same game to start dreams from; without, they start from black frames.
        size: rows and columns of a frame (toywm) or a latent (nanowm), where the weights do not tell.
        injection: where actions enter, where the weights do not tell.
        prefix: of the network's names, where the file holds several networks.
        tokenizer: the autoencoder of NanoWM's latents: a folder with config.json and safetensors, or owner/name of the
            hub; without, the run cannot be shown.
    """
    if check is not None:
        error = relative_error(family, check)
        say(json.dumps({"fixture": str(check), "relative_error": error}))
        if not error <= TOLERANCE:
            sys.exit(1)
    if file is not None:
        opened = None if store is None else EpisodeStore(store)
        out = out or RUNS / file.stem
        given = None if tokenizer is None else PretrainedTokenizerConfig(path=tokenizer)
        hints = Hints(prefix=prefix, size=size, injection=injection, tokenizer=given)
        model = import_run(family, file, out, store=opened, hints=hints)
        say(f"imported: {out}, {sum(value.numel() for value in model.weights.values()):,} parameters")
    elif check is None:
        raise ValueError(f"nothing to do: give a file of weights, or {CHECK} and a fixture")


def _with_value(arguments: Sequence[str]) -> list[str]:
    """Read ``FILE --check`` as ``--check FILE``."""
    words = list(arguments)
    if CHECK not in words:
        return words
    at = words.index(CHECK)
    if words[at + 1 : at + 2] and not words[at + 1].startswith("-"):
        return words
    files = [i for i, word in enumerate(words[:at]) if i > 0 and not word.startswith("-")]
    if len(files) == 1:
        words.insert(at + 1, words[files[0]])
        del words[files[0]]
    return words
