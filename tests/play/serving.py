"""A real server of a tiny world in a thread, for tests of what talks to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.models import tiny_dynamics, tiny_tokenizer
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import Checkpoint, write
from worldmodel.config import to_dict
from worldmodel.play.library import Library
from worldmodel.play.server import listen, make_app, make_server, new_token
from worldmodel.training.tokenizer import save_tokenizer


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server: its link, where it listens, and where it records."""

    link: str
    port: int
    token: str
    out: Path


def tiny_library(path: Path) -> Library:
    """A tiny model of the toy world, and recorded episodes that its games begin from."""
    data = record_toy(path / "data", episodes=2)
    return Library(str(save_model(path / "toy-model")), source=str(data))


def save_model(path: Path) -> Path:
    """Write a tiny checkpoint that knows no map: it is quick."""
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors, window=8)
    save_tokenizer(tokenizer, path / "tokenizer", {})
    config = to_dict(dynamics.config) | {"tokenizer": tokenizer.fingerprint()}
    write(path, Checkpoint(kind="dynamics", config=config, metrics={}, tensors=dict(dynamics.state_dict())))
    return path


@contextmanager
def serving(library: Library, out: Path, *, port: int = 0) -> Iterator[Served]:
    """Serve `library` on a port of this machine until the block ends."""
    library.load(library.first)
    with listen(port) as listener:
        port, token = listener.getsockname()[1], new_token()
        server = make_server(make_app(library, port=port, token=token, out=out))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Served(link=f"http://127.0.0.1:{port}/{token}/", port=port, token=token, out=out)
        finally:
            server.should_exit = True
            thread.join()
