"""From what an environment renders to a frame."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.envs.picture import FITS, aspect_of, fit_square, to_rgb


def picture(height: int = 20, width: int = 60) -> np.ndarray:
    """Bright in the middle third, dark at the sides, with a white column at the very left."""
    found = np.full((height, width, 3), 20, np.uint8)
    found[:, width // 3 : 2 * width // 3] = 200
    found[:, :4] = 255
    return found


def test_squash_shows_every_column() -> None:
    """What stands at the edge of a wide picture is in the frame: the column is there, narrower."""
    frame = fit_square(picture(), 15, fit="squash")
    assert (frame[:, 0] == 255).all()
    assert (frame[:, 5:10] == 200).all()


def test_pad_keeps_shape_and_edge() -> None:
    """Padding keeps the edges and the shape, with black bars above and below."""
    frame = fit_square(picture(), 30, fit="pad")
    assert (frame[:10] == 0).all()
    assert (frame[20:] == 0).all()
    assert (frame[10:20, :2] == 255).all()


def test_crop_keeps_the_centre_and_the_shape_of_things() -> None:
    """Cropping cuts off the sides of a wide picture, and squeezes nothing."""
    assert (fit_square(picture(), 10, fit="crop") == 200).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(9, 14), (210, 160), (1, 500), (64, 64)])
def test_every_shape_becomes_a_square(fit: str, shape: tuple[int, int]) -> None:
    """Any picture becomes uint8 (size, size, 3)."""
    frame = fit_square(picture(*shape), 16, fit=fit)
    assert (frame.shape, frame.dtype) == ((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    "render",
    [
        lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]),
        lambda p: p.astype(np.float32) / 255,
        lambda p: p.astype(np.float64),
        lambda p: p.astype(np.int64),
        lambda p: [np.zeros_like(p), p],
        lambda p: p.tolist(),
        lambda p: p.transpose(2, 0, 1),
        lambda p: p[None],
    ],
    ids=["rgba", "floats to 1", "floats to 255", "integers", "list", "nested lists", "planes", "stack"],
)
def test_usual_renderings_are_the_same_picture(render: object) -> None:
    """However an environment hands its picture over, the frame is the same."""
    assert np.array_equal(to_rgb(render(picture())), picture())  # type: ignore[operator]


def test_grey_pictures_become_rgb() -> None:
    """Grey, with or without a channel, and black and white have three equal channels."""
    grey = picture()[..., 0]
    for rendered in (grey, grey[..., None], grey.astype(float)):
        assert np.array_equal(to_rgb(rendered), picture())
    assert set(np.unique(to_rgb(grey > 100))) == {0, 255}


@pytest.mark.parametrize(
    "rendered",
    [
        None,
        "text",
        7,
        np.zeros((5, 5, 2)),
        np.zeros(5),
        np.zeros((0, 4, 3)),
        [],
        [[1], [1, 2]],
        np.full((4, 4), np.nan),
    ],
)
def test_what_is_no_picture_is_one_clear_line(rendered: object) -> None:
    """None, text and odd shapes are refused by a ValueError that names render()."""
    with pytest.raises(ValueError, match=r"^render\(\) returned"):
        to_rgb(rendered)


def test_the_aspect_of_a_squashed_picture() -> None:
    """Only a squashed picture has another shape than its frame; one that is very long is shown four to one at most."""
    assert aspect_of({"fit": "squash", "screen_size": [210, 160]}) == 160 / 210
    assert aspect_of({"fit": "squash", "screen_size": [10, 1000]}) == 4
    for settings in ({}, {"fit": "pad", "screen_size": [2, 4]}, {"fit": "squash", "screen_size": [0, 4]}):
        assert aspect_of(settings) == 1
