// The world model with state, as simulator.py: `reset` with real codes, then `step` with actions.

import * as ort from "./ort/ort.wasm.min.mjs";
import { Noise } from "./noise.js";

const MAX_THREADS = 4;
const NAMES = ["context", "decoder", "picture"];

export class Model {
  // Load the graphs that lie beside this file.
  static async load(game) {
    const model = new Model();
    model.game = game;
    model.shapes = game.shapes;
    ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
    // Threads need the headers COOP and COEP, which not every host sends.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
    for (const name of NAMES) {
      const place = new URL(`${name}.onnx`, import.meta.url).href;
      model[name] = await ort.InferenceSession.create(place, { executionProviders: ["wasm"] });
    }
    return model;
  }

  // Begin from real frames: `codes` of each (t x g*g), and the actions between them.
  async reset(codes, actions, seed) {
    const { history, layers, slots, patches, width, links, codebook } = this.shapes;
    this.noise = new Noise(seed);
    this.uniform = new Float32Array(patches * links * codebook);
    this.actions = new Array(history).fill(this.game.actions.length);
    this.keys = new Float32Array(layers * slots * patches * width);
    this.values = new Float32Array(this.keys.length);
    this.count = 0;
    this.previous = new Int32Array(codes[0].length);
    for (let i = 0; i < actions.length; i++) await this.observe(codes[i], actions[i]);
    this.latest = codes.at(-1);
  }

  // Return the codes of the frame that follows an action.
  async step(action, temperature) {
    const { context, flow } = await this.observe(this.latest, action);
    const { patches, links, codebook } = this.shapes;
    const uniform = float(this.noise.fill(this.uniform), [patches, links, codebook]);
    const { next_codes: next } = await this.decoder.run({ context, flow, uniform, temperature: float([temperature], [1]) });
    this.latest = next.data;
    return this.latest;
  }

  // Return what is known of the frame after `codes` and an action, and keep the frame in the cache.
  async observe(codes, action) {
    const { grid, window, layers, slots, patches, width } = this.shapes;
    this.actions = [...this.actions.slice(1), action < 0 ? this.game.actions.length : action];
    const both = new Int32Array(2 * codes.length);
    both.set(this.previous);
    both.set(codes, codes.length);
    const ages = Array.from({ length: slots }, (_, slot) => this.age(slot, window));
    const cache = [layers, slots, patches, width];
    const features = await this.context.run({
      codes: new ort.Tensor("int32", both, [2, grid, grid]),
      has_previous: float([this.count ? 1 : 0], [1]),
      actions: new ort.Tensor("int32", Int32Array.from(this.actions), [this.actions.length]),
      keys: float(this.keys, cache),
      values: float(this.values, cache),
      ages: float(ages, [slots]),
    });
    this.keep(this.keys, features.new_keys.data);
    this.keep(this.values, features.new_values.data);
    this.previous = Int32Array.from(codes);
    this.count += 1;
    return features;
  }

  // How many frames ago a slot was filled; the window if it never was.
  age(slot, window) {
    const { slots } = this.shapes;
    const age = 1 + ((((this.count - 1 - slot) % slots) + slots) % slots);
    return age > this.count ? window : age;
  }

  // Put a frame's keys or values (layers x patches*width) into its slot.
  keep(cache, frame) {
    const { layers, slots, patches, width } = this.shapes;
    const size = patches * width;
    for (let layer = 0; layer < layers; layer++) {
      cache.set(frame.subarray(layer * size, (layer + 1) * size), (layer * slots + (this.count % slots)) * size);
    }
  }

  // Return the picture of codes, as ImageData.
  async draw(codes) {
    const { grid } = this.shapes;
    const { frame } = await this.picture.run({ codes: new ort.Tensor("int32", Int32Array.from(codes), [grid, grid]) });
    const [height, width] = frame.dims;
    const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
    for (let i = 0, j = 0; j < pixels.length; j += 4) for (let c = 0; c < 3; c++) pixels[j + c] = frame.data[i++];
    return new ImageData(pixels, width, height);
  }
}

function float(values, shape) {
  return new ort.Tensor("float32", values instanceof Float32Array ? values : Float32Array.from(values), shape);
}
