"""How fast each known environment plays and draws, and plays into 64 x 64 pixels, in one process; idle bots.

An environment whose package is missing is left out, and named on standard error.
"""

import argparse
import sys
import time

from benchmarks.measurement import Measurement
from hallucade.data.conversion import resized
from hallucade.games.environments import find_environment, known_environments
from hallucade.games.gymnasium_game import GymnasiumGame, Moment

SIZE = (64, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the known environments, or those named.")
    parser.add_argument("names", nargs="*", default=list(known_environments()), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=3.0, help="that each of the two figures takes")
    arguments = parser.parse_args()
    for name in arguments.names:
        try:
            game = GymnasiumGame(find_environment(name))
        except ValueError as error:
            print(f"benchmarks: left out: {error}", file=sys.stderr, flush=True)
            continue
        measure(name, game, arguments.seconds)
        game.close()


def measure(name: str, game: GymnasiumGame, seconds: float) -> None:
    moment = game.reset(0)
    height, width, _ = moment.frame.shape
    details = {"environment": name, "height": height, "width": width, "game_fps": game.fps}
    for bench, resize in (("environment_frames_per_s", False), ("environment_frames_per_s_at_64", True)):
        Measurement(bench, frames_per_s(game, seconds, resize), "frames/s", dict(details)).print()


def frames_per_s(game: GymnasiumGame, seconds: float, resize: bool) -> float:
    """Play until the time is up; what it takes to begin a game again is not counted."""
    idle, frames, played = game.actions.idle, 0, 0.0
    while played < seconds:
        game.reset(frames)
        start = time.perf_counter()
        moment: Moment | None = None
        over = False
        while not over and played + time.perf_counter() - start < seconds:
            outcome = game.act(idle)
            moment, over, frames = outcome.moment, outcome.over, frames + 1
            if resize and moment is not None:
                resized(moment.frame, SIZE, "crop")
        played += time.perf_counter() - start
    return frames / played


if __name__ == "__main__":
    main()
