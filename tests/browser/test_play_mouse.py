"""Mouse, touch and axes in a real browser: the true game's view shows what arrived."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from echo_world import echo_world
from playwright.sync_api import Page, expect

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.games.maze import MAZE_ACTIONS, PITCH, YAW
from hallucade.games.point_maze import POINT_MAZE_ACTIONS
from hallucade.games.pusht import PUSHT_ACTIONS
from hallucade.games.registry import make_game
from hallucade.play.server import serving

pytestmark = pytest.mark.browser

SIDE = 64  # pixels, small enough to travel without loss
DEGREES = 0.15  # a pixel of the mouse, before the player changes it
MAZE = echo_world(SIDE, SIDE, game="maze", actions=MAZE_ACTIONS)
SHOOTER = ActionSpace(
    buttons=(Button(name="fire", keys=("Mouse0",)), Button(name="aim", keys=("Mouse2",))),
    axes=(Axis(name="yaw", low=-9.0, high=9.0, kind="delta", turns="left"),),
)


@pytest.fixture(scope="module")
def maze() -> Iterator[str]:
    with serving(MAZE) as url:
        yield url


def real_picture(page: Page) -> np.ndarray:
    pixels = page.evaluate(
        """() => {
            const { width, height } = document.getElementById("real");
            return [...document.getElementById("real").getContext("2d").getImageData(0, 0, width, height).data];
        }"""
    )
    return np.array(pixels, np.int64).reshape(SIDE, SIDE, 4)[..., :3]


def turned(yaw: float, pitch: float) -> np.ndarray:
    """Return the true game's picture after the prompt, with the view turned by so much."""
    game = make_game("maze", SIDE)
    state = MAZE.prompts[0].state.copy()
    state[YAW], state[PITCH] = (state[YAW] + yaw) % 360, state[PITCH] + pitch
    game.set_state(state)
    return game.frame().astype(np.int64)


def sees(page: Page, yaw: float, pitch: float) -> None:
    """Wait until the true game looks where it should, to a hundredth of a degree."""
    wanted = turned(yaw, pitch)
    for _ in range(40):
        page.wait_for_timeout(50)
        if (error := np.abs(real_picture(page) - wanted).mean()) < 0.1:
            return
    raise AssertionError(f"the view is not {yaw} degrees to the right and {pitch} up: {error:.2f} grey levels away")


def middle(page: Page, selector: str) -> tuple[float, float]:
    """Return where an element's middle is once the page's layout stands still: pictures and gauges come late."""
    box, before = page.locator(selector).bounding_box(), None
    while box is None or box != before:
        page.wait_for_timeout(150)
        box, before = page.locator(selector).bounding_box(), box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def catch_mouse(page: Page) -> tuple[float, float]:
    x, y = middle(page, "#glass")
    page.mouse.click(x, y)
    page.wait_for_selector("#glass[data-caught]")
    return x, y


def test_pictures_tell_a_right_turn_from_a_left_one() -> None:
    """What the tests below rest on: the picture moves to the left as the view turns right, and a degree is seen."""
    start, right, left = turned(0, 0)[:, :, 1], turned(6, 0)[:, :, 1], turned(-6, 0)[:, :, 1]

    def change(picture: np.ndarray, shift: int) -> float:
        return float(np.abs(picture[8:-8, 12:-12] - start[8:-8, 12 + shift : SIDE - 12 + shift]).mean())

    assert min(range(-8, 9), key=lambda shift: change(right, shift)) > 2
    assert min(range(-8, 9), key=lambda shift: change(left, shift)) < -2
    assert all(np.abs(turned(a, 0) - turned(b, 0)).mean() > 0.5 for a, b in pairwise((0, 0.15, 0.3)))


def test_the_caught_mouse_turns_the_view_and_nothing_is_lost(open_page: Callable[[str], Page], maze: str) -> None:
    page = open_page(maze)
    expect(page.locator("#hint")).to_have_text("Click to look around")
    sees(page, 0, 0)
    x, y = catch_mouse(page)
    expect(page.locator("#hint")).to_have_text("Esc frees the mouse")
    for _ in range(30):  # to the right, and half as far up
        x, y = x + 4, y - 2
        page.mouse.move(x, y)
    sees(page, 120 * DEGREES, 60 * DEGREES)
    for _ in range(20):
        x, y = x - 10, y + 5
        page.mouse.move(x, y)
    sees(page, -80 * DEGREES, -40 * DEGREES)
    page.evaluate("document.exitPointerLock()")
    page.wait_for_selector("#glass:not([data-caught])")
    page.mouse.move(x + 90, y)
    page.wait_for_timeout(200)
    sees(page, -80 * DEGREES, -40 * DEGREES)


