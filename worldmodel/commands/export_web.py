"""`worldmodel export-web`: a checkpoint as a folder that any static host serves, to be played in the page alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..checkpoints import gallery
from . import cli

EPILOG = """
The page computes in the browser (ONNX, WebAssembly): no server of ours, nothing leaves it. Try the folder with
  python -m http.server --directory DIR
With the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp it uses several
threads.
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = cli.Parser(prog=prog, description="Write a page that plays a checkpoint in the browser alone.", epilog=EPILOG)
    p.add_argument("--checkpoint", default=gallery.DEFAULT, metavar="NAME|DIR",
                   help="what is played: a name that `worldmodel gallery` lists, or a directory")  # fmt: skip
    p.add_argument("--from", dest="source", metavar="WHAT", help="where its games begin, as in imagine; "
                   "without it the episodes that come with the checkpoint")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    p.add_argument("--runtime", type=Path, metavar="DIR",
                   help="where onnxruntime-web lies; without it npm fetches it")  # fmt: skip
    return p


def main(args: argparse.Namespace) -> None:
    """Find the runtime, export, and print where the page is."""
    if args.out.exists():
        raise ValueError(f"{args.out} exists already: name a new directory")
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"the export needs {error.name}: install it with pip install -e '.[onnx]'") from error
    del onnx
    from ..browser.export import export_page
    from ..browser.onnxruntime_web import runtime_files
    from ..play.library import Library

    library = Library(args.checkpoint, source=args.source)
    runtime = runtime_files(args.runtime)
    loaded = library.load(library.first)
    if loaded.simulator.has_map:
        print(f"{loaded.name} has a learned map; in the page it imagines without it.", file=sys.stderr)
    files = export_page(loaded, args.out, runtime=runtime)
    size = sum(file.stat().st_size for file in files)
    weights = sum(file.stat().st_size for file in files if file.suffix == ".onnx")
    print(
        cli.plain(f"{args.out}: {len(files)} files, {size / 1e6:.1f} MB, of which {weights / 1e6:.1f} MB are the model")
    )
