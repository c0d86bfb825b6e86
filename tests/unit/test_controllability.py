"""Controllability: F1 and bin errors against hand counts, what is absent, and dreams that obey or do not."""

import numpy as np
import pytest
import torch
from echo_world import EchoSampler, EchoSamplerConfig, echo_world
from slide_game import HEIGHT, SLIDE, WIDTH, store

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.action_scores import ActionCounts, class_names, count_actions, scored, shares_of_ceiling
from hallucade.evaluation.controllability import (
    ActionReader,
    ControllabilityConfig,
    evaluate_controllability,
    evaluate_reader,
    held_and_reversed,
)
from hallucade.evaluation.evaluate import evaluate
from hallucade.evaluation.intervals import percentile_interval, resampled_sums
from hallucade.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from hallucade.nn.frame_trunk import FrameTrunkConfig

PLAY = ActionSpace(
    buttons=(
        Button(name="fire", keys=("Space",)),
        Button(name="ahead", keys=("KeyW",)),
        Button(name="back", keys=("KeyS",)),
    ),
    choices=(Choice(name="gear", options=("neutral", "first", "second")),),
    axes=(Axis(name="yaw", low=-10, high=10, kind="delta", by_key=4.0),),
)
TINY = InverseDynamicsConfig(before=1, after=1, trunk=FrameTrunkConfig(widths=(8,), features=8))


def rows(**columns: list[float]) -> np.ndarray:
    found = np.zeros((1, len(next(iter(columns.values()))), PLAY.size), np.float32)
    for name, values in columns.items():
        found[0, :, PLAY.names.index(name)] = values
    return found


def counted(held: np.ndarray, read: np.ndarray) -> ActionCounts:
    return count_actions(TINY.build(PLAY, (8, 8)), held, read)


def test_figures_are_those_of_hand_counts_and_undefined_ones_are_absent() -> None:
    held = rows(fire=[1, 1, 0, 0], gear=[1, 1, 2, 0], yaw=[10, 0, -10, 0])
    read = rows(fire=[1, 0, 1, 0], back=[0, 0, 1, 0], gear=[1, 2, 2, 0], yaw=[10, 10, -10, 0])
    found = scored(counted(held, read), "")
    assert class_names(PLAY) == ("fire", "ahead", "back", "gear=first", "gear=second")
    assert found["f1/fire"] == pytest.approx(2 * 1 / (2 + 1 + 1))
    assert (found["precision/gear=first"], found["recall/gear=first"]) == (1.0, 0.5)
    assert (found["precision/gear=second"], found["recall/gear=second"]) == (0.5, 1.0)
    assert found["f1_macro"] == pytest.approx(np.mean([1 / 2, 2 / 3, 2 / 3]))  # of what was held
    assert found["f1_micro"] == pytest.approx(2 * 3 / (2 * 3 + 3 + 2))  # back is a false alarm too
    assert found["accuracy"] == pytest.approx(np.mean([0.5, 1, 0.75, 0.75, 0.75]))
    assert found["bin_error/yaw"] == pytest.approx(5 / 4)
    absent = {"f1/ahead", "f1/back", "recall/ahead", "recall/back", "precision/ahead"}
    assert absent.isdisjoint(found)
    assert found["precision/back"] == 0.0


def test_a_game_without_buttons_has_no_f1_and_one_without_axes_no_bin_error() -> None:
    found = scored(count_actions(TINY.build(SLIDE, (8, 8)), *[np.ones((2, 3, 1), np.float32)] * 2), "x/")
    assert found["x/f1_macro"] == 1.0
    assert not any("bin_error" in name for name in found)
    only_axis = ActionSpace(axes=PLAY.axes)
    found = scored(count_actions(TINY.build(only_axis, (8, 8)), *[np.ones((2, 3, 1), np.float32)] * 2), "x/")
    assert found == {"x/bin_error/yaw": 0.0, "x/bin_error": 0.0}


def test_intervals_are_over_clips_and_hold_the_figure(rng: np.random.Generator) -> None:
    held = rng.integers(0, 2, (30, 12, 1)).astype(np.float32)
    read = np.where(rng.random((30, 12, 1)) < 0.8, held, 1 - held).astype(np.float32)
    network = TINY.build(ActionSpace(buttons=(Button(name="fire"),)), (8, 8))
    found = scored(count_actions(network, held, read), "", resamples=200, seed=3)
    assert 0.6 < found["f1_macro_low"] < found["f1_macro"] < found["f1_macro_high"] < 0.95
    assert found == scored(count_actions(network, held, read), "", resamples=200, seed=3)
    alike = scored(count_actions(network, *[np.repeat(x[:1], 30, 0) for x in (held, read)]), "", resamples=200)
    assert alike["f1_macro_low"] == alike["f1_macro"] == alike["f1_macro_high"]
    share = shares_of_ceiling(*[count_actions(network, held, x) for x in (read, held)], "", 200, 3)
    assert share["f1_macro_share"] == pytest.approx(found["f1_macro"])  # the ceiling is 1


