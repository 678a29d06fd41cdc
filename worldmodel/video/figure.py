"""How videos are drawn, as a grid or a contact sheet: borders and captions tell context from imagined."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# The colours of Okabe and Ito, told apart by everyone: the context is blue, what is imagined orange, the real future
# green.
CONTEXT, IMAGINED, REAL = "#56b4e9", "#e69f00", "#2fb58a"
KINDS = {"imagined": IMAGINED, "real": REAL}


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colours of everything that is no frame."""

    background: str
    text: str
    muted: str
    track: str  # the part of the time line that is still to come


DARK = Theme(background="#14161a", text="#f2f2f0", muted="#8d939c", track="#2c3038")
LIGHT = Theme(background="#ffffff", text="#1b1d21", muted="#6d737c", track="#e3e5e8")


@dataclass(frozen=True, kw_only=True)
class Video:
    """Frames to show, uint8 (H, W, 3) each: `num_context` real ones, then the future that `kind` names."""

    label: str  # the whole of what was pressed
    frames: Sequence[np.ndarray] | np.ndarray  # anything with a length that gives a frame for its index
    num_context: int
    kind: str  # "imagined" or "real"
    pressed: tuple[str, ...] = ()  # what led to each future frame; the label where it is left out
    aspect: float = 1.0  # of the game's picture, width over height: models see every picture as a square

    def __post_init__(self) -> None:
        if not len(self.frames):
            raise ValueError("a video has at least one frame")
        if self.frames[0].dtype != np.uint8 or self.frames[0].ndim != 3:
            raise ValueError(f"frames are uint8 (H, W, 3), got {self.frames[0].dtype} {self.frames[0].shape}")
        if not 0 <= self.num_context <= len(self.frames):
            raise ValueError(f"a video of {len(self.frames)} frames cannot have {self.num_context} context frames")
        if self.kind not in KINDS:
            raise ValueError(f"a video is one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.pressed and len(self.pressed) != len(self.frames) - self.num_context:
            raise ValueError(f"{len(self.pressed)} presses for {len(self.frames) - self.num_context} future frames")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which a frame is shown: at the game's aspect, with no side shorter than it is."""
        return shown_size(self.frames[0], self.aspect)

    def picture(self, index: int, *, scale: int = 1) -> Image.Image:
        """Return frame `index` at `scale` times its size: enlarged, a pixel stays a sharp rectangle."""
        return stretch(self.frames[index], self.aspect, scale=scale)

    def color(self, index: int) -> str:
        """The colour that tells where frame `index` comes from."""
        return CONTEXT if index < self.num_context else KINDS[self.kind]

    def caption(self, index: int) -> str:
        """What frame `index` is: `context`, `imagined: forward` or `real: forward`."""
        if index < self.num_context:
            return "context"
        pressed = self.pressed[index - self.num_context] if self.pressed else self.label
        return f"{self.kind}: {pressed}" if pressed else self.kind

    def step(self, index: int) -> int:
        """Steps from the last context frame to frame `index`: 0 is the last thing known, +1 the first of the future."""
        return index - self.num_context + 1


def shown_size(frame: np.ndarray, aspect: float) -> tuple[int, int]:
    """Return height and width at which a frame is shown: at the game's aspect, with no side shorter than it is."""
    height, width = frame.shape[:2]
    return round(height / min(1.0, aspect)), round(width * max(1.0, aspect))


def stretch(frame: np.ndarray, aspect: float, *, scale: int = 1) -> Image.Image:
    """Return a frame at the game's aspect and `scale` times its size: enlarged, a pixel stays a sharp rectangle."""
    height, width = shown_size(frame, aspect)
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    return Image.fromarray(frame).resize((width * scale, height * scale), how)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that a figure looks the same on every machine."""
    return ImageFont.load_default(size=size)


def shorten(text: str, width: float, size: int) -> str:
    """Return `text`, its end replaced by dots where it is wider than `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


# The grid video. All lengths in pixels of the finished picture.
SCALE = 4
BORDER = 6
MARGIN = 28
HEADER = 52
FOOTER = 24
CAPTION_SIZE = 27
CLOCK_SIZE = 21


def draw_grid_video(grid: Sequence[Sequence[Video]], *, frames_per_second: float) -> Iterator[np.ndarray]:
    """Yield the grid video of `grid`, rows of videos that play at the same time: uint8 (H, W, 3) a frame, even sides.

    No row is longer than the first. Each video has its caption, the number and time of the frame (counted from the
    first one after the context) and a border in the colour of where the frame comes from; a time line runs below.
    """
    lengths = {len(video.frames) for row in grid for video in row}
    if len(lengths) != 1 or any(len(row) > len(grid[0]) for row in grid):
        raise ValueError(f"the videos of a grid have one length, and no row is longer than the first; got {lengths}")
    for index in range(lengths.pop()):
        yield _grid_frame(grid, index, frames_per_second)


def _grid_frame(grid: Sequence[Sequence[Video]], index: int, frames_per_second: float) -> np.ndarray:
    height, width = (side * SCALE + 2 * BORDER for side in grid[0][0].size)
    step_x, step_y = width + MARGIN, HEADER + height + MARGIN
    size = (step_x * len(grid[0]) + MARGIN, step_y * len(grid) + FOOTER)
    canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), DARK.background)
    draw = ImageDraw.Draw(canvas)
    for row, videos in enumerate(grid):
        for column, video in enumerate(videos):
            x, y = MARGIN + column * step_x, row * step_y
            _frame_header(draw, video, index, frames_per_second, box=(x, y, x + width, y + HEADER))
            draw.rectangle((x, y + HEADER, x + width - 1, y + HEADER + height - 1), fill=video.color(index))
            canvas.paste(video.picture(index, scale=SCALE), (x + BORDER, y + HEADER + BORDER))
    for column, video in enumerate(grid[-1]):
        x = MARGIN + column * step_x
        _time_line(draw, video, index, box=(x, size[1] - FOOTER - 6, x + width, size[1] - FOOTER))
    return np.asarray(canvas)


def _frame_header(
    draw: ImageDraw.ImageDraw, video: Video, index: int, frames_per_second: float, *, box: tuple[int, int, int, int]
) -> None:
    left, _, right, bottom = box
    step = video.step(index)
    clock = f"{_signed(step)}   {step / frames_per_second:.2f} s"
    baseline = bottom - 14
    room = right - left - font(CLOCK_SIZE).getlength(clock) - 24
    caption = shorten(video.caption(index), room, CAPTION_SIZE)
    draw.text((left, baseline), caption, font=font(CAPTION_SIZE), fill=video.color(index), anchor="ls")
    draw.text((right, baseline), clock, font=font(CLOCK_SIZE), fill=DARK.muted, anchor="rs")


def _signed(step: int) -> str:
    return f"{step:+d}" if step else "0"


def _time_line(draw: ImageDraw.ImageDraw, video: Video, index: int, *, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    length = len(video.frames)
    gap = 4 if (right - left) / length > 10 else 0
    for position in range(length):
        x0 = left + round(position * (right - left + gap) / length)
        x1 = left + round((position + 1) * (right - left + gap) / length) - gap - 1
        color = video.color(position) if position <= index else DARK.track
        draw.rectangle((x0, top, max(x0, x1), bottom - 1), fill=color)


# The contact sheet.
MAX_COLUMNS = 16
MAX_LINES = 3
CELL_BORDER = 4
CELL_GAP = 10
GROUP_GAP = 34
SHEET_MARGIN = 48
TITLE_SIZE = 38
LABEL_SIZE = 34
LINE = 36
NOTE_SIZE = 27
HEAD = 104


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Which frames a contact sheet shows and where."""

    shown: list[int]
    lefts: list[int]
    width: int  # of a cell


def draw_contact_sheet(rows: Sequence[Sequence[Video]], *, frames_per_second: float) -> Image.Image:
    """Return all videos as strips, one under the other, the videos of a row close together: a figure for a page.

    Of videos longer than MAX_COLUMNS frames the last context frames and an even choice of the others are shown.
    """
    videos = [video for row in rows for video in row]
    height, width = (side + 2 * CELL_BORDER for side in videos[0].size)
    left = SHEET_MARGIN + round(max(_label_width(video) for video in videos)) + GROUP_GAP
    columns = _columns(videos[0], left, width)
    gaps = (len(videos) - len(rows)) * CELL_GAP + (len(rows) - 1) * GROUP_GAP
    size = (columns.lefts[-1] + width + SHEET_MARGIN, SHEET_MARGIN * 2 + HEAD + len(videos) * height + gaps)
    sheet = Image.new("RGB", size, LIGHT.background)
    draw = ImageDraw.Draw(sheet)
    _sheet_head(draw, videos, columns, frames_per_second)
    y = SHEET_MARGIN + HEAD
    for row in rows:
        for video in row:
            _strip(sheet, video, columns, y, lines=_label_lines(video) if video is row[0] else [])
            y += height + CELL_GAP
        y += GROUP_GAP - CELL_GAP
    return sheet


def sheet_columns(num_context: int, length: int) -> list[int]:
    """Return which frames a sheet shows: at most MAX_COLUMNS, the context's last one and the very last among them."""
    num_future = length - num_context
    shown_context = min(num_context, max(MAX_COLUMNS // 3, MAX_COLUMNS - num_future))
    shown_future = min(num_future, MAX_COLUMNS - shown_context)
    future = [num_context - 1 + round((i + 1) * num_future / shown_future) for i in range(shown_future)]
    return list(range(num_context - shown_context, num_context)) + future


def _columns(video: Video, left: int, width: int) -> _Columns:
    shown = sheet_columns(video.num_context, len(video.frames))
    first_future = sum(index < video.num_context for index in shown)
    breaks = first_future and GROUP_GAP - CELL_GAP
    lefts = [left + i * (width + CELL_GAP) + (breaks if i >= first_future else 0) for i in range(len(shown))]
    return _Columns(shown=shown, lefts=lefts, width=width)


def _label_lines(video: Video) -> list[str]:
    """The label, one line a press, at most MAX_LINES."""
    lines = video.label.replace("/", "/\n").splitlines() or [""]
    return lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], "..."]


def _label_width(video: Video) -> float:
    lines = [font(LABEL_SIZE).getlength(line) for line in _label_lines(video)]
    return max(*lines, font(NOTE_SIZE).getlength(video.kind))


def _sheet_head(
    draw: ImageDraw.ImageDraw, videos: Sequence[Video], columns: _Columns, frames_per_second: float
) -> None:
    """Draw a bracket over the context and one over the future, and the number of each frame."""
    video = videos[0]
    for index, left in zip(columns.shown, columns.lefts, strict=True):
        middle = (left + columns.width / 2, SHEET_MARGIN + HEAD - 12)
        draw.text(middle, _signed(video.step(index)), font=font(NOTE_SIZE), fill=LIGHT.muted, anchor="ms")
    kinds = sorted({video.kind for video in videos}, reverse=True)
    color = KINDS[kinds[0]] if len(kinds) == 1 else LIGHT.muted
    context = [left for index, left in zip(columns.shown, columns.lefts, strict=True) if index < video.num_context]
    future = columns.lefts[len(context) :]
    if context:
        _bracket(draw, "context", CONTEXT, context[0], context[-1] + columns.width)
    if future:
        end = future[-1] + columns.width
        _bracket(draw, " / ".join(kinds), color, future[0], end)
        seconds = f"{video.step(columns.shown[-1]) / frames_per_second:.2f} s"
        draw.text((end, SHEET_MARGIN + 26), seconds, font=font(NOTE_SIZE), fill=LIGHT.muted, anchor="rs")


def _bracket(draw: ImageDraw.ImageDraw, title: str, color: str, left: int, right: int) -> None:
    draw.text((left, SHEET_MARGIN + 26), title, font=font(TITLE_SIZE), fill=LIGHT.text, anchor="ls")
    draw.rectangle((left, SHEET_MARGIN + 44, right - 1, SHEET_MARGIN + 48), fill=color)


def _strip(sheet: Image.Image, video: Video, columns: _Columns, y: int, *, lines: Sequence[str]) -> None:
    """Draw one video: the `lines` of its label and its kind at the left, then its frames."""
    draw = ImageDraw.Draw(sheet)
    height, width = video.size
    right = columns.lefts[0] - GROUP_GAP
    baseline = y + CELL_BORDER + (height - len(lines) * LINE - NOTE_SIZE) / 2 + LABEL_SIZE - 6
    for line in lines:
        draw.text((right, baseline), line, font=font(LABEL_SIZE), fill=LIGHT.text, anchor="rs")
        baseline += LINE
    draw.text((right, baseline - 4), video.kind, font=font(NOTE_SIZE), fill=KINDS[video.kind], anchor="rs")
    for index, left in zip(columns.shown, columns.lefts, strict=True):
        edge = (left, y, left + width + 2 * CELL_BORDER - 1, y + height + 2 * CELL_BORDER - 1)
        draw.rectangle(edge, fill=video.color(index))
        sheet.paste(video.picture(index), (left + CELL_BORDER, y + CELL_BORDER))
