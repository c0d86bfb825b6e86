"""Environments as a source of episodes, on environments of a few pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_environments import HEIGHT, LENGTH, WIDTH

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.config import Config
from hallucade.data.collect import collect
from hallucade.data.environment import EnvironmentConfig, EnvironmentSource
from hallucade.data.executors import Processes
from hallucade.data.source import ForeignEpisode
from hallucade.data.store import EpisodeStore
from hallucade.games.environment import Environment, Readout
from hallucade.games.environments import find_environment, known_environments
from hallucade.games.gymnasium_game import GymnasiumGame
from hallucade.games.native_actions import Controls
from hallucade.games.players import Idle, RandomHold, Switching

TICKER = "tiny_environments:tiny/Ticker-v0"
RENDERER = "tiny_environments:tiny/Renderer-v0"


def source(
    environment: str = TICKER, *, options: dict[str, object] | None = None, **fields: object
) -> EnvironmentSource:
    return EnvironmentConfig(environment=environment, env_kwargs=json.dumps(options or {}), **fields).build()


def pixels(episode: ForeignEpisode) -> np.ndarray:
    """Return what `Ticker` says in each frame: step, action, seed."""
    return np.stack(list(episode.frames()))[:, 0, 0]


def test_action_i_leads_to_frame_i_plus_1() -> None:
    episode = source(seed=3, mean_hold=2).read("0000002")
    steps, actions, _ = pixels(episode).T
    assert steps.tolist() == list(range(LENGTH + 1))
    assert actions[1:].tolist() == (episode.actions[:, 0] + 2).tolist()  # its actions start at 2
    assert len(set(actions[1:].tolist())) > 1
    assert episode.rewards is not None
    assert episode.rewards.tolist() == list(range(1, LENGTH + 1))


def test_what_is_observed_beside_the_frame_is_the_state_of_that_frame() -> None:
    opened = source()
    episode = opened.read("0000000")
    assert opened.state_names == ("body_0", "body_1", "lamp")
    assert episode.state is not None
    np.testing.assert_array_equal(episode.state[:, :2], pixels(episode)[:, :2])
    np.testing.assert_array_equal(episode.state[:, 2], np.arange(LENGTH + 1) % 3)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_the_frame_at_which_the_game_ended_is_kept(end: str) -> None:
    episode = source(options={"end": end}).read("0000000")
    assert len(episode.actions) == LENGTH
    assert pixels(episode)[-1, 0] == LENGTH


def test_an_action_whose_frame_was_never_drawn_is_left_out() -> None:
    episode = source(options={"end": "stale"}).read("0000000")
    assert len(episode.actions) == LENGTH - 1
    assert pixels(episode)[-1, 0] == LENGTH - 1


def test_a_long_game_is_cut_at_episode_length() -> None:
    assert len(source(RENDERER, episode_length=13).read("0000001").actions) == 13


def test_frame_skip_holds_the_action_sums_rewards_and_stops_at_the_end() -> None:
    opened = source(frame_skip=3)
    episode = opened.read("0000000")
    assert opened.fps == 20 / 3
    assert pixels(episode)[:, 0].tolist() == [0, 3, 6, 7]
    assert episode.rewards is not None
    assert episode.rewards.tolist() == [1 + 2 + 3, 4 + 5 + 6, 7]


def test_an_episode_depends_on_seed_and_number_alone() -> None:
    one, other = source(seed=5), source(seed=5)
    for name in ("0000001", "0000000", "0000004"):
        one.read(name)
    for name in ("0000004", "0000001"):
        again, fresh = one.read(name), other.read(name)
        np.testing.assert_array_equal(pixels(again), pixels(fresh))
        np.testing.assert_array_equal(again.actions, fresh.actions)
        assert again.seed == fresh.seed


def test_episodes_and_seeds_differ() -> None:
    played = [source(seed=seed).read(name) for seed, name in ((0, "0000000"), (0, "0000001"), (1, "0000000"))]
    assert len({(episode.seed, episode.actions.tobytes()) for episode in played}) == 3


def test_an_environment_that_remembers_is_made_anew_for_every_episode() -> None:
    opened = source("tiny_environments:tiny/Forgetful-v0")
    opened.read("0000000")
    assert pixels(opened.read("0000001"))[0, 0] == 0


def test_rendered_frames_and_observed_state() -> None:
    opened = source(RENDERER, episode_length=20)
    episode = opened.read("0000000")
    assert opened.state_names == ("observation_0", "observation_1")
    assert episode.state is not None
    frames = np.stack(list(episode.frames()))
    assert frames.shape == (21, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(np.diff(episode.state, axis=0), episode.actions, atol=1e-5)
    assert opened.fps == 30  # what does not say is taken to run at


def test_another_process_and_resumption_write_the_same_store(tmp_path: Path) -> None:
    config = EnvironmentConfig(environment=TICKER, seed=9, mean_hold=2)
    assert Config.from_json(config.to_json()) == config
    collect(config, tmp_path / "one", limit=5)
    collect(config, tmp_path / "two", limit=2)
    collect(config, tmp_path / "two", limit=5, resume=True, executor=Processes(1))
    one, two = EpisodeStore(tmp_path / "one"), EpisodeStore(tmp_path / "two")
    assert len(one) == len(two) == 5
    for i in range(5):
        for a, b in zip(vars(one.episode(i)).items(), vars(two.episode(i)).items(), strict=True):
            np.testing.assert_equal(a, b)


def steered() -> Environment:
    """Return the renderer with its first axis as a mouse, and an extra."""
    axes = (
        Axis(name="yaw", low=-0.5, high=0.5, kind="delta", turns="right"),
        Axis(name="level", low=-2, high=2),
    )
    return Environment(
        id=RENDERER,
        fps=60,
        frame_skip=4,
        settling=2,
        controls=lambda env: Controls(ActionSpace(axes=axes), lambda row: row),
        readout=lambda env: Readout(("x",), lambda seen: seen[:1], lambda: {"depth": np.zeros((2, 3), np.uint8)}),
    )


def test_a_delta_is_spread_over_skipped_steps_and_a_value_is_held() -> None:
    game = GymnasiumGame(steered())
    assert game.fps == 15
    assert [axis.high for axis in game.actions.axes] == [2.0, 2.0]
    start = game.reset(0)
    outcome = game.act(np.array([1.5, -2], np.float32))
    assert start.state is not None
    assert outcome.moment is not None
    assert outcome.moment.state is not None
    assert outcome.moment.state[0] - start.state[0] == pytest.approx(1.5)
    assert outcome.reward == 4
    assert outcome.moment.extras["depth"].shape == (2, 3)


def test_a_row_outside_the_controls_is_refused() -> None:
    game = GymnasiumGame(steered())
    game.reset(0)
    with pytest.raises(ValueError, match=r"'yaw' is 2\.5"):
        game.act(np.array([2.5, 0], np.float32))


@pytest.mark.parametrize(
    ("environment", "options", "complaint"),
    [
        ("tiny_environments:tiny/Blind-v0", {}, "no rgb frames"),
        ("tiny_environments:tiny/Absent-v0", {}, "cannot be made"),
        ("no_such_package:Game-v0", {}, "needs module 'no_such_package'"),
        (TICKER, {"colour": 3}, "colour"),
        ("crafterr", {}, "unknown environment 'crafterr'; known: .*crafter, "),
    ],
)
def test_what_cannot_be_recorded_says_why(environment: str, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        source(environment, options=options)


def test_frames_that_are_no_rgb_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shows uint8 \(6, 10\)"):
        source(RENDERER, options={"shape": [HEIGHT, WIDTH]}).read("0000000")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"episode_length": 0}, "episode_length is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"env_kwargs": "{mode: 1}"}, "no JSON"),
        ({"env_kwargs": "[1]"}, "JSON object"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EnvironmentConfig(environment=TICKER, **fields)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"bot": "clever"}, "unknown bot 'clever'; choose one of random_hold, idle"),
        ({"bot": "absent.py:play"}, "absent.py does not exist"),
        ({"mean_hold": 0.5}, "mean_hold is 0.5"),
        ({"frame_skip": 0}, "frame_skip is 0"),
    ],
)
def test_bots_and_numbers_that_cannot_be_are_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        source(**fields).read("0000000")


def test_a_known_environment_without_its_package_says_how_to_install_it() -> None:
    missing = Environment(id="Absent-v0", requires="absent_simulator", install="pip install absent-simulator")
    with pytest.raises(ValueError, match="needs module 'absent_simulator'; install it: pip install absent-simulator"):
        missing.make(1)


def test_every_known_environment_is_found_and_says_what_it_needs() -> None:
    assert {"atari_pong", "doom", "doom_third_person", "pusht", "point_maze", "crafter"} <= set(known_environments())
    for name in known_environments():
        known = find_environment(name)
        assert known.about
        assert known.install
        assert known.requires
        assert known.licence
    assert find_environment("CartPole-v1").id == "CartPole-v1"


BOTS = """
import numpy as np

