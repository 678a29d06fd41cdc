"""The page in a real browser, headless Chromium: what a player does, and what the player sees."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.play.chromium import Page, needs_chromium
from tests.play.serving import Served, serving
from worldmodel.play.client import Client
from worldmodel.play.library import Library
from worldmodel.rollouts import EpisodeDataset

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the tests of the module: a start takes seconds."""
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser: Page, served: Served) -> Iterator[Page]:
    """The page of a new server. When the test is over, nothing must have been said on the console."""
    browser.errors()
    browser.open(served.link)
    yield browser
    assert browser.errors() == []
    browser.driver.get("about:blank")


def test_loads_and_waits_for_a_key(page: Page) -> None:
    """The picture is there, the keys are drawn, and it says what to do."""
    assert page.text("#veil").startswith("Press a key")
    assert len(page.driver.find_elements("css selector", "#keys button")) == 3
    assert len(page.driver.find_elements("css selector", "#starts button")) == 3
    assert page.picture("imagined") != page.driver.execute_script(
        "const c = document.createElement('canvas'); c.width = c.height = 32; return c.toDataURL();"
    )


def test_keys_change_the_picture(page: Page) -> None:
    """The first key starts the game, the key is drawn as pressed, and rate and latency are measured."""
    before = page.picture("imagined")
    page.key("KeyW", down=True)
    page.wait(lambda: page.frame >= 6)
    assert page.text("#action") == "forward"
    assert page.driver.find_element("css selector", "#keys .down").text.endswith("forward")
    page.key("KeyW", down=False)
    page.wait(lambda: page.text("#action") == "noop")
    assert page.driver.find_elements("css selector", "#keys .down") == []
    assert page.picture("imagined") != before
    assert float(page.text("#rate")) > 0
    assert page.text("#latency").endswith(" ms")
    page.click("#pause")


def test_several_keys_at_once(page: Page) -> None:
    """Both keys are drawn as pressed; the newest decides where the game has no such pair."""
    page.key("ArrowUp", down=True)
    page.key("ArrowLeft", down=True)
    page.wait(lambda: page.text("#action") == "left")
    assert len(page.driver.find_elements("css selector", "#keys .down")) == 2
    page.key("ArrowLeft", down=False)
    page.wait(lambda: page.text("#action") == "forward")
    page.key("ArrowUp", down=False)
    page.click("#pause")


def test_real_and_both(page: Page) -> None:
    """Both pictures stand beside each other and move; real alone hides the imagined one."""
    page.click("[data-show=both]")
    page.wait(lambda: page.driver.execute_script("return document.body.dataset.view") == "both")
    start = page.picture("real")
    assert start == page.picture("imagined")
    page.play(3, "KeyD")
    assert page.picture("real") != start
    assert page.driver.find_element("id", "real").is_displayed()
    page.click("[data-show=real]")
    page.wait(lambda: not page.driver.find_element("id", "imagined").is_displayed())
    page.click("[data-show=imagined]")
    page.wait(lambda: page.driver.find_element("id", "imagined").is_displayed())


def test_single_steps(page: Page) -> None:
    """The step button plays one frame, and the game stays paused."""
    page.click("#step")
    page.wait(lambda: page.frame == 1)
    time.sleep(0.3)
    assert page.frame == 1


def test_recording_is_an_episode(page: Page, served: Served) -> None:
    """Record, play, stop: the page offers the video, and the episode is intact and holds what was pressed."""
    page.click("#record")
    page.wait(lambda: page.text("#record") == "Stop")
    page.play(5, "KeyD")
    page.click("#record")
    page.wait(lambda: "Download the video" in page.text("#message"))
    link = page.driver.find_element("css selector", "#message a")
    assert link.get_attribute("download") == "play-0001.mp4"
    assert (served.out / "play-0001.mp4").stat().st_size > 0
    dataset = EpisodeDataset(served.out / "toy-train")
    assert dataset.verify(0) is None
    episode = dataset.episode(0)
    right = dataset.info.action_names.index("right")
    assert (episode.actions == right).sum() >= 4
    assert len(np.unique(episode.frames.reshape(len(episode.frames), -1), axis=0)) > 4


