import numpy as np

from hallucade.actions import ActionSpace, Axis, Button, Choice, camera_axes
from hallucade.data.control_overlay import HELD, overlay_controls

GAME = ActionSpace(
    buttons=(Button(name="forward", keys=("KeyW",)), Button(name="fire", keys=("Space",))),
    choices=(Choice(name="side", options=("stay", "left", "right"), keys=((), ("KeyA",), ("KeyD",))),),
    axes=camera_axes(10.0, 10.0, 5.0, 5.0),
)
SCALE, H, W = 16, 30, 40
GREEN = np.array(HELD[:3])


def shown(*row: float) -> np.ndarray:
    return overlay_controls(np.zeros((1, H, W, 3), np.uint8), GAME, np.array([row], np.float32), SCALE)[0]


def green(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of pixels that are green, as what is held."""
    levels = picture.astype(int)
    return np.nonzero((levels[..., 1] > 120) & (levels[..., 1] - levels[..., 0] > 60))


def test_held_keys_are_green_where_they_are_on_a_keyboard() -> None:
    idle = shown(0, 0, 0, 0, 0)
    assert idle.shape == (H * SCALE, W * SCALE, 3)
    assert green(idle)[0].size == 0
    assert idle.max() > 100  # the keys are there
    forward, left, right, fire = (shown(*row, 0, 0) for row in ((1, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)))
    centres = [np.mean(green(picture), axis=1) for picture in (forward, left, right, fire)]
    assert centres[0][0] < centres[1][0] < centres[3][0]  # W above A and D, the space bar below
    assert centres[1][1] < centres[0][1] < centres[2][1]  # A left of W, D right of it
    assert abs(centres[1][0] - centres[2][0]) < 1  # side by side, but for the letter
    assert max(centre[1] for centre in centres) < W * SCALE / 3


def test_the_mouse_is_an_arrow_at_the_right() -> None:
    up_right, far = shown(0, 0, 0, 4, 4), shown(0, 0, 0, 10, 10)
    rows, columns = green(up_right)
    middle = (40, 640 - 40)  # margin and radius
    assert columns.min() >= middle[1] - 4
    assert rows.max() <= middle[0] + 4
    assert np.ptp(green(far)[1]) > np.ptp(columns)
    left = green(shown(0, 0, 0, -10, 0))
    assert left[1].max() <= middle[1] + 4
    assert left[1].mean() < middle[1] - 8


def test_frames_beyond_the_last_action_and_away_from_the_keys_stay_as_they_are(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (3, H, W, 3), np.uint8)
    drawn = overlay_controls(frames, GAME, np.array([[1, 1, 1, 3, 3]] * 2, np.float32), SCALE)
    large = frames.repeat(SCALE, 1).repeat(SCALE, 2)
    np.testing.assert_array_equal(drawn[2], large[2])
    np.testing.assert_array_equal(drawn[:2, H * SCALE // 2 :], large[:2, H * SCALE // 2 :])
    assert (drawn[:2] != large[:2]).any()


def test_a_stick_without_a_view_moves_across_and_down() -> None:
    stick = ActionSpace(axes=(Axis(name="x", low=-1, high=1), Axis(name="y", low=-1, high=1)))
    picture = overlay_controls(np.zeros((1, H, W, 3), np.uint8), stick, np.array([[0, 1]], np.float32), SCALE)[0]
    assert green(picture)[0].mean() > 40 + 8
