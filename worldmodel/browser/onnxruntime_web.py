"""onnxruntime-web, which runs the graphs in a browser: one version, fetched by npm or taken from a folder."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# Of npm's archive, as its registry states it.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
SECONDS = 300.0
PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000")
MAX_FILE = 64 << 20  # bytes


def runtime_files(folder: Path | None) -> dict[str, bytes]:
    """Return file name -> content, from `folder` (the package, or its `dist`), or fetched by npm.

    Raises:
        ValueError: if they are not there, npm is missing or fails, or the archive is not the one that is expected.
    """
    if folder is not None:
        places = [
            place for place in (folder, folder / "dist", folder / "package" / "dist") if (place / FILES[0]).is_file()
        ]
        missing = [name for name in FILES if not places or not (places[0] / name).is_file()]
        if missing:
            raise ValueError(f"{folder} is not {PACKAGE}: it has no {missing[0]}")
        return {name: (places[0] / name).read_bytes() for name in FILES}
    with tempfile.TemporaryDirectory() as directory:
        return unpack(_fetch(Path(directory)))


def unpack(archive: Path, *, sha512: str = SHA512) -> dict[str, bytes]:
    """Return the files of npm's archive.

    Raises:
        ValueError: if it is another one.
    """
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != sha512:
        raise ValueError(f"{archive.name} is not {PACKAGE} {VERSION}: its SHA-512 is {digest}")
    files = {}
    with tarfile.open(archive) as content:
        for name in FILES:
            try:
                member = content.extractfile(f"package/dist/{name}")
            except KeyError:
                member = None
            if member is None:
                raise ValueError(f"{archive.name} has no {name}")
            files[name] = member.read(MAX_FILE)
    return files


def _fetch(directory: Path) -> Path:
    """Let npm download the archive into a directory, and return it."""
    remedy = f"install it elsewhere (npm pack {PACKAGE}@{VERSION}, unpacked) and name its folder with --runtime"
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(f"{PACKAGE} is fetched by npm, which is not there; or {remedy}")
    command = [npm, "pack", "--silent", *PATIENCE, f"{PACKAGE}@{VERSION}"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"npm did not fetch {PACKAGE} {VERSION} within {SECONDS:.0f} s; {remedy}") from None
    archives = list(directory.glob("*.tgz"))
    if done.returncode or not archives:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"npm could not fetch {PACKAGE} {VERSION} ({lines[0]}); {remedy}")
    return archives[0]
