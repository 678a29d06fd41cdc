// The page: what the controls say to the game, and what the game says to the screen.

import { Connection } from "./connection.js";
import { Controls, isField } from "./controls.js";
import { Screen } from "./screen.js";

const IDLE_MS = 90_000; // without a key the game pauses
const RATE_MS = 3000;
const LATENCIES = 40;
const MESSAGE_MS = 9000;

const $ = (id) => document.getElementById(id);
const screen = new Screen($("strip"));
const controls = new Controls($("keys"), keysChanged);
const connection = new Connection(receive, closed);

let game = null; // what the server says about the checkpoint
let start = "";
let pace = "real"; // how time passes while it does
let paused = true;
let keyNumber = 0;
let keyTimes = []; // [number, time] of key states that no frame has shown yet
let frameTimes = [];
let latencies = [];
let lastKey = performance.now();
let messageTimer = 0;
let replaying = false; // a script was sent and has not begun yet

// From the server.

async function receive(header, blobs) {
  await handlers[header.type]?.(header, blobs);
}

const handlers = {
  loading: ({ checkpoint }) => veil("Loading", checkpoint),
  game(header) {
    game = header;
    document.body.dataset.alone = game.alone ? "yes" : "no"; // without a server there is no real game and no file
    document.body.style.setProperty("--aspect", game.aspect); // models see every picture as a square
    screen.aspect = game.aspect;
    controls.setGame(game.buttons, game.actions);
    fillCheckpoints();
    fillStarts();
  },
  begun(header) {
    start = header.start;
    screen.clear(screen.views);
    $("seed").value = header.seed;
    setTemperature(header.temperature);
    setPaused(!replaying);
    replaying = false;
    for (const button of $("starts").children) button.setAttribute("aria-pressed", button.dataset.start === start);
    if (location.hash.length > 1) replayFromLink();
  },
  async frame(header, blobs) {
    await screen.show(header.views, blobs, header.action);
    connection.send("ack", { frame: header.frame });
    document.body.dataset.view = header.views.length > 1 ? "both" : header.views[0];
    document.body.dataset.frame = header.number;
    for (const button of document.querySelectorAll("[data-show]")) {
      button.setAttribute("aria-pressed", button.dataset.show === document.body.dataset.view);
    }
    $("action").textContent = header.action ?? "\u00a0";
    $("ended").hidden = !header.real_ended;
    measure(header);
  },
  recording: () => setRecording(true),
  recorded(header, [video]) {
    setRecording(false);
    if (!header.video) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([video], { type: "video/mp4" }));
    link.download = header.video.split(/[\\/]/).pop();
    link.textContent = "Download the video";
    const episode = header.episodes ? ` The real episode behind it is in ${header.episodes}.` : "";
    const problem = header.problem ? ` No episode: ${header.problem}` : "";
    say(`Saved ${header.video}.${episode}${problem} `, link);
  },
  script(header) {
    $("script").value = header.script;
    $("dialog").showModal();
  },
  status(header) {
    if (header.replayed) setPaused(true);
    say(header.message);
  },
  problem(header) {
    replaying = false;
    say(header.message);
  },
};

function closed(reason) {
  setPaused(true);
  setRecording(false);
  keyTimes = [];
  veil("The connection is gone", reason || "Click to connect again. After a restart, open the new link.");
  $("veil").dataset.gone = "yes";
}

// Figures.

function measure(header) {
  const now = performance.now();
  if (header.number > 0) frameTimes.push(now);
  frameTimes = frameTimes.filter((time) => now - time < RATE_MS);
  const shown = keyTimes.filter(([number]) => number <= header.keys);
  if (shown.length) latencies = [...latencies, now - shown.at(-1)[1]].slice(-LATENCIES);
  keyTimes = keyTimes.filter(([number]) => number > header.keys);
  if (frameTimes.length > 2) {
    const seconds = (frameTimes.at(-1) - frameTimes[0]) / 1000;
    $("rate").textContent = ((frameTimes.length - 1) / seconds).toFixed(1);
  }
  if (latencies.length) {
    const sorted = latencies.toSorted((a, b) => a - b);
    const quantile = (share) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]);
    $("latency").textContent = `${quantile(0.5)} ms`;
    $("latency").title = `half of the last ${sorted.length} within ${quantile(0.5)} ms, 95% within ${quantile(0.95)} ms`;
  }
}

// From the player.

function keysChanged(pressed) {
  lastKey = performance.now();
  keyNumber += 1;
  keyTimes = paused ? [] : [...keyTimes, [keyNumber, lastKey]];
  connection.send("keys", { pressed, number: keyNumber });
  if (pressed.length && paused && game) setPaused(false);
}

