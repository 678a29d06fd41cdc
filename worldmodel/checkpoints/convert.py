"""Write a checkpoint anew: in the present layout, and with the weights of some modules in fewer bits."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..learned_map.map import KIND as MAP
from ..tokenizer.model import Tokenizer
from .checkpoint import Checkpoint, has_part, read, write
from .quantization import quantized

TOKENIZER = "tokenizer"
# Their fractions are pixels or steps: in half precision a motion would drift.
EXACT = ("context.flow.actions", "context.flow.camera", "motion_model.", "view_bob.", "origin", "extent")


def convert(source: Path, out: Path, *, half: Sequence[str] = (), int8: Sequence[str] = ()) -> None:
    """Write the dynamics checkpoint `source`, of any layout, into `out`, with its tokenizer and learned map.

    Matrices of the modules that `half` names become float16, those that `int8` names eight bits with a scale a row;
    vectors, and what decides a motion, stay as they are. A tokenizer whose weights do not change is copied byte for
    byte.

    Args:
        source: a directory.
        out: another.
        half: beginnings of weights' names, those of a part after its name: `context.`, `tokenizer.encoder`,
            `learned_map.field`.
        int8: the same; where both name a weight, this counts.

    Raises:
        ValueError: if the source is no dynamics checkpoint, `out` is the same, or no weight's name begins so.
    """
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the checkpoint itself: convert it into another directory")
    dynamics = read(source, kind="dynamics")
    parts = {"": dynamics, f"{TOKENIZER}.": read(source / TOKENIZER, kind=TOKENIZER)}
    if has_part(source, MAP):
        parts[f"{MAP}."] = read(source / MAP, kind=MAP)
    names = [prefix + name for prefix, part in parts.items() for name in part.tensors]
    for beginning in (*half, *int8):
        if not any(name.startswith(beginning) for name in names):
            raise ValueError(f"no weight's name begins with {beginning!r}; names are like {', '.join(names[:3])}")
    small = {
        prefix: dataclasses.replace(part, tensors=_smaller(part.tensors, prefix, half, int8))
        for prefix, part in parts.items()
    }
    fingerprint = str(dynamics.config[TOKENIZER])
    if any(name.startswith(f"{TOKENIZER}.") for name in (*half, *int8)):
        write(out / TOKENIZER, small[f"{TOKENIZER}."])
        fingerprint = Tokenizer.from_pretrained(out / TOKENIZER).fingerprint()
    else:
        shutil.copytree(source / TOKENIZER, out / TOKENIZER, dirs_exist_ok=True)
    if f"{MAP}." in small:
        write(out / MAP, _of_tokenizer(small[f"{MAP}."], fingerprint))
    write(out, _of_tokenizer(small[""], fingerprint))


def _of_tokenizer(part: Checkpoint, fingerprint: str) -> Checkpoint:
    return dataclasses.replace(part, config=part.config | {TOKENIZER: fingerprint})


def _smaller(tensors: Mapping[str, Tensor], prefix: str, half: Sequence[str], int8: Sequence[str]) -> dict[str, Tensor]:
    """Return tensors, the matrices among those that `half` and `int8` name in fewer bits."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        is_matrix = tensor.is_floating_point() and tensor.ndim >= 2 and not name.startswith(EXACT)
        if is_matrix and (prefix + name).startswith(tuple(int8)):
            result |= quantized(name, tensor)
        else:
            is_half = is_matrix and (prefix + name).startswith(tuple(half))
            result[name] = tensor.half() if is_half else tensor
    return result
