"""The command line: one function a command, tyro only in this folder.

Users' mistakes and what their machine refuses end in one line on standard error and exit code 2; set HALLUCADE_DEBUG=1
for the traceback. Our own mistakes always show theirs.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from hallucade.recipes.console import explain, plain_warnings, say


@dataclass(frozen=True)
class Command:
    """A command by the place of its function, which is imported when it is asked for: all of them take seconds."""

    module: str
    function: str
    summary: str  # the first line of the function's docstring
    parses: bool = False  # the function takes the list of arguments, because its options depend on the first of them

    @property
    def run(self) -> Callable[..., Any]:
        """The function."""
        return getattr(import_module(f"hallucade.cli.{self.module}"), self.function)

    def __call__(self, name: str, arguments: Sequence[str]) -> None:
        from hallucade.cli.parse import NUMBERS, parse

        with NUMBERS:
            if self.parses:
                self.run(arguments)
            else:
                parse(self.run, name, arguments)


COMMANDS = {
    "record": Command("data", "record", "Record play in a simulator into an episode store.", parses=True),
    "import": Command("data", "import_", "Turn foreign recordings into an episode store.", parses=True),
    "inspect": Command("data", "inspect", "Say what is in a store, and draw it as a data card."),
    "validate": Command("data", "validate", "Say what is wrong with a store, before a training is spent on it."),
    "calibrate-flow": Command(
        "calibrate_flow", "calibrate_flow", "Find how a game's actions move its camera, for the optical-flow score."
    ),
    "tokenize": Command("tokenize", "tokenize", "Encode the frames of a store once, so that training never has to."),
    "label-actions": Command(
        "label_actions", "label_actions", "Give a store the actions that a latent-action model reads off its frames."
    ),
    "train": Command("train", "train", "Train a recipe on recorded play.", parses=True),
    "distill": Command("train", "distill", "Teach a fast model what a slow one knows.", parses=True),
    "evaluate": Command(
        "judging",
        "evaluate",
        "Judge a run against the true game, or a tokenizer by held-out pictures.",
        parses=True,
    ),
    "compare": Command("compare", "compare", "Dream with several runs from the same prompts, and say how they differ."),
    "ablate": Command(
        "ablate",
        "ablate",
        "Train a grid of a recipe's choices over seeds, and write a table of what is significant.",
        parses=True,
    ),
    "rollout": Command("worlds", "rollout", "Dream a video, of any length in constant memory."),
    "plan": Command("plan", "plan", "Act in the true game by planning in a dream.", parses=True),
    "probe": Command("probe", "probe", "Learn to read states or rewards off pictures, as a cost for planning."),
    "probe-encoder": Command(
        "probe_encoder",
        "probe_encoder",
        "Say what an encoder knows of a game: its simulator's state, read off features by a linear map.",
    ),
    "play": Command("worlds", "play", "Play a dream in the browser, beside the true game."),
    "export": Command("worlds", "export", "Write a run or a store for others, and nothing else."),
    "import-checkpoint": Command(
        "checkpoints",
        "import_checkpoint",
        "Turn public weights into a run, or check our network against theirs.",
        parses=True,
    ),
    "demo": Command("worlds", "demo", "Record, train, judge and play Pong inside a neural network."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; by default with this process's own arguments."""
    with plain_warnings():
        try:
            _run(list(sys.argv[1:] if arguments is None else arguments))
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            if os.environ.get("HALLUCADE_DEBUG") or (isinstance(error, RuntimeError) and not _out_of_memory(error)):
                raise
            error = MemoryError() if isinstance(error, RuntimeError) else error
            sys.stderr.write(f"hallucade: {explain(error)}\n")
            sys.exit(2)
        except KeyboardInterrupt:
            sys.stderr.write("hallucade: interrupted\n")
            sys.exit(130)


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or [""]
    if name in ("", "-h", "--help"):
        say(_overview())
        sys.exit(0 if name else 2)
    if name == "--version":
        say(f"hallucade {version('hallucade')}")
    elif name in COMMANDS:
        COMMANDS[name](name, rest)
    else:
        raise ValueError(f"unknown command {name!r}; choose one of {', '.join(COMMANDS)}")


def _out_of_memory(error: RuntimeError) -> bool:
    """Return whether that is what torch means: its allocators raise no MemoryError."""
    from hallucade.training.preflight import is_out_of_memory

    return is_out_of_memory(error)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: hallucade COMMAND [options]",
        "",
        "Turn recorded play into a game that a neural network dreams.",
        "",
        *(f"  {name:{width}} {command.summary}" for name, command in COMMANDS.items()),
        "",
        "hallucade COMMAND --help explains one; hallucade --version says which this is.",
    ]
    return "\n".join(lines)
