"""The page in a real browser: keys in, pictures out, nothing from elsewhere."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from echo_world import DOWN, STAY, UP, echo_world
from playwright.sync_api import Browser, Page, expect

from hallucade.play.limits import Limits
from hallucade.play.server import serving

pytestmark = pytest.mark.browser

CHANNEL = {STAY: [255, 0, 0], UP: [0, 255, 0], DOWN: [0, 0, 255]}  # what the echo world dreams under each option


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(echo_world()) as url:
        yield url


@pytest.fixture
def page(open_page: Callable[[str], Page], server: str) -> Page:
    return open_page(server)


def shows(page: Page, option: int) -> None:
    """Wait until the dream's canvas shows that `option` is held, and the pad that it was applied."""
    page.wait_for_function(
        """colour => {
            const canvas = document.getElementById("dream");
            const pixel = canvas.getContext("2d").getImageData(5, 5, 1, 1).data;
            return colour.every((value, channel) => pixel[channel] === value);
        }""",
        arg=CHANNEL[option],
        timeout=5000,
    )
    expect(page.locator(".cap").nth(option)).to_have_attribute("aria-pressed", "true")


def player_paddle(page: Page) -> float:
    """Return the height of the player's paddle in the real game: the mean row of the last columns' bright pixels."""
    return page.evaluate(
        """() => {
            const canvas = document.getElementById("real"), size = canvas.width;
            const pixels = canvas.getContext("2d").getImageData(0, 0, size, size).data;
            let sum = 0, weight = 0;
            for (let y = 0; y < size; y++)
                for (let x = size - 4; x < size; x++) {
                    const light = Math.max(0, pixels[4 * (y * size + x) + 2] - 60);
                    sum += y * light;
                    weight += light;
                }
            return sum / weight;
        }"""
    )


def test_press_release_and_reverse_a_key(page: Page) -> None:
    shows(page, STAY)
    start = player_paddle(page)
    page.keyboard.down("ArrowUp")
    shows(page, UP)
    page.wait_for_timeout(200)
    up = player_paddle(page)
    assert up < start - 1
    page.keyboard.up("ArrowUp")
    shows(page, STAY)
    page.keyboard.down("KeyS")
    shows(page, DOWN)
    page.wait_for_timeout(200)
    assert player_paddle(page) > up + 1
    page.keyboard.up("KeyS")
    shows(page, STAY)


def test_losing_the_focus_releases_all_keys(page: Page) -> None:
    page.keyboard.down("ArrowUp")
    shows(page, UP)
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    shows(page, STAY)


def test_touch_buttons_hold_keys(open_page: Callable[..., Page], server: str) -> None:
    page = open_page(server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    box = page.locator(".cap", has_text="down").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    shows(page, DOWN)
    page.mouse.up()
    shows(page, STAY)
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than the phone"


def test_pause_step_and_resume_by_keyboard(page: Page) -> None:
    page.keyboard.press("p")
    expect(page.locator("#status")).to_have_text("paused")
    page.keyboard.down("ArrowUp")
    page.wait_for_timeout(150)
    expect(page.locator(".cap").nth(STAY)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press(".")
    shows(page, UP)
    page.keyboard.up("ArrowUp")
    page.wait_for_timeout(150)
    shows(page, UP)
    page.keyboard.press("p")
    shows(page, STAY)
    expect(page.locator("#status")).to_have_text("playing")


def test_next_start_and_restart(page: Page) -> None:
    expect(page.locator("#start")).to_have_text("start 1 of 3, seed 0")
    page.keyboard.press("n")
    expect(page.locator("#start")).to_have_text("start 2 of 3, seed 1")
    page.locator("#again").click()
    page.locator("#next").click()
    expect(page.locator("#start")).to_have_text("start 3 of 3, seed 2")


def test_sliders_move_by_arrow_keys_and_leave_the_game_alone(page: Page) -> None:
    page.locator("#steps").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#steps-value")).to_have_text("4")
    page.wait_for_function(  # the echo world writes its steps into the second pixel
        "() => document.getElementById('dream').getContext('2d').getImageData(1, 0, 1, 1).data[0] === 4"
    )
    shows(page, STAY)
    page.keyboard.press("Escape")
    page.keyboard.down("ArrowUp")
    shows(page, UP)
    page.keyboard.up("ArrowUp")


def test_measurements_are_shown(page: Page) -> None:
    for _ in range(6):
        page.keyboard.press("ArrowUp", delay=60)
        page.wait_for_timeout(40)
    number = re.compile(r"^[\d.]+( ms)?$")
    for name in ("fps", "p50", "p95", "model", "dropped"):
        expect(page.locator(f"#hud-{name}")).to_have_text(number)
    p50, p95 = (float(page.inner_text(f"#hud-{name}").split()[0]) for name in ("p50", "p95"))
    assert 0 < p50 <= p95


def test_big_frames_travel_as_jpeg(open_page: Callable[[str], Page]) -> None:
    with serving(echo_world(96, 96)) as url:
        page = open_page(url)
        page.keyboard.down("ArrowUp")
        page.wait_for_function(
            """() => {
                const pixel = document.getElementById("dream").getContext("2d").getImageData(48, 48, 1, 1).data;
                return pixel[1] > 240 && pixel[0] < 15;
            }"""
        )
        page.goto("about:blank")  # before its server goes, which it would rightly complain about


def test_a_full_server_says_so_and_offers_to_try_again(browser: Browser) -> None:
    with serving(echo_world(), limits=Limits(sessions=1)) as url:
        first, second = browser.new_page(), browser.new_page()
        first.goto(url)
        first.wait_for_selector("#status[data-phase=playing]")
        second.goto(url)
        expect(second.locator("#overlay-text")).to_contain_text("all places are taken")
        first.close()
        second.wait_for_timeout(300)
        second.get_by_role("button", name="Play again").click()
        second.wait_for_selector("#status[data-phase=playing]")
        second.close()


def test_the_page_comes_back_to_a_restarted_server_with_another_model(browser: Browser) -> None:
    with serving(echo_world()) as url:
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#start")).to_have_text("start 1 of 3, seed 0")
        page.keyboard.press("n")
        expect(page.locator("#start")).to_have_text("start 2 of 3, seed 1")
    expect(page.locator("#overlay-text")).to_contain_text("Trying again")
    with serving(echo_world(prompts=1), port=urlsplit(url).port or 0):
        expect(page.locator("#start")).to_have_text("start 1 of 1, seed 0", timeout=20_000)
        page.wait_for_selector("#status[data-phase=playing]")
        page.close()
