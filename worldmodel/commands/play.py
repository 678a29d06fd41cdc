"""`worldmodel play`: the world model in the browser, under one's own keys, in real time."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from ..checkpoints import gallery
from .cli import Parser, UsageError

PORT = 8765
MAX_PORT = 65_535
EPILOG = """
Opens a page on this machine only. On a server without a screen, forward the port and open the printed link:
  ssh -L 8765:127.0.0.1:8765 SERVER        worldmodel play --no-browser
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = Parser(prog=prog, description="Play the world model in the browser with your own keys.", epilog=EPILOG)
    p.add_argument("--checkpoint", default=gallery.DEFAULT, metavar="NAME|DIR",
                   help="what to play first: a name that `worldmodel gallery` lists, or a directory")  # fmt: skip
    p.add_argument("--from", dest="source", metavar="WHAT", help="where its games begin, as in imagine; "
                   "without it the episodes that come with the checkpoint")  # fmt: skip
    p.add_argument("--out", type=Path, default=Path("played"), metavar="DIR", help="where recordings go")
    p.add_argument("--port", type=int, default=PORT, metavar="N", help="of the page; 0 takes any that is free")
    p.add_argument("--no-browser", action="store_true", help="only print the link")
    p.add_argument("--window", action="store_true", help="in a window of this desktop, not in the browser")
    return p


def main(args: argparse.Namespace) -> None:
    """Load the model and play it: in a window, or in a page that is served until Ctrl-C."""
    if args.window:
        play_in_window(args)
    else:
        serve(args)


def play_in_window(args: argparse.Namespace) -> None:
    """Open a window, and return when it is closed."""
    if not (has_screen() or os.environ.get("SDL_VIDEODRIVER")):
        raise ValueError("there is no screen for a window: leave out --window and open the link that is printed")
    from ..play.library import Library
    from ..play.window import open_window

    library = Library(args.checkpoint, source=args.source)
    loaded = library.load(library.first)
    print("W A S D or the arrows; Escape ends it.", file=sys.stderr)
    open_window(loaded)


def serve(args: argparse.Namespace) -> None:
    """Print the link, open it, and serve the page until Ctrl-C."""
    if not 0 <= args.port <= MAX_PORT:
        raise UsageError(f"--port must be 0 to {MAX_PORT}, got {args.port}")
    try:
        import starlette
        import uvicorn
        import websockets
    except ImportError as error:
        raise ValueError(f"the page needs {error.name}: install it with pip install -e '.[web]'") from error
    del starlette, uvicorn, websockets
    from ..play.library import Library
    from ..play.server import listen, make_app, make_server, new_token

    library = Library(args.checkpoint, source=args.source)
    with listen(args.port) as listener:
        library.load(library.first)
        port, token = listener.getsockname()[1], new_token()
        link = f"http://127.0.0.1:{port}/{token}/"
        server = make_server(make_app(library, port=port, token=token, out=args.out))
        print(link, flush=True)
        print("Open it and press W A S D or the arrows. Ctrl-C ends it.", file=sys.stderr)
        if not args.no_browser and has_screen():
            webbrowser.open(link)
        server.run(sockets=[listener])


def has_screen() -> bool:
    """Return whether a browser could show itself here: without a screen one of text would take the terminal."""
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