def test_a_mouse_of_a_thousand_events_a_second_is_neither_lost_nor_a_flood(
    open_page: Callable[[str], Page], maze: str
) -> None:
    page = open_page(maze)
    catch_mouse(page)
    page.wait_for_timeout(100)
    page.evaluate(
        """() => {
            window.sent = 0;
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (text) {
                window.sent += text.includes("moved");
                send.call(this, text);
            };
            for (let i = 0; i < 80; i++)
                document.dispatchEvent(new MouseEvent("mousemove", { movementX: 1, movementY: -1 }));
        }"""
    )
    sees(page, 80 * DEGREES, 80 * DEGREES)
    assert page.evaluate("window.sent") < 40


def test_the_dial_shows_the_turn_and_settles_with_the_mouse(open_page: Callable[[str], Page], maze: str) -> None:
    page = open_page(maze)
    page.keyboard.press("p")
    expect(page.locator("#status")).to_have_text("paused")
    x, y = middle(page, "#glass")
    page.mouse.move(x, y)
    page.mouse.down()  # a drag: two pixels of a mouse each
    page.mouse.move(x + 20, y + 10)
    page.mouse.up()
    page.keyboard.press(".")
    yaw, pitch = page.locator(".gauge output").all()
    expect(yaw).to_have_text(f"{40 * DEGREES:.2f}")
    expect(pitch).to_have_text(f"{-20 * DEGREES:.2f}")
    dot, face = middle(page, ".dial .dot"), middle(page, ".dial")
    assert dot[0] > face[0] + 5
    assert dot[1] > face[1] + 5
    page.keyboard.press(".")
    expect(yaw).to_have_text("0.00")
    assert math.dist(middle(page, ".dial .dot"), face) < 1
    sees(page, 40 * DEGREES, -20 * DEGREES)


def test_pausing_frees_the_mouse(open_page: Callable[[str], Page], maze: str) -> None:
    page = open_page(maze)
    catch_mouse(page)
    page.keyboard.press("p")
    page.wait_for_selector("#glass:not([data-caught])")


def test_the_player_chooses_how_far_the_mouse_turns(open_page: Callable[[str], Page], maze: str) -> None:
    page = open_page(maze)
    page.locator("#sensitivity").fill("0.4")
    expect(page.locator("#sensitivity-value")).to_have_text("0.40°/px")
    x, y = catch_mouse(page)
    page.mouse.move(x - 30, y)
    sees(page, -12, 0)
    page.reload()
    page.wait_for_selector("#status[data-phase=playing]")
    expect(page.locator("#sensitivity-value")).to_have_text("0.40°/px")


