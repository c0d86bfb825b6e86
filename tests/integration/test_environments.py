"""The known environments, each with its real simulator; skipped, with the reason, where its package is missing."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from multiprocessing import get_context

import cv2
import numpy as np
import pytest

from hallucade.actions import ActionSpace
from hallucade.data.environment import EnvironmentConfig, EnvironmentSource
from hallucade.data.source import ForeignEpisode
from hallucade.games.environments import find_environment, known_environments
from hallucade.games.gymnasium_game import GymnasiumGame

pytestmark = pytest.mark.filterwarnings("default")  # of packages that are not ours

SIZES = {
    "atari_pong": (210, 160),
    "atari_breakout": (210, 160),
    "doom": (120, 160),
    "doom_third_person": (120, 160),
    "doom_defend_the_line": (120, 160),
    "pusht": (192, 192),
    "pusht_relative": (192, 192),
    "point_maze": (128, 128),
    "crafter": (144, 144),
    "car_racing": (96, 96),
}
FRAMES = {"point_maze": 25, "car_racing": 12}  # the slow ones; 40 of the others


def needed(name: str) -> None:
    module = find_environment(name).requires
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name} needs the package of module {module}: {find_environment(name).install}")


def config(name: str, **fields: object) -> EnvironmentConfig:
    return EnvironmentConfig(environment=name, seed=11, episode_length=FRAMES.get(name, 40), **fields)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process, started once: its imports take seconds."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def replay(environment: EnvironmentConfig, name: str) -> dict[str, bytes]:
    """Return everything that is recorded of one episode."""
    return columns(environment.build().read(name))


def columns(episode: ForeignEpisode) -> dict[str, bytes]:
    assert episode.rewards is not None
    assert episode.state is not None
    arrays = {
        "frames": np.stack(list(episode.frames())),
        "actions": episode.actions,
        "rewards": episode.rewards,
        "state": episode.state,
        **episode.extras,
    }
    return {name: array.tobytes() for name, array in arrays.items()}


def test_every_known_environment_is_tested() -> None:
    assert set(SIZES) == set(known_environments())


@pytest.mark.parametrize("name", SIZES)
def test_an_episode_is_whole_and_repeats_itself_in_any_process(name: str, elsewhere: ProcessPoolExecutor) -> None:
    needed(name)
    source = config(name).build()
    source.read("0000003")  # what was played before leaves no trace
    episode = source.read("0000001")
    frames = np.stack(list(episode.frames()))
    assert frames.shape == (len(episode.actions) + 1, *SIZES[name], 3)
    assert (frames.std(axis=(1, 2, 3)) > 5).all()  # none is black
    assert (frames[1:] != frames[:-1]).any(axis=(1, 2, 3)).mean() > 0.5  # the game moves
    assert episode.state is not None
    assert episode.state.shape == (len(frames), len(source.state_names))
    source.actions.validate(episode.actions)
    assert elsewhere.submit(replay, config(name), "0000001").result() == columns(episode)


@pytest.mark.parametrize("name", SIZES)
def test_random_play_and_idle_play_are_legal_everywhere(name: str) -> None:
    needed(name)
    for bot in ("random_hold", "idle"):
        episode = EnvironmentConfig(environment=name, bot=bot, episode_length=6, mean_hold=2).build().read("0000000")
        assert len(episode.actions) == 6


def game_of(name: str, **options: object) -> GymnasiumGame:
    needed(name)
    return GymnasiumGame(find_environment(name), options=options)


def row(actions: ActionSpace, **held: float) -> np.ndarray:
    values = actions.idle
    for name, value in held.items():
        values[actions.names.index(name)] = value
    return values


def shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return by how many pixels the picture moved right and down."""
    grey = [frame.mean(axis=2).astype(np.float32) for frame in (before, after)]
    return np.array(cv2.phaseCorrelate(*grey, cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F))[0])


