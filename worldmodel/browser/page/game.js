// The worker that plays: it takes the page's messages and answers as the server does, one frame in flight.

import { chooseAction } from "./actions.js";
import { Model } from "./model.js";

const PACES = { slow: 0.25, real: 1, fast: Infinity }; // game seconds a second

const waiting = []; // what the page asks for, beside keys
let keys = { pressed: [], number: 0 };
let usedKeys = 0; // the number of the key state that the last frame saw
let pace = "paused";
let due = 0;
let temperature = 1;
let sent = 0;
let shown = 0;
let number = 0; // frames since the start
let game = null;
let model = null;
let wake = () => {};

onmessage = ({ data }) => {
  if (data.type === "keys") keys = data;
  else if (data.type === "ack") shown = data.frame;
  else if (data.type === "pace") {
    pace = data.pace;
    due = performance.now();
  } else if (data.type === "temperature") temperature = data.temperature;
  else waiting.push(data);
  wake();
};

function say(type, content = {}, blobs = []) {
  postMessage({ header: { type, ...content }, blobs }, blobs);
}

// Wait for news from the page, at most so many milliseconds.
function news(milliseconds = Infinity) {
  return new Promise((resolve) => {
    wake = resolve;
    if (milliseconds < Infinity) setTimeout(resolve, milliseconds);
  });
}

async function play() {
  game = await (await fetch(new URL("game.json", import.meta.url))).json();
  say("loading", { checkpoint: game.checkpoint });
  model = await Model.load(game);
  say("game", game);
  await begin({ start: game.starts[0].name, seed: 0 });
  for (;;) {
    if (sent > shown) await news();
    else if (waiting.length) await take(waiting.shift());
    else await turn();
  }
}

async function take(message) {
  if (message.type === "begin") await begin(message);
  else if (message.type === "step") await step(chooseAction(keys.pressed, game) ?? 0);
  else if (message.type === "replay") say("problem", { message: "A script is played by `worldmodel play`, not by this page." });
}

// Play a frame if it is time for one; a key that has changed need not wait.
async function turn() {
  const action = pace === "paused" ? null : chooseAction(keys.pressed, game);
  if (action === null) return news();
  const period = 1000 / (game.frames_per_second * PACES[pace]);
  const now = performance.now();
  const wait = due - now - (keys.number === usedKeys ? 0 : period);
  if (wait > 0) return news(wait);
  due = Math.max(due, now - period) + period;
  return step(action);
}

async function begin({ start, seed }) {
  const name = game.contexts[start] ? start : game.starts[0].name;
  const { codes, actions } = game.contexts[name];
  const size = game.shapes.grid ** 2;
  const bytes = Uint8Array.from(atob(codes), (character) => character.charCodeAt(0));
  const all = Int32Array.from(new Uint16Array(bytes.buffer));
  const frames = Array.from({ length: all.length / size }, (_, i) => all.slice(i * size, (i + 1) * size));
  await model.reset(frames, actions, seed);
  number = 0;
  due = performance.now();
  say("begun", { checkpoint: game.checkpoint, start: name, seed, temperature });
  await show(frames.at(-1), null);
}

async function step(action) {
  usedKeys = keys.number;
  const codes = await model.step(action, temperature);
  number += 1;
  await show(codes, game.actions[action]);
}

async function show(codes, action) {
  const picture = await createImageBitmap(await model.draw(codes));
  sent += 1;
  say("frame", { frame: sent, number, action, keys: usedKeys, views: ["imagined"], real_ended: false }, [picture]);
}

play().catch((error) => say("failed", { message: String(error?.message ?? error) }));