def first(frame, state, rng):
    return [frame[0, 0, 0] % 4]

class Counter:
    def __init__(self):
        self.calls = 0
    def __call__(self, frame, state, rng):
        self.calls += 1
        return np.array([min(self.calls, 3)])

def broken(frame, state, rng):
    return [7]
"""


@pytest.fixture
def bots(tmp_path: Path) -> Path:
    file = tmp_path / "my_bots.py"
    file.write_text(BOTS)
    return file


def test_a_function_of_the_user_plays(bots: Path) -> None:
    episode = source(bot=f"{bots}:first").read("0000000")
    assert episode.actions[:, 0].tolist() == [i % 4 for i in range(LENGTH)]


def test_a_class_of_the_user_is_built_for_every_episode(bots: Path) -> None:
    opened = source(bot=f"{bots}:Counter")
    for name in ("0000000", "0000001"):
        assert opened.read(name).actions[:, 0].tolist() == [1, 2, 3, 3, 3, 3, 3]


def test_a_bot_that_answers_nonsense_is_named(bots: Path) -> None:
    with pytest.raises(ValueError, match=r"my_bots.py:broken.*'action' is 7"):
        source(bot=f"{bots}:broken").read("0000000")


def test_a_file_without_that_bot_lists_what_it_has(bots: Path) -> None:
    with pytest.raises(ValueError, match="has no bot 'second'; it defines first, Counter, broken"):
        source(bot=f"{bots}:second")


MOUSE = ActionSpace(
    buttons=(Button(name="fire"),),
    axes=(Axis(name="yaw", low=-10, high=10, kind="delta"), Axis(name="y", low=2, high=4)),
)


def played(player: object, frames: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([player(np.zeros((1, 1, 3), np.uint8), None, rng) for _ in range(frames)])


def test_random_hold_holds_as_long_as_it_says(rng: np.random.Generator) -> None:
    rows = played(RandomHold(MOUSE, mean_hold=5), 8000, rng)
    MOUSE.validate(rows)
    changes = (np.diff(rows[:, 2]) != 0).mean()
    assert changes == pytest.approx(1 / 5, abs=0.02)
    assert (rows[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.05)  # a mouse rests half of the time
    assert np.abs(rows[:, 1]).mean() < 2


def test_idle_touches_nothing(rng: np.random.Generator) -> None:
    assert (played(Idle(MOUSE), 3, rng) == MOUSE.idle).all()


def test_switching_gives_each_player_its_share(rng: np.random.Generator) -> None:
    shooter = lambda frame, state, rng: np.array([1, 0, 2], np.float32)  # noqa: E731
    rows = played(Switching([shooter, Idle(MOUSE)], [3, 1], mean_frames=10), 8000, rng)
    assert rows[:, 0].mean() == pytest.approx(0.75, abs=0.07)
    assert (np.diff(rows[:, 0]) != 0).mean() == pytest.approx(2 * 0.75 * 0.25 / 10, abs=0.01)
