"""The environment of NumPy's and torch's libraries."""

from __future__ import annotations

import pytest

from worldmodel.commands import libraries

FLAGS = "fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


def cpu_info(vendor: str, family: str, flags: str) -> str:
    one = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: a: b\nflags\t\t: {flags}\n"
    return f"{one}\n{one}\n"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "core"),
    [
        ("AuthenticAMD", "26", FLAGS, "SkylakeX"),
        ("AuthenticAMD", "26", FLAGS.replace(" avx512vl", ""), None),  # its kernels would be illegal instructions
        ("AuthenticAMD", "25", FLAGS, None),
        ("GenuineIntel", "26", FLAGS, None),
        ("AuthenticAMD", "x", FLAGS, None),
    ],
)
def test_only_what_openblas_does_not_know_is_named(vendor: str, family: str, flags: str, core: str | None) -> None:
    """A processor of AMD's that is newer than OpenBLAS and has all that the kernels need."""
    assert libraries.openblas_core(cpu_info(vendor, family, flags)) == core
    assert libraries.openblas_core("") is None


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    libraries.prepare_libraries()
    environ = libraries.os.environ
    names = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")
    assert [environ[name] for name in names] == ["Haswell", "2", "PASSIVE"]
