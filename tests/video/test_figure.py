"""Figures: frames are shown unchanged, and colour and caption tell where each comes from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from worldmodel.video.figure import (
    BORDER,
    CELL_BORDER,
    CONTEXT,
    HEADER,
    IMAGINED,
    MARGIN,
    REAL,
    SCALE,
    Video,
    draw_contact_sheet,
    draw_grid_video,
    font,
    sheet_columns,
    shorten,
)

FRAMES = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)


def video(kind: str = "imagined", **changes: object) -> Video:
    values: dict[str, object] = {"label": "forward", "frames": FRAMES, "num_context": 6, "kind": kind}
    return Video(**(values | changes))  # type: ignore[arg-type]


def colour(text: str) -> list[int]:
    return list(ImageColor.getrgb(text))


def test_grid_video_shows_each_frame_as_it_is() -> None:
    """Every pixel of a frame is a square of the grid video, in its place, and all sides are even."""
    side = 32 * SCALE
    for index, picture in enumerate(draw_grid_video([[video(), video()]], frames_per_second=8.75)):
        assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
        for column in (0, 1):
            x = MARGIN + column * (side + 2 * BORDER + MARGIN) + BORDER
            y = HEADER + BORDER
            shown = FRAMES[index].repeat(SCALE, axis=0).repeat(SCALE, axis=1)
            np.testing.assert_array_equal(picture[y : y + side, x : x + side], shown)


def test_borders_and_captions_tell_context_from_imagined() -> None:
    """The first frames have the context's colour and caption, the others those of their kind."""
    for kind, expected in (("imagined", IMAGINED), ("real", REAL)):
        pictures = list(draw_grid_video([[video(kind)]], frames_per_second=8.75))
        assert len(pictures) == 16
        edge = [picture[HEADER + 1, MARGIN + 1].tolist() for picture in pictures]
        assert edge == [colour(CONTEXT)] * 6 + [colour(expected)] * 10
        assert video(kind).caption(5) == "context"
        assert video(kind).caption(6) == f"{kind}: forward"


def test_caption_names_what_is_pressed_at_the_moment() -> None:
    """A script's caption follows its presses, the caption of the frame they lead to."""
    pressed = ("forward",) * 5 + ("left",) * 5
    scripted = video(label="forward:5/left", pressed=pressed)
    assert [scripted.caption(i) for i in (5, 6, 10, 11, 15)] == [
        "context", "imagined: forward", "imagined: forward", "imagined: left", "imagined: left",
    ]  # fmt: skip


def test_time_line_fills_up() -> None:
    """The line below the video grows with every frame."""
    bars = [picture[-27].astype(int).sum() for picture in draw_grid_video([[video()]], frames_per_second=8.75)]
    assert all(a < b for a, b in itertools.pairwise(bars))


def test_grid_video_needs_videos_of_one_length() -> None:
    """Videos that end at different times cannot be shown together."""
    with pytest.raises(ValueError, match="one length"):
        next(draw_grid_video([[video(), video(frames=FRAMES[:9])]], frames_per_second=8))


def test_sheet_holds_every_frame_of_a_short_video() -> None:
    """Six context and ten imagined frames are all in the contact sheet, unchanged and in order."""
    sheet = np.asarray(draw_contact_sheet([[video("real"), video()]], frames_per_second=8.75))
    side = 32
    found = []
    for edge in (colour(CONTEXT), colour(REAL), colour(IMAGINED)):
        corner = np.all(sheet == edge, axis=-1)
        # The upper left corner of a border: its colour here, none above and none at the left.
        rows, columns = np.nonzero(corner & ~np.roll(corner, 1, 0) & ~np.roll(corner, 1, 1))
        for y, x in zip(rows + CELL_BORDER, columns + CELL_BORDER, strict=True):
            patch = sheet[y : y + side, x : x + side]
            found += [(y, x, i) for i in range(16) if patch.shape == FRAMES[i].shape and (patch == FRAMES[i]).all()]
    for y in {y for y, _, _ in found}:
        assert [i for row, _, i in sorted(found) if row == y] == list(range(16))
    assert len(found) == 32


@given(st.integers(0, 40), st.integers(0, 300))
def test_sheet_chooses_frames_of_a_long_video(num_context: int, num_future: int) -> None:
    """At most 16 frames, in order, each once, with the end of the context and the end of the video."""
    if num_context + num_future == 0:
        return
    columns = sheet_columns(num_context, num_context + num_future)
    assert len(columns) == min(16, num_context + num_future)
    assert columns == sorted(set(columns))
    assert columns[-1] == num_context + num_future - 1
    assert num_context == 0 or num_context - 1 in columns


@given(st.text(max_size=60), st.integers(20, 400))
def test_captions_fit(text: str, width: int) -> None:
    """A caption that is too long ends in dots and is no wider than its place."""
    short = shorten(text, width, 20)
    assert short == text or (short.endswith("...") and (font(20).getlength(short) <= width or short == "..."))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frames": FRAMES[:0]}, "at least one frame"),
        ({"frames": FRAMES.astype(float)}, "uint8"),
        ({"num_context": 17}, "cannot have 17"),
        ({"kind": "painted"}, "imagined, real"),
        ({"pressed": ("left",)}, "1 presses for 10"),
    ],
)
def test_refuses_what_is_no_video(changes: dict[str, object], says: str) -> None:
    """Frames, context and presses have to fit each other."""
    with pytest.raises(ValueError, match=says):
        video(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("aspect", "size"), [(1.0, (16, 16)), (160 / 210, (21, 16)), (1.5, (16, 24))])
def test_frames_are_shown_at_the_games_aspect(aspect: float, size: tuple[int, int]) -> None:
    """A picture that was squashed to a square gets its shape back, and no side shrinks."""
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:, :8, :8] = 200
    video = Video(label="left", frames=frames, num_context=1, kind="imagined", aspect=aspect)
    assert video.size == size
    for scale in (1, 4):
        picture = np.asarray(video.picture(1, scale=scale))
        assert picture.shape == (size[0] * scale, size[1] * scale, 3)
        assert abs(int(picture[: picture.shape[0] // 2 - 2, : picture.shape[1] // 2 - 2].min()) - 200) <= 2
        assert picture[picture.shape[0] // 2 + 2 :, picture.shape[1] // 2 + 2 :].max() <= 2
    grid = next(draw_grid_video([[video]], frames_per_second=8))
    sheet = draw_contact_sheet([[video]], frames_per_second=8)
    square = Video(label="left", frames=frames, num_context=1, kind="imagined")
    plain = next(draw_grid_video([[square]], frames_per_second=8))
    assert abs((grid.shape[0] - plain.shape[0]) - (size[0] - 16) * SCALE) <= 1  # sides are even
    assert abs((grid.shape[1] - plain.shape[1]) - (size[1] - 16) * SCALE) <= 1
    assert sheet.height - draw_contact_sheet([[square]], frames_per_second=8).height == size[0] - 16
