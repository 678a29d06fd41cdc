"""Where the browser's runtime comes from: a folder or npm, and never another archive than the expected one."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from worldmodel.browser.onnxruntime_web import FILES, runtime_files, unpack


def archive(path: Path, names: tuple[str, ...] = FILES) -> tuple[Path, str]:
    """An archive as npm packs it, and its SHA-512."""
    with tarfile.open(path, "w:gz") as content:
        for name in names:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            content.addfile(member, io.BytesIO(name.encode()))
    return path, base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def test_the_files_of_the_archive(tmp_path: Path) -> None:
    """All files come out of the archive; of another archive nothing is read."""
    path, digest = archive(tmp_path / "a.tgz")
    assert unpack(path, sha512=digest) == {name: name.encode() for name in FILES}
    with pytest.raises(ValueError, match=r"a\.tgz is not onnxruntime-web"):
        unpack(path)


def test_an_archive_that_lacks_a_file(tmp_path: Path) -> None:
    """It is named."""
    path, digest = archive(tmp_path / "a.tgz", FILES[:1])
    with pytest.raises(ValueError, match=FILES[1]):
        unpack(path, sha512=digest)


@pytest.mark.parametrize("place", ["", "dist", "package/dist"])
def test_a_folder(tmp_path: Path, place: str) -> None:
    """The package's folder will do, or its `dist`, or where its archive was unpacked."""
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (tmp_path / place / name).write_text(name)
    assert runtime_files(tmp_path) == {name: name.encode() for name in FILES}


def test_a_folder_without_it(tmp_path: Path) -> None:
    """It is said what is missing."""
    with pytest.raises(ValueError, match=f"has no {FILES[0]}"):
        runtime_files(tmp_path)


def test_without_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"npm, which is not there; or install it elsewhere .* --runtime"):
        runtime_files(None)


def test_npm_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """npm's own first line is passed on, as without a network."""
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="ENOTFOUND"):
        runtime_files(None)