@pytest.mark.parametrize(
    ("axis", "by", "variable", "turned", "moved"),
    [
        ("yaw", 5.0, "angle", -5.0, (-1, 0)),  # to the right: the picture moves left, Doom's angle falls
        ("yaw", -5.0, "angle", 5.0, (1, 0)),
        ("pitch", 5.0, "pitch", -5.0, (0, 1)),  # up: the picture moves down
        ("pitch", -5.0, "pitch", 5.0, (0, -1)),
    ],
)
def test_doom_turns_as_its_axes_say(axis: str, by: float, variable: str, turned: float, moved: tuple[int, int]) -> None:
    game = game_of("doom")
    column = game.state_names.index(variable)
    along = []
    for seed in range(9):
        before = game.reset(seed)
        after = game.act(row(game.actions, **{axis: by})).moment
        assert after is not None
        assert before.state is not None
        assert after.state is not None
        assert (after.state[column] - before.state[column] - turned + 180) % 360 - 180 == pytest.approx(0, abs=0.1)
        along.append(shift(before.frame, after.frame) @ moved)
    assert np.median(along) > 3  # pixels


def test_the_camera_in_third_person_turns_at_once_and_does_not_swing() -> None:
    game = game_of("doom_third_person")
    rows = [row(game.actions), row(game.actions, yaw=6), row(game.actions), row(game.actions)]
    for seed in range(5):
        frames = [game.reset(seed).frame]
        for each in rows:
            moment = game.act(each).moment
            assert moment is not None
            frames.append(moment.frame)
        still, turned, *after = [np.abs(b.astype(int) - a).mean() for a, b in pairwise(frames)]
        assert turned > 5 > 0.5 > max(still, *after)  # grey levels


def test_doom_walks_where_it_looks() -> None:
    game = game_of("doom_third_person")
    start = game.reset(4).state
    for _ in range(8):
        end = game.act(row(game.actions, forward=1)).moment
    assert start is not None
    assert end is not None
    assert end.state is not None
    step = end.state[:2] - start[:2]
    angle = np.radians(start[game.state_names.index("angle")])
    assert step @ [np.cos(angle), np.sin(angle)] > 0.95 * np.hypot(*step) > 20


def test_both_views_of_doom_show_the_same_game() -> None:
    first, third = game_of("doom"), game_of("doom_third_person")
    rng = np.random.default_rng(0)
    seen = [[game.reset(2)] for game in (first, third)]
    for _ in range(12):
        turn = row(first.actions, forward=1, yaw=float(rng.normal(0, 4)))
        for game, moments in zip((first, third), seen, strict=True):
            moment = game.act(turn).moment
            assert moment is not None
            moments.append(moment)
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a.state, b.state)
        assert (a.frame != b.frame).any(axis=2).mean() > 0.3  # another camera, from the first frame on