def test_a_finger_drags_the_view(open_page: Callable[..., Page], maze: str) -> None:
    page = open_page(maze, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    expect(page.locator("#hint")).to_have_text("Drag to look around")
    x, y = middle(page, "#glass")
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for way in range(1, 21):
        points = [{"x": x - way, "y": y + way}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    sees(page, -40 * DEGREES, -40 * DEGREES)


def test_mouse_buttons_are_keys_once_the_mouse_is_caught(open_page: Callable[[str], Page]) -> None:
    with serving(echo_world(16, 28, game=None, actions=SHOOTER)) as url:
        page = open_page(url)
        fire, aim = page.locator(".cap", has_text="fire"), page.locator(".cap", has_text="aim")
        seen = page.evaluate_handle(
            """() => {
                const changes = [], cap = document.querySelector(".cap");
                new MutationObserver(() => changes.push(cap.ariaPressed)).observe(cap, { attributes: true });
                return changes;
            }"""
        )
        catch_mouse(page)
        page.wait_for_timeout(150)
        assert "true" not in seen.json_value(), "the click that catches the mouse fired"
        page.mouse.down()
        expect(fire).to_have_attribute("aria-pressed", "true")
        page.mouse.down(button="right")
        expect(aim).to_have_attribute("aria-pressed", "true")
        page.mouse.up()
        expect(fire).to_have_attribute("aria-pressed", "false")
        expect(aim).to_have_attribute("aria-pressed", "true")
        page.evaluate("window.dispatchEvent(new Event('blur'))")
        expect(aim).to_have_attribute("aria-pressed", "false")
        page.goto("about:blank")


def test_a_place_stays_where_it_was_left_until_a_key_moves_it(open_page: Callable[[str], Page]) -> None:
    with serving(echo_world(24, 24, game=None, actions=with_a_button(PUSHT_ACTIONS))) as url:
        page = open_page(url)
        x, y = middle(page, ".steerable")
        side = page.locator(".steerable").bounding_box()["width"]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + side / 4, y - side / 8)
        page.mouse.up()
        across, down = page.locator(".gauge output").all()  # y points down there
        expect(across).to_have_text(f"{512 * 0.75:.0f}")
        expect(down).to_have_text(f"{512 * 0.375:.0f}")
        page.keyboard.down("ArrowRight")
        expect(across).to_have_text("512")
        expect(down).to_have_text(f"{512 * 0.375:.0f}")
        page.keyboard.up("ArrowRight")
        page.goto("about:blank")


def test_a_stick_springs_back_and_points_where_its_keys_do(open_page: Callable[[str], Page]) -> None:
    with serving(echo_world(24, 24, game=None, actions=with_a_button(POINT_MAZE_ACTIONS))) as url:
        page = open_page(url)
        x, y = middle(page, ".steerable")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 500, y - 500)  # beyond the pad
        across, upward = page.locator(".gauge output").all()
        expect(across).to_have_text("-1.00")
        expect(upward).to_have_text("1.00")
        page.mouse.up()
        expect(across).to_have_text("0.00")
        expect(upward).to_have_text("0.00")
        page.goto("about:blank")


def test_a_joint_without_keys_has_a_slider_and_stays(open_page: Callable[[str], Page]) -> None:
    joints = tuple(Axis(name=f"joint.{i}", low=-2.0, high=3.0) for i in range(3))
    with serving(echo_world(24, 24, game=None, actions=ActionSpace(axes=joints))) as url:
        page = open_page(url)
        page.locator(".gauge input").nth(1).fill("1.5")
        page.keyboard.press("Escape")
        expect(page.locator(".gauge output").nth(1)).to_have_text("1.50")
        page.wait_for_timeout(150)
        page.evaluate("window.dispatchEvent(new Event('blur'))")
        page.wait_for_timeout(150)
        expect(page.locator(".gauge output").all()[1]).to_have_text("1.50")
        expect(page.locator(".gauge output").all()[0]).to_have_text("0.00")
        page.goto("about:blank")


def with_a_button(space: ActionSpace) -> ActionSpace:
    """The echo world paints with three features."""
    return ActionSpace(buttons=(Button(name="grip"),), axes=space.axes)


@pytest.mark.parametrize(
    ("height", "width", "game"), [(72, 128, "maze"), (64, 96, None), (96, 48, None), (240, 320, None)]
)
def test_pictures_of_any_shape_fit_and_keep_it(
    open_page: Callable[..., Page], height: int, width: int, game: str | None
) -> None:
    with serving(echo_world(height, width, game=game, actions=MAZE_ACTIONS)) as url:
        for viewport, ratio in (({"width": 1280, "height": 900}, 1), ({"width": 390, "height": 844}, 2)):
            page = open_page(url, viewport=viewport, device_scale_factor=ratio)
            page.wait_for_function(f"() => document.getElementById('dream').height === {height}")
            page.wait_for_timeout(100)
            box = page.locator("#dream").bounding_box()
            assert box is not None
            assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)
            scale = box["width"] * ratio / width
            smooth = page.locator("#dream[data-smooth]").count() == 1
            assert scale < 3 if smooth else scale == pytest.approx(round(scale))
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= viewport["width"]
            assert box["width"] >= 150
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            assert page.locator("#real").is_visible() == (game is not None)
            page.goto("about:blank")