def test_share_and_replay(page: Page) -> None:
    """The script of a game, played in the page, ends with the same picture."""
    page.play(4, "KeyW")
    page.click("#share")
    page.wait(lambda: page.driver.execute_script("return document.getElementById('dialog').open"))
    last, count = page.picture("imagined"), page.frame  # nothing comes after the script
    script = page.driver.execute_script("return document.getElementById('script').value")
    assert script.startswith("toy-model~")
    page.click("#replay")
    page.wait(lambda: "The script ends" in page.text("#message"))
    assert page.frame == count
    assert page.picture("imagined") == last


def test_two_tabs_are_two_games(page: Page, served: Served) -> None:
    """Each tab has a game of its own; the one that is not looked at pauses."""
    page.play(3, "KeyW")
    first, count, picture = page.driver.current_window_handle, page.frame, page.picture("imagined")
    page.driver.switch_to.new_window("tab")
    page.open(served.link)
    assert page.frame == 0
    page.play(5, "KeyA")
    page.driver.close()
    page.driver.switch_to.window(first)
    assert page.frame >= count
    page.click("#step")
    page.wait(lambda: page.picture("imagined") != picture)


def test_leaving_in_the_middle_of_a_frame(page: Page, served: Served) -> None:
    """A page that is left while frames are on their way frees its game; the next visit begins anew."""
    for _ in range(6):  # more often than games may be open
        page.click("[data-pace=fast]")
        page.key("KeyW", down=True)
        page.wait(lambda: page.frame >= 2)
        page.open(served.link)
        page.wait(lambda: page.frame == 0)
    with Client(served.link) as client:
        assert client.frame().header["number"] == 0


def test_random_keys_leave_the_page_as_small(page: Page) -> None:
    """Random keys at full speed, with resets between: frames go on, and the page's memory stays where it was."""
    rng = np.random.default_rng(0)
    page.click("[data-pace=fast]")
    heaps, down = [], set()
    for count in range(300):
        code = str(rng.choice(["KeyW", "KeyA", "KeyD", "ArrowUp", "ArrowLeft", "Space"]))
        page.key(code, down=code not in down)
        down ^= {code}
        if count % 50 == 0:
            page.click("#reset")
        if count in (100, 299):
            page.driver.execute_script("window.gc?.()")
            heaps.append(page.driver.execute_script("return performance.memory.usedJSHeapSize") / 2**20)
    for code in down:
        page.key(code, down=False)
    page.wait(lambda: page.frame >= 2)
    assert heaps[1] < heaps[0] + 8, f"{heaps} MiB"
    page.click("[data-pace=real]")


def test_restart(browser: Page, library: Library, tmp_path: Path) -> None:
    """When the server goes the page says so; after a restart the new link works."""
    with serving(library, tmp_path) as first:
        browser.open(first.link)
    browser.wait(lambda: "connection is gone" in browser.text("#veil"))
    with serving(library, tmp_path, port=first.port) as second:
        browser.open(second.link)
        browser.play(2, "KeyW")
        browser.driver.get("about:blank")


def test_phone(served: Served, tmp_path: Path) -> None:
    """On a phone nothing is wider than the screen, and a finger on a drawn key plays."""
    page = Page(tmp_path, width=390, height=844, phone=True)
    try:
        page.open(served.link)
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
        touch = "document.querySelector('#keys button').dispatchEvent(new PointerEvent(arguments[0], {pointerId: 1}))"
        page.driver.execute_script("Element.prototype.setPointerCapture = () => {}")
        page.driver.execute_script(touch, "pointerdown")
        page.wait(lambda: page.text("#action") == "forward")
        page.driver.execute_script(touch, "pointerup")
        page.wait(lambda: page.text("#action") == "noop")
        assert json.dumps(page.errors()) == "[]"
    finally:
        page.driver.quit()