function setPaused(value) {
  paused = value;
  frameTimes = [];
  if (value) keyTimes = [];
  document.body.dataset.pace = value ? "paused" : pace;
  connection.send("pace", { pace: value ? "paused" : pace });
  $("pause").textContent = value ? "Play" : "Pause";
  if (value && game) veil("Press a key", keysInWords());
  if (!value) $("veil").hidden = true;
}

function keysInWords() {
  if (matchMedia("(pointer: coarse)").matches) return "the keys are below";
  const keys = game.buttons.flatMap((button) => button.keys);
  if (keys.includes("KeyA") && keys.includes("KeyD")) return "W A S D or the arrows";
  return keys.map((key) => key.replace("Key", "")).slice(0, 8).join(" ");
}

function setPace(value) {
  pace = value;
  for (const button of document.querySelectorAll("button[data-pace]")) {
    button.setAttribute("aria-pressed", button.dataset.pace === pace);
  }
  if (!paused) setPaused(false);
}

function setTemperature(value) {
  $("temperature").value = value;
  $("temperature-value").textContent = Number(value).toFixed(2);
}

function setRecording(value) {
  $("record").setAttribute("aria-pressed", value);
  $("record").lastChild.textContent = value ? "Stop" : "Record";
}

function begin(changes = {}) {
  const seed = Math.min(999999, Math.max(0, Math.trunc(Number($("seed").value)) || 0));
  connection.send("begin", { checkpoint: game.checkpoint, start, seed, ...changes });
}

function veil(title, text) {
  $("veil-title").textContent = title;
  $("veil-text").textContent = text;
  $("veil").hidden = false;
}

function say(text, ...more) {
  $("message").replaceChildren(text, ...more);
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => $("message").replaceChildren(), MESSAGE_MS);
}

function replay(script) {
  replaying = true;
  connection.send("replay", { script: script.trim() });
}

// A link may end in #SCRIPT. It is played once.
function replayFromLink() {
  const script = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  replay(script);
}

function fillCheckpoints() {
  $("checkpoint").replaceChildren(...game.checkpoints.map((name) => new Option(name, name, false, name === game.checkpoint)));
  document.title = `${game.checkpoint} \u00b7 worldmodel`;
}

function fillStarts() {
  const buttons = game.starts.map(({ name, image }) => {
    const picture = new Image();
    picture.src = image;
    picture.alt = `Start ${name}`;
    return startButton(name, picture);
  });
  if (game.live) {
    const button = startButton(game.live, "new game");
    button.classList.add("live");
    button.title = `A new game of ${game.game}; its seed is the one above`;
    buttons.push(button);
  }
  $("starts").replaceChildren(...buttons);
}

function startButton(name, content) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.start = name;
  button.append(content);
  button.addEventListener("click", () => begin({ start: name }));
  return button;
}

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => connection.send("show", { view: button.dataset.show }));
}
for (const button of document.querySelectorAll("button[data-pace]")) {
  button.addEventListener("click", () => setPace(button.dataset.pace));
}
$("veil").addEventListener("click", () => {
  if ($("veil").dataset.gone) {
    delete $("veil").dataset.gone;
    keyNumber = 0;
    veil("Connecting", "");
    connection.open();
  } else if (game) setPaused(false);
});
$("pause").addEventListener("click", () => setPaused(!paused));
$("step").addEventListener("click", () => {
  if (!paused) setPaused(true);
  $("veil").hidden = true;
  connection.send("step");
});
$("reset").addEventListener("click", () => begin());
$("seed").addEventListener("change", () => begin());
$("checkpoint").addEventListener("change", () => begin({ checkpoint: $("checkpoint").value, start: "" }));
$("temperature").addEventListener("input", () => setTemperature($("temperature").value));
$("temperature").addEventListener("change", () =>
  connection.send("temperature", { temperature: Number($("temperature").value) }));
$("record").addEventListener("click", () =>
  connection.send("record", { on: $("record").getAttribute("aria-pressed") !== "true" }));
$("share").addEventListener("click", () => {
  setPaused(true);
  connection.send("share");
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("script").value).catch(() => $("script").select());
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});
$("replay").addEventListener("click", () => {
  $("dialog").close();
  replay($("script").value);
});
// A button that was clicked with a pointer gives the keyboard back to the game.
addEventListener("click", (event) => {
  if (event.detail && event.target instanceof Element) event.target.closest("main button, header button")?.blur();
});
const SHORTCUTS = {
  KeyP: () => $("pause").click(),
  Period: () => $("step").click(),
  KeyR: () => $("reset").click(),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || isField(event.target) || $("dialog").open) return;
  SHORTCUTS[event.code]?.();
});
document.addEventListener("visibilitychange", () => document.hidden && !paused && setPaused(true));
setInterval(() => !paused && pace !== "fast" && performance.now() - lastKey > IDLE_MS && setPaused(true), 1000);
