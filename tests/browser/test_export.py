"""The folder that plays in a browser alone: its graphs imagine as the simulator does, and a real browser plays it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.browser.player import Player
from tests.models import tiny_dynamics, tiny_tokenizer
from tests.play.chromium import Page, needs_chromium
from tests.play.serving import tiny_library
from worldmodel.browser.export import PAGE, _store_halves, export_page, key_rules
from worldmodel.browser.onnxruntime_web import FILES, runtime_files
from worldmodel.imagination.sources import Context
from worldmodel.play.keymap import buttons, choose_action
from worldmodel.play.library import Library, Loaded
from worldmodel.play.session import Start
from worldmodel.simulator import Simulator

EMPTY_RUNTIME = {name: b"" for name in FILES}


def loaded_game(**changes: object) -> Loaded:
    """A tiny model with one start of four frames."""
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors, **changes)
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    context = Context(frames=frames, actions=np.array([1, -1, 2]), description={"frame": 0}, origin=None)
    simulator = Simulator(tokenizer, dynamics, precision="float32")
    return Loaded(name="tiny", simulator=simulator, starts=(Start(name="@0", context=context),), settings=None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, Path]:
    """A tiny model, and the folder it was exported to."""
    loaded, folder = loaded_game(), tmp_path_factory.mktemp("export") / "page"
    export_page(loaded, folder, runtime=EMPTY_RUNTIME)
    return loaded, folder


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_graphs_imagine_as_the_simulator(tiny: tuple[Loaded, Path], temperature: float) -> None:
    """The same noise gives the same codes and pictures, past the window's edge, also after an unknown action."""
    loaded, folder = tiny
    simulator, player = loaded.simulator.fork(), Player(folder)
    simulator.temperature = temperature
    context = loaded.starts[0].context
    simulator.reset(context.frames[None], context.actions[None])
    player.reset(simulator.encode(context.frames[None])[0].numpy(), context.actions)
    generator = torch.Generator().manual_seed(0)
    shape = tuple(player.shapes[name] for name in ("patches", "links", "codebook"))
    for action in (0, 3, 2, -1, 1, 1):
        uniform = torch.rand(shape, generator=generator).clamp_(min=2.0**-25)
        simulator._noise = lambda batch, rows=None, u=uniform: -torch.log(-torch.log(u))[None]  # type: ignore[method-assign, misc]
        expected = simulator.step(np.array([action]))
        codes = player.step(action, uniform.numpy(), temperature=temperature)
        assert np.array_equal(codes, expected[0].numpy())
        picture = simulator.decode(expected[:, None])[0, 0].astype(int)
        assert np.abs(player.draw(codes) - picture).max() <= 1


def test_every_order_and_depth_is_exported(tmp_path: Path) -> None:
    """A frame at once, no attention bias and a single remembered action are graphs, too."""
    loaded = loaded_game(order="block", attention_bias_layers=0, action_history=1)
    export_page(loaded, tmp_path / "page", runtime=EMPTY_RUNTIME)
    assert len(Player(tmp_path / "page").graphs) == 3


def test_halves_lose_nothing() -> None:
    """A weight is stored in half precision only if that holds every number of it."""
    exact, other = np.linspace(0, 1, 2049, dtype=np.float32), np.full(2049, 0.1, np.float32)
    exact = exact.astype(np.float16).astype(np.float32)
    node = helper.make_node("Add", ["exact", "other"], ["sum"])
    result = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2049])
    weights = [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(other, "other")]
    model = helper.make_model(helper.make_graph([node], "graph", [], [result], weights))
    _store_halves(model)
    onnx.checker.check_model(model)
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    assert stored.keys() == {"exact.half", "other"}
    assert np.array_equal(stored["exact.half"].astype(np.float32), exact)
    assert np.array_equal(onnx.reference.ReferenceEvaluator(model).run(None, {})[0], exact + other)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    """The export writes to a new directory only."""
    with pytest.raises(ValueError, match="exists already"):
        export_page(loaded_game(), tmp_path, runtime=EMPTY_RUNTIME)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A tiny model of the toy world and where its games begin."""
    return tiny_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the tests of the module."""
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.driver.quit()


CHOOSE = """
const [game, all, done] = [arguments[0], arguments[1], arguments[2]];
import(new URL("actions.js", location.href).href)
  .then(({ chooseAction }) => done(all.map((pressed) => chooseAction(pressed, game))));
"""


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(
    "names",
    [
        ("noop", "forward", "left", "right", "forward+left", "forward+right", "use"),
        ("noop", "fire", "right", "left", "rightfire", "leftfire", "up", "upright", "downleftfire"),
        ("left", "right"),
    ],
)
def test_keys_mean_what_they_mean_on_the_server(
    browser: Page, tiny: tuple[Loaded, Path], names: tuple[str, ...]
) -> None:
    """Any presses choose the action that the server chooses."""
    rng = np.random.default_rng(0)
    known = [button.name for button in buttons(names)] + list(names)
    presses = [[str(name) for name in rng.permutation(known)[: rng.integers(0, 5)]] for _ in range(200)]
    with static_host(PAGE) as link:
        browser.driver.get(f"{link}actions.js")
        chosen = browser.driver.execute_async_script(CHOOSE, key_rules(names) | {"actions": list(names)}, presses)
    assert chosen == [choose_action(pressed, names) for pressed in presses]


@pytest.mark.slow
@needs_chromium
def test_the_page_alone_plays(browser: Page, library: Library, tmp_path: Path) -> None:
    """From a static host: a picture, keys that change it, the same game from the same seed, and a quiet console."""
    try:
        runtime = runtime_files(None)
    except ValueError as error:
        pytest.skip(str(error))
    export_page(library.load(library.first), tmp_path / "page", runtime=runtime)
    browser.errors()
    with static_host(tmp_path / "page") as link:
        browser.open(link)
        assert not browser.driver.find_element("id", "record").is_displayed()
        pictures = []
        for _ in range(2):
            browser.click("#reset")
            browser.wait(lambda: browser.frame == 0)
            before = browser.picture("imagined")
            for count in range(1, 4):
                browser.click("#step")
                browser.wait(lambda n=count: browser.frame == n)  # type: ignore[misc]
            pictures.append(browser.picture("imagined"))
        assert pictures[0] == pictures[1] != before
        browser.key("KeyW", down=True)
        browser.wait(lambda: browser.text("#action") == "forward")
        browser.key("KeyW", down=False)
        browser.driver.get("about:blank")
    assert browser.errors() == []
