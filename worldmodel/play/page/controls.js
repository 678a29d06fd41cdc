// Keys, touch and gamepad: which of the game's buttons are held down, oldest first.

import { SIGNS } from "./screen.js";

const CAPS = {
  ArrowUp: "\u2191", ArrowDown: "\u2193", ArrowLeft: "\u2190", ArrowRight: "\u2192", Space: "space",
};
const PLACES = { KeyQ: [1, 1], KeyW: [1, 2], KeyE: [1, 3], KeyA: [2, 1], KeyS: [2, 2], KeyD: [2, 3] };
const PAD_BUTTONS = { 0: "Space", 2: "KeyF", 4: "KeyQ", 5: "KeyE", 12: "ArrowUp", 13: "ArrowDown", 14: "ArrowLeft", 15: "ArrowRight" };
const PAD_POLL_MS = 16;
const DEAD_ZONE = 0.4;

export class Controls {
  constructor(box, onChange) {
    this.box = box;
    this.onChange = onChange;
    this.held = new Map(); // source, such as a key -> button; in order of press
    this.padKeys = new Set();
    addEventListener("keydown", (event) => this.key(event, true));
    addEventListener("keyup", (event) => this.key(event, false));
    addEventListener("blur", () => this.releaseAll());
    addEventListener("gamepadconnected", () => this.poll());
  }

  // Draw the keys of a game: `buttons` are {name, keys}, `actions` its action names.
  setGame(buttons, actions) {
    this.releaseAll();
    this.actions = actions;
    this.keyToButton = new Map();
    this.caps = new Map();
    this.box.replaceChildren();
    this.top = Math.min(2, ...buttons.map(({ keys }) => PLACES[keys[0]]?.[0] ?? 2)); // the first row with a key
    for (const button of buttons) {
      for (const key of button.keys) this.keyToButton.set(key, button.name);
      this.box.append(this.cap(button));
    }
    this.placeNumbers(buttons);
  }

  cap({ name, keys }) {
    const cap = document.createElement("button");
    cap.type = "button";
    cap.tabIndex = -1; // for fingers: a keyboard has the key itself
    cap.title = keys.map(keyName).join(" or ");
    cap.setAttribute("aria-label", `${name} (${cap.title})`);
    cap.append(
      element("span", "letter", keys.length ? keyName(keys[0]) : ""),
      element("span", "sign", SIGNS[name] ?? (keys.length ? keyName(keys[0]) : "")),
      element("small", "", name.replaceAll("_", " ")),
    );
    const place = PLACES[keys[0]];
    if (place) [cap.style.gridRow, cap.style.gridColumn] = [place[0] - this.top + 1, place[1]];
    if (keys[0] === "Space") {
      cap.classList.add("wide");
      cap.style.gridRow = 4 - this.top; // below the others, as on a keyboard
    }
    const source = `touch ${name}`;
    cap.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      cap.setPointerCapture(event.pointerId);
      this.press(source, name);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      cap.addEventListener(end, () => this.release(source));
    }
    cap.addEventListener("contextmenu", (event) => event.preventDefault());
    this.caps.set(name, cap);
    return cap;
  }

  // Number keys do whole actions where the buttons do not reach all of them.
  placeNumbers(buttons) {
    if (buttons.every(({ keys }) => keys.length)) return;
    this.actions.slice(0, 9).forEach((action, index) => this.keyToButton.set(`Digit${index + 1}`, action));
  }

  key(event, down) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.keyToButton) return;
    if (down && isField(event.target)) return;
    if (event.code === "Space" && event.target.matches("button") && event.target.matches(":focus-visible")) return;
    const digit = /^Digit([1-9])$/.exec(event.code);
    const name = this.keyToButton.get(event.code) ?? (digit && this.actions[digit[1] - 1]);
    if (!name) return;
    event.preventDefault();
    if (event.repeat) return;
    if (down) this.press(event.code, name);
    else this.release(event.code);
  }

  press(source, name) {
    if (this.held.has(source)) return;
    this.held.set(source, name);
    this.changed();
  }

  release(source) {
    if (this.held.delete(source)) this.changed();
  }

  releaseAll() {
    if (!this.held.size) return;
    this.held.clear();
    this.changed();
  }

  changed() {
    const pressed = [...new Set(this.held.values())].slice(-12);
    const parts = new Set(pressed.flatMap((name) => (this.caps.has(name) ? [name] : name.split("+"))));
    for (const [name, cap] of this.caps) {
      cap.classList.toggle("down", parts.has(name));
      cap.setAttribute("aria-pressed", parts.has(name));
    }
    this.onChange(pressed);
  }

  // Read the gamepads as long as one is there: sticks and cross are arrows.
  poll() {
    const keys = new Set();
    const pads = navigator.getGamepads().filter(Boolean);
    for (const pad of pads) {
      for (const [index, key] of Object.entries(PAD_BUTTONS)) if (pad.buttons[index]?.pressed) keys.add(key);
      const [x = 0, y = 0] = pad.axes;
      if (Math.abs(x) > DEAD_ZONE) keys.add(x < 0 ? "ArrowLeft" : "ArrowRight");
      if (Math.abs(y) > DEAD_ZONE) keys.add(y < 0 ? "ArrowUp" : "ArrowDown");
    }
    for (const key of keys) {
      const name = this.keyToButton?.get(key);
      if (name && !this.padKeys.has(key)) this.press(`pad ${key}`, name);
    }
    for (const key of this.padKeys) if (!keys.has(key)) this.release(`pad ${key}`);
    this.padKeys = keys;
    if (pads.length) setTimeout(() => this.poll(), PAD_POLL_MS);
  }
}

function element(tag, className, text) {
  const result = document.createElement(tag);
  result.className = className;
  result.textContent = text;
  return result;
}

export function isField(element) {
  return element instanceof Element && element.matches("input, select, textarea");
}

function keyName(code) {
  return CAPS[code] ?? code.replace(/^Key|^Digit/, "");
}
