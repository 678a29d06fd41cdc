"""Do small things that move, a ball for instance, survive the tokenizer?

A small object is a patch of at most half a percent of the picture that moves over a background that stands still. It is
found if, on its pixels, the reconstruction is off by less than half of what the background alone is.
"""

from __future__ import annotations

import numpy as np

from ...types import Report
from ..answers import Answer, Claim, Scalar
from ..harness.subject import Subject
from ..harness.tokenizer_alone import TokenizerSubject
from ..metrics.changes import background_of, is_found, small_objects
from ..metrics.intervals import bootstrap

HORIZON = 10
MIN_OBJECTS = 20  # fewer say nothing
CLIPS = 80


def measure(subject: Subject | TokenizerSubject, report: Report) -> Answer:
    """Return the share of small objects that are in the reconstructed frames, with an interval over clips."""
    clips = subject.clips(HORIZON, number=subject.few(CLIPS))
    tokenizer = subject.simulator.tokenizer if isinstance(subject, Subject) else subject.tokenizer
    shares, empty, objects = [], 0, 0
    for done, frames in enumerate(clips.frames, 1):
        background = background_of(frames)
        moving = list(small_objects(frames, background))
        if moving:
            decoded = tokenizer.decode(tokenizer.encode(frames[None]))[0]
            found = [is_found(frames[t], decoded[t], background, patch) for t, patch in moving]
            empty += sum(is_found(frames[t], background, background, patch) for t, patch in moving)
            shares.append((sum(found), len(found)))
            objects += len(found)
        report(done, len(clips.frames))
    if objects < MIN_OBJECTS:
        return Answer(skipped={"": f"{objects} small objects move on a still background in {len(clips.frames)} clips"})
    counts = np.array(shares, np.float64)
    share = bootstrap(counts[:, 0] / counts[:, 1], np.random.default_rng(subject.seed))
    return Answer(
        scalars={
            "found": Scalar(float(counts[:, 0].sum() / objects)),
            "found, mean of clips": share,
            "objects": Scalar(objects),
            "clips with objects": Scalar(len(shares)),
        },
        claims=(Claim(text="the background alone shows none of them", holds=empty == 0, figures={"found": empty}),),
    )
