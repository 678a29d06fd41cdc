"""The learned map: where the camera is, as far as frames and actions tell, and what it will see from there next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But the world of some
games is the same in every episode: the player's place says what will come into view. Place recognition proposes places,
a particle filter with a Kalman filter for each particle compares them with the frames, a radiance field renders what
is seen from there. Where no real frame is left to compare with, the motion model goes on from the actions alone.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.checkpoint import build, read
from ..config import from_dict
from ..dynamics.expectation import Expectation
from ..dynamics.optical_flow import render
from ..runtime import use_bfloat16
from ..types import UNKNOWN_ACTION, Actions, ActionsBetween, Codes, FrameActions, FrameCodes
from .config import LearnedMapConfig
from .filter_state import ERROR_GROWTH, FilterState
from .kalman import ekf_predict, ekf_update
from .motion_model import HISTORY, MOMENTUM_DIM, MotionModel, last_step
from .particle_filter import COMPARE, PROPOSAL_STD, Particles, localise, photometric_error, refine_pose
from .place_recognition import PlaceRecognition
from .radiance_field import RadianceField
from .view_bob import BobPhase, ViewBob

KIND = "learned_map"  # of a checkpoint
CLOSE_LOOKS = 2  # frames, the last of a context: all that is imagined goes on from where they are seen
STEP_STD = (0.002, 0.002, 0.003)  # of a step of the camera
NEWEST_WEIGHT = 0.5  # of the newest photometric error in their running mean
RIVAL_ERROR = 0.3  # squared error of the view from a place that only looks alike
UNKNOWN_ERROR = 0.1  # of a frame, where none was looked at before
MIN_ERROR, MAX_ERROR = 0.02, 0.3  # within which an error divides the precision: other views are hardly farther off


class LearnedMap(nn.Module):
    """An expectation model of a world that is the same in every episode; see `dynamics.expectation.ExpectationModel`.

    A pose is x and y in -1..1 of the map and a heading in radians, counterclockwise; a view is a pose and how far the
    eye is above its rest, in heights of the eye above the floor.
    """

    origin: Tensor
    extent: Tensor
    code_vectors: Tensor
    code_appearance: Tensor

    def __init__(self, config: LearnedMapConfig) -> None:
        super().__init__()
        self.config = config
        self.bob_rate = 2 * math.pi * config.tics_per_step / config.bob_tics
        self.recognition = PlaceRecognition(config)
        self.motion_model = MotionModel(config)
        self.field = RadianceField(config)
        self.view_bob = ViewBob()
        self.register_buffer("origin", torch.zeros(2))  # the map's middle in the game's units
        self.register_buffer("extent", torch.ones(()))  # and half of its longer side
        self.register_buffer("code_vectors", torch.zeros(config.codebook_size, config.code_dim))
        shape = (config.codebook_size, 3, config.code_pixels, config.code_pixels)
        self.register_buffer("code_appearance", torch.zeros(shape))

    @property
    def device(self) -> torch.device:
        return self.code_vectors.device

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vector of each code: int64 (...) -> (... c)."""
        return F.embedding(codes, self.code_vectors)

    def images(self, codes: Codes) -> Tensor:
        """Return what codes (b t h w) look like: (b t 3 H W)."""
        return render(codes, self.code_appearance)

    # The interface of an expectation model.

    @torch.no_grad()
    def begin(
        self, codes: Codes, actions: ActionsBetween, *, num_expected: int | None = None
    ) -> tuple[Expectation, FilterState]:
        """Take in a real context of codes (b t h w) with actions (b t-1) between them.

        Returns the expectations (b num_expected) of its last frames, by default of all but the first, and the state at
        the last. The last frames are looked at closely.
        """
        last = codes.shape[1] - 1
        first = 0 if num_expected is None else last - num_expected
        expectations: list[Expectation] = []
        state: FilterState | None = None
        for i in range(last + 1):
            state = self.update(state, codes[:, i], close=i > last - CLOSE_LOOKS)
            if i < last:
                state = self.predict(state, actions[:, i])
                expectations += [self._expectation(state, imagined=False)] if i >= first else []
        assert state is not None
        return self._joined(expectations, like=codes), state

    @torch.no_grad()
    def step(self, state: FilterState, actions: FrameActions) -> tuple[Expectation, FilterState]:
        """Return the expectation (b) of the imagined frame that follows under actions (b), and the state at it."""
        state = self.predict(state, actions)
        return self._expectation(state, imagined=True), state

    @torch.no_grad()
    def follow(self, codes: Codes, actions: Actions, *, num_real: int | None = None) -> Expectation:
        """Return the expectations (b t) of the frames that follow each of codes (b t h w) under actions (b t).

        With `num_real`, what follows so many frames is expected as by `begin` and `step`; else all frames are looked
        at, none closely.
        """
        expectations: list[Expectation] = []
        if num_real is not None:
            context, state = self.begin(codes[:, :num_real], actions[:, : num_real - 1])
            for t in range(num_real - 1, actions.shape[1]):
                expectation, state = self.step(state, actions[:, t])
                expectations.append(expectation)
            imagined = self._joined(expectations, like=codes)
            return Expectation(*(torch.cat(parts, dim=1) for parts in zip(context, imagined, strict=True)))
        known: FilterState | None = None
        for t in range(actions.shape[1]):
            known = self.predict(self.update(known, codes[:, t]), actions[:, t])
            expectations.append(self._expectation(known, imagined=False))
        return self._joined(expectations, like=codes)

    def frozen(self, *, precision: str = "auto") -> LearnedMap:
        """Return a copy that is quicker and cannot be trained: matrices in the dtype they are multiplied in."""
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        dtype = torch.bfloat16 if use_bfloat16(precision, self.device) else torch.float32
        exact = {*copied.motion_model.modules(), *copied.view_bob.modules(), copied.field.higher}
        copied.field.build_occupancy()
        for module in copied.modules():
            if isinstance(module, nn.Linear | nn.Conv1d) and module not in exact:
                module.to(dtype)
        return copied

    # The filter.

    def update(self, state: FilterState | None, codes: FrameCodes, *, close: bool = False) -> FilterState:
        """Return what is known at a frame of codes (b h w) after a look at it.

        Args:
            state: predicted for this frame; None for the first.
            codes: of the frame.
            close: whether to look closely: it takes longer and finds the pose better.
        """
        vectors, image = self.vectors(codes), self.images(codes.unsqueeze(1))[:, 0]
        actions = codes.new_full((len(codes), HISTORY - 1), UNKNOWN_ACTION) if state is None else state.actions
        memory = None if state is None else state.memory
        memory = self.recognition(vectors.unsqueeze(1), actions[:, -1:], memory)[:, 0]
        earlier = None if state is None else self._all_particles(state)
        bob = BobPhase.unknown(image) if state is None else state.bob
        momenta = image.new_zeros(len(image), MOMENTUM_DIM) if earlier is None else earlier.momenta[:, 0]
        eye = bob.offset(self.view_bob(momenta[:, :2]))
        particles = localise(self.field, self.recognition.locate(memory), eye, earlier, image)
        if close:
            particles = refine_pose(self.field, particles, image)
        particles = _filtered(particles, close=close)
        bob = bob.update(self.view_bob(particles.momenta[:, 0, :2]), particles.views[:, 0, 3])
        rivals = 1 - particles.log_weights[:, 0].exp()
        newest = particles.errors[:, 0]
        mean_error = newest if state is None else torch.lerp(state.mean_error, newest, NEWEST_WEIGHT)
        return FilterState(memory, particles, bob, mean_error, mean_error + RIVAL_ERROR * rivals, actions)

    def predict(self, state: FilterState, actions: FrameActions) -> FilterState:
        """Return what is known of the next frame after actions (b).

        After a look all particles move, with their covariances; in imagination the likeliest alone, until there is
        another look.
        """
        history = torch.cat([state.actions, actions.unsqueeze(1)], dim=1)
        bob = state.bob.predict(self.bob_rate)
        anchor, steps, error = state.particles, history.unsqueeze(1), state.error
        if state.steps is None:
            particles = self._moved(state.particles, history)
        else:
            assert state.anchor is not None
            anchor, steps = state.anchor, torch.cat([state.steps, history.unsqueeze(1)], dim=1)
            particles, error = self._moved_alone(state.particles.likeliest(), history), error + ERROR_GROWTH
        particles = self._raise_eye(particles, bob)
        return FilterState(
            state.memory, particles, bob, state.mean_error, error, history[:, 1:], anchor=anchor, steps=steps
        )

    def _moved(self, particles: Particles, history: Tensor) -> Particles:
        """Return particles (b g) one step later, after actions (b HISTORY); the eye's height is as it was."""
        shape = particles.log_weights.shape
        poses, momenta, covariances = ekf_predict(
            self.motion_model,
            particles.views[..., :3].flatten(0, 1),
            history.repeat_interleave(shape[1], 0),
            particles.momenta.flatten(0, 1),
            particles.covariances.flatten(0, 1),
        )
        poses = poses.unflatten(0, shape)
        return particles._replace(
            views=torch.cat([poses, particles.views[..., 3:]], dim=-1),
            predicted=poses,
            momenta=momenta.unflatten(0, shape),
            search=search_covariance(covariances).unflatten(0, shape),
            covariances=covariances.unflatten(0, shape),
        )

    def _moved_alone(self, particle: Particles, history: Tensor) -> Particles:
        """Return one particle (b 1) one step later. Covariances stay: they are asked for after another look only."""
        poses, momenta = self.motion_model(particle.views[:, 0, :3], history, particle.momenta[:, 0])
        poses = poses.unsqueeze(1)
        return particle._replace(
            views=torch.cat([poses, particle.views[..., 3:]], dim=-1),
            predicted=poses,
            momenta=momenta.unsqueeze(1),
        )

    def _raise_eye(self, particles: Particles, bob: BobPhase) -> Particles:
        """Return particles (b g) with the eye as high as it is at that time."""
        amplitudes = self.view_bob(particles.momenta[..., :2].flatten(0, 1)).unflatten(0, particles.log_weights.shape)
        views = torch.cat([particles.views[..., :3], bob.offset(amplitudes).unsqueeze(-1)], dim=-1)
        return particles._replace(views=views)

    def _all_particles(self, state: FilterState) -> Particles:
        """Return all particles of a frame; in imagination the likeliest moved on without the others."""
        if state.steps is None or state.steps.shape[1] == 1:
            return state.particles
        assert state.anchor is not None
        particles = state.anchor
        for history in state.steps.unbind(1):
            particles = self._moved(particles, history)
        return self._raise_eye(particles, state.bob)

    # Expectations.

    def _expectation(self, state: FilterState, *, imagined: bool) -> Expectation:
        """Return the expectation (b) of the likeliest particle."""
        views, errors = state.particles.views[:, :1, :], state.error.unsqueeze(1)
        return self.expect(views, errors, num_real=0 if imagined else None).map(lambda part: part[:, 0])

    @torch.no_grad()
    def expect(self, views: Tensor, errors: Tensor, *, num_real: int | None = None) -> Expectation:
        """Return the expectations (b t) of frames that are seen from views (b t 4).

        The precision is that after a look for the frames that follow a real one, and that of imagination from the first
        that follows a context of `num_real` frames; None means that all follow real ones.

        Args:
            views: of the frames.
            errors: (b t), mean squared errors that the rendered images will have.
            num_real: frames of the context.
        """
        after_look, in_imagination = self.config.logit_precision
        t = views.shape[1]
        first_imagined = t if num_real is None else max(0, num_real - 1)
        at_unit_error = errors.new_tensor(
            [after_look] * min(t, first_imagined) + [in_imagination] * (t - first_imagined)
        )
        precision = at_unit_error / errors.clamp(MIN_ERROR, MAX_ERROR)
        return Expectation(self.render(views), precision)

    def render(self, views: Tensor) -> Tensor:
        """Return what is seen from views (b t 4), in standardised colours: (b t 3 H W)."""
        return self.field.render(views.flatten(0, 1)).unflatten(0, views.shape[:2])

    def _joined(self, expectations: Sequence[Expectation], *, like: Codes) -> Expectation:
        """Return expectations (b) of t frames as those of (b t); `like` has the rows if there is none."""
        if expectations:
            return Expectation(*(torch.stack(parts, dim=1) for parts in zip(*expectations, strict=True)))
        size, b = self.field.size, len(like)
        return Expectation(self.origin.new_zeros(b, 0, 3, size, size), self.origin.new_zeros(b, 0))

    # Recorded poses, from which training knows the views.

    def recorded_views(self, places: Tensor, numbers: Tensor) -> Tensor:
        """Return the views (b t 4) of recorded frames.

        Args:
            places: (b t+1 3), x, y and angle in the game's units, one frame earlier as well.
            numbers: (b t), how many frames of the episode come before each.
        """
        poses = self.to_map(places)
        before, now = poses[:, :-1].flatten(0, 1), poses[:, 1:].flatten(0, 1)
        amplitudes = self.view_bob(last_step(before, now))
        phases = self.bob_rate * numbers.flatten().to(amplitudes.dtype)
        eye = (amplitudes * torch.stack([phases.sin(), phases.cos()], dim=-1)).sum(-1, keepdim=True)
        return torch.cat([now, eye], dim=-1).unflatten(0, numbers.shape)

    @torch.no_grad()
    def recorded_errors(self, views: Tensor, past: Codes, *, num_real: int) -> Tensor:
        """Return the errors (b t) that expectations from known views (b t 4) have, about.

        Args:
            views: of the frames that follow each of `past`.
            past: (b t h w).
            num_real: so many of these are looked at: how badly their views fit says how far off what follows is.
        """
        looked = self.images(past[:, 1:num_real])
        if not looked.shape[1]:
            errors = views.new_full((*views.shape[:1], 1), UNKNOWN_ERROR)
        else:
            fits = [
                photometric_error(self.field, view.unsqueeze(1), image, COMPARE)
                for view, image in zip(views[:, : looked.shape[1]].unbind(1), looked.unbind(1), strict=True)
            ]
            errors = torch.cat(fits, dim=1)
        errors = torch.cat([errors[:, :1], errors], dim=1)  # the first frame's view is not known
        steps = torch.arange(views.shape[1], device=views.device)
        looked_at = steps.clamp(max=num_real - 1)
        return errors[:, looked_at] + ERROR_GROWTH * (steps - looked_at)

    def set_bounds(self, low: Tensor, high: Tensor) -> None:
        """Set how large the map is: the least and the greatest x and y (2), in the game's units."""
        self.origin.copy_((low + high) / 2)
        self.extent.copy_(((high - low).max() / 2).clamp(min=1.0))
        self.motion_model.stop_speed.copy_(self.config.stop_speed / self.extent)

    def to_map(self, places: Tensor) -> Tensor:
        """Return the game's x, y and angle in degrees (... 3) as poses."""
        return torch.cat([(places[..., :2] - self.origin) / self.extent, places[..., 2:] * (math.pi / 180)], dim=-1)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> LearnedMap:
        """Load a learned map's checkpoint.

        Raises:
            ValueError: if it is missing, damaged, or another model's.
        """
        checkpoint = read(directory, kind=KIND)
        values = {name: value for name, value in checkpoint.config.items() if name != "tokenizer"}
        config = from_dict(LearnedMapConfig, values)
        learned_map = build(lambda: cls(config), checkpoint, directory)
        return learned_map.eval().requires_grad_(False)


def _filtered(particles: Particles, *, close: bool) -> Particles:
    """Return particles (b g) after their views were found, with what is known of them from all views so far."""
    shape = particles.log_weights.shape
    parts = particles.views[..., :3], particles.predicted, particles.momenta, particles.covariances
    poses, momenta, covariances = (
        part.unflatten(0, shape) for part in ekf_update(*(part.flatten(0, 1) for part in parts), close=close)
    )
    views = torch.cat([poses, particles.views[..., 3:]], dim=-1)
    return particles._replace(views=views, momenta=momenta, covariances=covariances)


def search_covariance(covariances: Tensor) -> Tensor:
    """Return covariances (m 4 4) within which to search views, given those (m STATE_DIM STATE_DIM) of poses."""
    search = torch.diag(covariances.new_tensor(PROPOSAL_STD).square()).repeat(len(covariances), 1, 1)
    search[:, :3, :3] = covariances[:, :3, :3] + torch.diag(covariances.new_tensor(STEP_STD).square())
    return search
