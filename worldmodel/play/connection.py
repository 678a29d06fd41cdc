"""One open page: it gets frames, one in flight, and the newest state of its keys decides what the next one shows."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from ..envs import GameDiedError
from . import protocol, script
from .clock import Clock
from .keymap import choose_action
from .library import Library, Loaded
from .pictures import png
from .real import OpenGame
from .recording import VideoRecording, next_video, save_episode
from .session import Session, Shown

SLOW_SECONDS = 3.5  # a page that has not shown its frame after so long is gone; closing takes up to a second more
MAX_WAITING = 64  # commands that a page may have given before they are done
PACES = {"slow": 0.25, "real": 1.0}  # game seconds a second; "fast" knows no clock
POLICY_VIOLATION, TOO_SLOW = 1008, 1013

Result = TypeVar("Result")


class SlowClientError(Exception):
    """The page does not take its frames."""


class Connection:
    """The game of one page, until it closes.

    Args:
        socket: accepted.
        thread: where models and engines run; all games share it.
        out: where recordings go.
    """

    def __init__(
        self, socket: WebSocket, library: Library, *, thread: Executor, out: Path, open_game: OpenGame
    ) -> None:
        self._socket, self._library, self._thread, self._out = socket, library, thread, out
        self._open_game = open_game
        self._news = asyncio.Event()
        self._waiting: deque[protocol.Message] = deque()
        self._keys = protocol.Keys(pressed=[], number=0)
        self._used_keys = 0  # the number of the key state that the last frame saw
        self._pace: protocol.Pace = "paused"
        self._single_steps = 0
        self._sent_frames, self._shown_frames = 0, 0
        self._replayed: deque[script.Event] = deque()
        self._recording: VideoRecording | None = None
        self._session: Session | None = None
        self._loaded: Loaded | None = None
        self._clock = Clock(0.0, time.monotonic())
        self._sent_at = time.monotonic()

    async def run(self) -> None:
        """Play until the page is gone, is too slow, or says what no page of ours says."""
        playing = asyncio.create_task(self._play())
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({playing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (playing, reading):
                task.cancel()
            results = await asyncio.gather(playing, reading, return_exceptions=True)
            # Even if this task is cancelled, a recording is finished and an engine ended: after the frame in progress.
            await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._release)))
        await self._say_goodbye([result for result in results if isinstance(result, Exception)])

    async def _say_goodbye(self, errors: list[Exception]) -> None:
        for error in errors:
            if isinstance(error, WebSocketDisconnect):
                return
        for error in errors:
            if isinstance(error, SlowClientError):
                await self._close(TOO_SLOW, "the page does not take its frames")
            elif isinstance(error, protocol.ProtocolError):
                await self._close(POLICY_VIOLATION, str(error)[:100])
            elif not isinstance(error, OSError | RuntimeError):
                raise error

    async def _close(self, code: int, reason: str) -> None:
        try:
            await asyncio.wait_for(self._socket.close(code, reason), 0.5)
        except (TimeoutError, OSError, RuntimeError):
            return  # it is gone

    @property
    def _game(self) -> Session:
        assert self._session is not None
        return self._session

    # What the page says.

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if message.get("text") is None:
                raise protocol.ProtocolError("messages are text")
            self._take(protocol.parse(message["text"]))
            self._news.set()

    def _take(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Keys):
            if message.number > self._keys.number:
                self._keys = message
        elif isinstance(message, protocol.Ack):
            self._shown_frames = min(max(self._shown_frames, message.frame), self._sent_frames)
        elif isinstance(message, protocol.SetPace):
            self._pace = message.pace
            self._clock = self._new_clock()
        elif isinstance(message, protocol.Step):
            self._single_steps = 1
        elif len(self._waiting) >= MAX_WAITING:
            raise protocol.ProtocolError("too many commands at once")
        else:
            self._waiting.append(message)

    # The game.

    async def _play(self) -> None:
        await self._begin(protocol.Begin(checkpoint=self._library.first, start="", seed=0))
        while True:
            if self._sent_frames > self._shown_frames:
                await self._wait_for_page()
            elif self._waiting:
                await self._do(self._waiting.popleft())
            elif self._replayed:
                await self._replay_next()
            else:
                await self._turn()

    async def _turn(self) -> None:
        """Play a frame if it is time for one; else wait for that, or for news."""
        action = choose_action(self._keys.pressed, self._game.action_names)
        changed = self._keys.number != self._used_keys
        wait: float | None = None
        if self._single_steps:
            wait, action = 0.0, 0 if action is None else action
        elif self._pace != "paused" and action is not None:
            wait = self._clock.wait(time.monotonic(), key_changed=changed)
        if wait == 0:
            self._single_steps = 0
            self._clock.tick(time.monotonic())
            assert action is not None
            await self._step(action)
        else:
            await self._wait(wait)

    async def _step(self, action: int) -> None:
        self._used_keys, began = self._keys.number, time.monotonic()
        shown = await self._compute(lambda: self._advance(action))
        await self._send_frame(shown, seconds=time.monotonic() - began)

    def _advance(self, action: int) -> Shown:
        shown = self._game.step(action)
        if self._recording is not None:
            self._recording.add(shown)
        return shown

    async def _replay_next(self) -> None:
        """Do the next event of a script; a press of a key ends the replay."""
        if self._keys.number != self._used_keys and self._keys.pressed:
            self._replayed.clear()
            await self._say("status", message="You play on from here.")
            return
        wait = self._clock.wait(time.monotonic(), key_changed=False) if self._pace != "paused" else None
        if wait != 0:
            await self._wait(wait)
            return
        event = self._replayed.popleft()
        if event.temperature is not None:
            self._game.set_temperature(event.temperature)
        elif event.action is not None:
            self._clock.tick(time.monotonic())
            await self._step(event.action)
        if not self._replayed:
            await self._say("status", message="The script ends here: play on.", replayed=True)

    async def _wait_for_page(self) -> None:
        """Wait until the page has shown the frame that is on its way.

        Raises:
            SlowClientError: if it takes too long.
        """
        deadline = self._sent_at + SLOW_SECONDS
        await self._wait(max(0.0, deadline - time.monotonic()))
        if self._sent_frames > self._shown_frames and time.monotonic() >= deadline:
            raise SlowClientError

    async def _wait(self, seconds: float | None) -> None:
        """Wait for news from the page, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    # What the page asks for, beside playing.

    async def _do(self, message: protocol.Message) -> None:
        try:
            if isinstance(message, protocol.Begin):
                await self._begin(message)
            elif isinstance(message, protocol.Show):
                await self._show(message.view)
            elif isinstance(message, protocol.SetTemperature):
                self._game.set_temperature(message.temperature)
            elif isinstance(message, protocol.Record):
                await self._record(on=message.on)
            elif isinstance(message, protocol.Share):
                await self._share()
            elif isinstance(message, protocol.Replay):
                await self._replay(script.parse(message.script))
        except (ValueError, OSError, GameDiedError) as error:
            await self._say("problem", message=" ".join(str(error).split()))

    async def _begin(self, message: protocol.Begin, *, temperature: float | None = None) -> None:
        await self._end_recording()
        if self._loaded is None or message.checkpoint != self._loaded.name:
            await self._say("loading", checkpoint=message.checkpoint)
            await self._open(message.checkpoint)
        loaded, session = self._loaded, self._game
        assert loaded is not None
        if temperature is None:
            temperature = session.temperature
        start = await self._compute(lambda: loaded.start(message.start, seed=message.seed, open_game=self._open_game))
        shown = await self._compute(lambda: session.begin(start, seed=message.seed, temperature=temperature))
        self._replayed.clear()
        self._clock = self._new_clock()
        await self._say(
            "begun", checkpoint=loaded.name, start=start.name, seed=message.seed, temperature=session.temperature
        )
        await self._send_frame(shown, seconds=0.0)

    async def _open(self, checkpoint: str) -> None:
        loaded = await self._compute(lambda: self._library.load(checkpoint))
        if self._session is not None:
            await self._compute(self._session.close)
        self._session = Session(loaded.simulator, checkpoint, open_game=self._open_game)
        self._loaded = loaded
        await self._say("game", **loaded.describe(), checkpoints=list(self._library.names))

    async def _show(self, view: protocol.View) -> None:
        session = self._game
        shown = await self._compute(lambda: session.show(view))
        if session.view != view:
            await self._say("problem", message=f"The real game cannot be shown: {session.no_real}")
        await self._send_frame(shown, seconds=0.0)

    async def _share(self) -> None:
        text = str(self._game.script)
        if len(text) > script.MAX_LENGTH:
            raise ValueError("this game is too long for a link: reset it and play a shorter one")
        await self._say("script", script=text)

    async def _replay(self, played: script.Script) -> None:
        await self._begin(
            protocol.Begin(checkpoint=played.checkpoint, start=played.start, seed=played.seed), temperature=1.0
        )
        count = len(self._game.action_names)
        if any(event.action is not None and event.action >= count for event in played.events):
            raise ValueError(f"the script has an action that {played.checkpoint} does not know (it has {count})")
        self._game.clear_script()
        self._replayed.extend(played.events)

    async def _record(self, *, on: bool) -> None:
        if not on:
            await self._end_recording()
            return
        if self._recording is None:
            session, loaded = self._game, self._loaded
            assert loaded is not None
            views = ["imagined", "real"] if session.view == "both" else [session.view]
            rate, aspect = loaded.simulator.frames_per_second, loaded.aspect
            self._recording = await self._compute(
                lambda: VideoRecording(next_video(self._out), views=views, frames_per_second=rate, aspect=aspect)
            )
        await self._say("recording", on=True)

    async def _end_recording(self) -> None:
        """Finish the video, save the real episode behind it, and give the video to the page."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        session, out = self._game, self._out

        def finish() -> tuple[Path | None, str, str]:
            video = recording.close()
            if video is None or session.real is None:
                return video, "", "" if video is None else session.no_real
            try:
                return video, str(save_episode(out, session.real, session.actions)), ""
            except (ValueError, OSError, RuntimeError, ImportError) as error:
                return video, "", str(error)

        video, episodes, problem = await self._compute(finish)
        content = await asyncio.to_thread(video.read_bytes) if video else b""
        header = {"type": "recorded", "video": str(video or ""), "episodes": episodes, "problem": problem}
        await self._send(protocol.pack(header, [content]))

    # The wire.

    async def _send_frame(self, shown: Shown, *, seconds: float) -> None:
        images = list(shown.images)
        blobs = await self._compute(lambda: [png(shown.images[view]) for view in images])
        self._sent_frames += 1
        header = {
            "type": "frame",
            "frame": self._sent_frames,
            "number": shown.number,
            "action": shown.action,
            "keys": self._used_keys,
            "views": images,
            "real_ended": shown.real_ended,
            "ms": round(1000 * seconds, 1),
        }
        await self._send(protocol.pack(header, blobs))
        self._sent_at = time.monotonic()

    async def _say(self, kind: str, **content: Any) -> None:
        await self._send(protocol.pack({"type": kind, **content}))

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await self._socket.send_bytes(message)
        except TimeoutError:
            raise SlowClientError from None

    async def _compute(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, done in the thread of the models."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _new_clock(self) -> Clock:
        rate = self._loaded.simulator.frames_per_second if self._loaded else 1.0
        speed = PACES.get(self._pace)
        return Clock(1 / (rate * speed) if speed else 0.0, time.monotonic())

    def _release(self) -> None:
        if self._recording is not None:
            self._recording.close()
        if self._session is not None:
            self._session.close()
