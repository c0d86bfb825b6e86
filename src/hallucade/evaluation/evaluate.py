"""One entry for all checks: the game's own where a simulator knows the truth, recorded play where a store is given."""

from collections.abc import Callable

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.controllability import ActionReader, ControllabilityConfig, evaluate_controllability
from hallucade.evaluation.game_check.pong import PongCheckConfig, evaluate_pong
from hallucade.evaluation.long_run.check import LongRunConfig, run_beside_episodes, run_beside_game
from hallucade.evaluation.recorded_clips import ClipCheckConfig, check_same_game, evaluate_clips
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.evaluation.token_check.check import TokenCheckConfig, evaluate_tokens
from hallucade.games.registry import known_games
from hallucade.models.base import TokenModel
from hallucade.rollout import World

PONG = "pong"


def evaluate(
    world: World,
    store: EpisodeStore | None = None,
    *,
    pong: PongCheckConfig | None = None,
    clips: ClipCheckConfig | None = None,
    long: LongRunConfig | None = None,
    tokens: TokenCheckConfig | None = None,
    reader: ActionReader | None = None,
    control: ControllabilityConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Judge a world by every check that fits it.

    Args:
        world: what dreams; a world of Pong is judged by the true game's state, and that of any built-in game beside
            the true game.
        store: recorded play of the same game; its validation clips are dreamed again, its episodes to their ends.
        pong: how much of the Pong check to do; the defaults are those of published figures.
        clips: which clips to dream.
        long: how long to dream on; a thousand frames by default.
        tokens: how much of a world of codes to look at as such; it takes a store.
        reader: reads actions off dreams of the store's clips; see `hallucade.evaluation.controllability`.
        control: which clips that are.
        progress: told what is running and the share of the whole that is done.

    Raises:
        ValueError: nothing to judge by, a store or a reader of another game, a reader and no store, or weights or a
            camera that are asked for are missing.
    """
    long = long or LongRunConfig()
    checks = list[Callable[[Progress], Evaluation]]()
    if world.game == PONG:
        checks.append(lambda report: evaluate_pong(world, pong, report))
    if world.game in known_games() and long.frames:
        checks.append(lambda report: run_beside_game(world, long, report))
    if store is not None:
        check_same_game(world, store)  # before minutes of dreaming, as are missing weights
        judged = clips or ClipCheckConfig()
        judged.perceptual.build(world.frame_size, judged.horizons, world.device)
        judged.flow_scores(world.actions)
        checks.append(lambda report: evaluate_clips(world, store, clips, report))
        if long.frames:
            checks.append(lambda report: run_beside_episodes(world, store, long, report))
        if isinstance(world.model, TokenModel):
            checks.append(lambda report: evaluate_tokens(world, store, tokens, report))
    if reader is not None:
        if store is None:
            raise ValueError("an inverse dynamics model needs clips to dream; pass a store with recorded play")
        reader.check(world.actions, world.frame_size, "the world")
        checks.append(lambda report: evaluate_controllability(world, store, reader, control, report))
    if not checks:
        raise ValueError(f"no simulator knows the game {world.game!r}; pass a store with recorded clips to judge by")
    found = Evaluation({})
    for index, check in enumerate(checks):
        found = found.joined(check(_part(progress, index, len(checks))))
    return found


def _part(progress: Progress, index: int, parts: int) -> Progress:
    """Return progress over one of several equal parts of the whole."""
    return lambda stage, share: progress(stage, (index + share) / parts)