def test_doom_draws_depth_and_labels_when_asked() -> None:
    moment = game_of("doom_third_person", depth=True, labels=True).reset(0)
    assert moment.extras["depth"].shape == moment.extras["labels"].shape == (120, 160)
    assert len(np.unique(moment.extras["depth"])) > 10
    assert (moment.extras["labels"][60:110, 60:100] > 0).mean() > 0.1  # the marine himself


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"wad": "doom3"}, "'doom3' is no file; use freedoom1"),
        ({"map": "E1M1"}, "no map 'E1M1'.*MAP01"),
        ({"size": "64x64"}, "ViZDoom draws .*160x120"),
        ({"controls": ["yaw", "jump"]}, "controls are .*jump.*choose from forward, back"),
        ({"arc": 180}, "arc is 180; use degrees above 0 and below 180"),
        ({"controls": []}, r"controls are \[\]; choose from forward"),
    ],
)
def test_doom_refuses_what_it_does_not_have(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        game_of("doom", **options)


def test_the_guard_has_two_controls_stands_where_he_is_and_turns_and_shoots() -> None:
    needed("doom_defend_the_line")
    source = config("doom_defend_the_line").build()
    episode = source.read("0000002")
    assert source.actions.names == ("attack", "yaw")
    assert episode.state is not None
    state = dict(zip(source.state_names, episode.state.T, strict=True))
    assert np.ptp(state["x"]) == np.ptp(state["y"]) == 0
    turned = list(accumulate(episode.actions[:, 1], lambda angle, yaw: np.clip(angle + yaw, -60, 60), initial=0.0))
    np.testing.assert_allclose((state["angle"] - state["angle"][0] + turned + 180) % 360 - 180, 0, atol=0.2)
    assert np.ptp(turned) > 5
    per_frame = np.diff(state["ammo"])  # the map gives a round a tic, and he shoots
    assert (per_frame < 2).any()


def test_doom_turns_no_further_than_its_arc_and_back_at_once() -> None:
    game = game_of("doom_defend_the_line", arc=30)
    start = game.reset(4).state
    angles = []
    for yaw in [9.0] * 5 + [-9.0] * 8:
        moment = game.act(row(game.actions, yaw=yaw)).moment
        assert moment is not None
        assert moment.state is not None
        assert start is not None
        column = game.state_names.index("angle")
        angles.append((start[column] - moment.state[column] + 180) % 360 - 180)
    expected = [9, 18, 27, 30, 30, 21, 12, 3, -6, -15, -24, -30, -30]
    np.testing.assert_allclose(angles, expected, atol=0.1)


def test_controls_come_in_the_order_of_the_game_whatever_the_order_they_were_asked_in() -> None:
    assert game_of("doom", controls=["pitch", "attack", "forward"]).actions.names == ("forward", "attack", "pitch")


@pytest.mark.slow
def test_doom_ends_with_the_marine_and_begins_anew() -> None:
    needed("doom_third_person")
    options = '{"monsters": true, "map": "MAP10"}'
    play = partial(
        EnvironmentConfig, environment="doom_third_person", bot="idle", episode_length=1500, env_kwargs=options
    )
    source: EnvironmentSource = play(frame_skip=8).build()
    lengths = [len(source.read(name).actions) for name in ("0000000", "0000001", "0000002", "0000003")]
    assert min(lengths) < 1500, "no monster found him; choose another map"
    again = play(frame_skip=8).build()
    assert columns(again.read("0000003")) == columns(source.read("0000003"))


@pytest.mark.parametrize(("held", "sign"), [("up", -1), ("down", 1)])
def test_atari_pong_moves_the_paddle_as_the_option_says(held: str, sign: int) -> None:
    game = game_of("atari_pong")
    move = float(game.actions.choices[0].options.index(held))
    places = [game.reset(0).state]
    for _ in range(6):
        moment = game.act(np.array([move], np.float32)).moment
        assert moment is not None
        places.append(moment.state)
    player = [state[game.state_names.index("player_y")] for state in places if state is not None]
    assert np.sign(player[-1] - player[0]) == sign


@pytest.mark.parametrize(("held", "value", "index", "sign"), [("x", 1, 0, 1), ("y", 1, 1, 1), ("x", -1, 0, -1)])
def test_point_maze_pushes_the_ball(held: str, value: float, index: int, sign: int) -> None:
    game = game_of("point_maze")
    start = game.reset(0).state
    end = game.act(row(game.actions, **{held: value})).moment
    assert start is not None
    assert end is not None
    assert end.state is not None
    assert np.sign(end.state[2 + index] - start[2 + index]) == sign


def test_pusht_goes_to_its_target() -> None:
    game = game_of("pusht")
    game.reset(0)
    for _ in range(15):
        moment = game.act(np.array([60, 440], np.float32)).moment
    assert moment is not None
    assert moment.state is not None
    np.testing.assert_allclose(moment.state[:2], [60, 440], atol=10)


def test_crafter_walks_and_shows_the_whole_island() -> None:
    game = game_of("crafter")
    start = game.reset(3)
    options = game.actions.choices[0].options
    walked = []
    for way in ("left", "right", "up", "down"):
        moment = game.act(np.array([options.index(way)], np.float32)).moment
        assert moment is not None
        assert moment.state is not None
        walked.append(moment.state[2:4].tolist())
    assert walked == [[-1, 0], [1, 0], [0, -1], [0, 1]]  # it faces where it walks
    assert start.extras["semantic"].shape == (64, 64)


def test_car_racing_steers_to_the_right() -> None:
    game = game_of("car_racing")
    start = game.reset(0).state
    for _ in range(6):
        moment = game.act(row(game.actions, gas=1, steer=1)).moment
    assert start is not None
    assert moment is not None
    assert moment.state is not None
    heading = game.state_names.index("track_heading")
    assert moment.state[heading] < start[heading] - 0.05  # against the clock is left