def test_resampled_sums_are_of_as_many_rows(rng: np.random.Generator) -> None:
    sums = resampled_sums(np.stack([np.ones(7), np.arange(7.0)], 1), 50, rng)
    assert sums.shape == (50, 2)
    assert (sums[:, 0] == 7).all()
    assert 15 < sums[:, 1].mean() < 27
    assert percentile_interval(np.array([1.0, np.nan, np.nan, np.nan])) is None


def test_drawn_actions_hold_one_control_and_turn_it_round() -> None:
    given = held_and_reversed(PLAY, clips=14, frames=7, hold=3, seed=0)
    assert given.shape == (14, 7, PLAY.size)
    seen = {tuple(map(tuple, given[i, [0, 3, 6]])) for i in range(14)}
    assert len(seen) == 7  # fire, ahead, back, two gears, yaw to both sides: each as often as the others
    ahead, back = np.eye(PLAY.size, dtype=np.float32)[[1, 2]]
    assert (tuple(ahead), tuple(back), tuple(ahead)) in seen
    right = tuple(4.0 * np.eye(PLAY.size)[4])
    left = tuple(-4.0 * np.eye(PLAY.size)[4])
    assert (right, left, right) in seen
    fire, idle = tuple(np.eye(PLAY.size)[0]), tuple(PLAY.idle)
    assert (fire, idle, fire) in seen
    PLAY.validate(given)


class Seer(InverseDynamics):
    """Reads what is painted: the channel that is lit on the next frame is the option."""

    def read(self, frames: torch.Tensor, batch: int = 256) -> torch.Tensor:
        self.check_frames(frames.shape[1], (frames.shape[2], frames.shape[3]))
        options = frames[:, 1:, 4, 4].argmax(-1, keepdim=True).float()
        return options[:, self.config.before : options.shape[1] - self.config.after]


class Deaf(EchoSampler):
    """Paints what was not asked for."""

    def __call__(self, model, state, action, generators):
        return super().__call__(model, state, action.roll(1, -1), generators)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """Play of the game that the echo dreams: each frame is lit in the channel of the option that led to it."""

    def paint(frames: np.ndarray, options: np.ndarray) -> np.ndarray:
        frames = np.zeros_like(frames)
        frames[1:, 1:] = 255 * np.eye(3, dtype=np.uint8)[options[:, 0].astype(int)][:, None, None]
        return frames

    return store(tmp_path_factory.mktemp("painted") / "store", episodes=6, n=40, fps=30.0, repaint=paint)


def reader(before: int = 2, after: int = 3, actions: ActionSpace = SLIDE, size: tuple[int, int] = (HEIGHT, WIDTH)):
    config = InverseDynamicsConfig(before=before, after=after, trunk=TINY.trunk)
    return ActionReader(Seer(config, actions, size), "abc", "def", "runs/reader")


SHORT = ControllabilityConfig(clips=9, prompt_frames=4, frames=11, hold=3, batch=4, resamples=50)


def test_a_dream_that_obeys_reaches_the_ceiling_and_one_that_does_not_is_found_out(painted: EpisodeStore) -> None:
    world = echo_world(HEIGHT, WIDTH, game=None, actions=SLIDE)
    obedient = evaluate_controllability(world, painted, reader(), SHORT)
    assert obedient.metrics["control/f1_macro"] == obedient.metrics["control/f1_macro_real"] == 1.0
    assert obedient.metrics["control_drawn/f1_macro"] == obedient.metrics["control/f1_macro_share"] == 1.0
    assert obedient.metrics["control/f1/slide=left_low"] == 1.0
    (protocol,) = obedient.protocol.values()
    assert "abc" in protocol
    assert "def" in protocol
    deaf = evaluate_controllability(world.with_sampler(Deaf(EchoSamplerConfig())), painted, reader(), SHORT)
    assert deaf.metrics["control/f1_macro"] == deaf.metrics["control/f1_macro_share"] == 0.0
    assert deaf.metrics["control/f1_macro_real"] == 1.0


def test_a_reader_s_own_ceiling_is_that_of_held_out_play(painted: EpisodeStore) -> None:
    found = evaluate_reader(reader(), painted, SHORT)
    assert found.metrics["inverse_dynamics/f1_macro"] == found.metrics["inverse_dynamics/f1_macro_high"] == 1.0
    assert found.notes == ()


def test_a_reader_of_another_game_or_size_is_refused_naming_both(painted: EpisodeStore) -> None:
    world = echo_world(HEIGHT, WIDTH, game=None, actions=SLIDE)
    with pytest.raises(ValueError, match=r"reads other actions than the world has: .*slide: stay .* got \[fire"):
        evaluate(world, painted, reader=reader(actions=PLAY))
    with pytest.raises(ValueError, match="the frames are 8x12 pixels, and this inverse dynamics model reads 8x8"):
        evaluate(world, painted, reader=reader(size=(8, 8)))
    with pytest.raises(ValueError, match="needs clips to dream; pass a store"):
        evaluate(world, reader=reader())
    with pytest.raises(ValueError, match=r"prompts of 4 and dreams of 11 frames; .* more than 4 and more than 3"):
        evaluate_controllability(world, painted, reader(before=4), SHORT)


@pytest.mark.parametrize("change", [{"clips": 0}, {"frames": 0}, {"hold": -1}, {"resamples": 0}])
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="use"):
        ControllabilityConfig(**change)
