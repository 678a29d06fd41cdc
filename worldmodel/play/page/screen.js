// The pictures: the big ones, and the strip of the last frames.

const COLUMNS = 12;
const CELL = 72;
const GAP = 4;
const LINE = 18;
const COLORS = { imagined: "#e69f00", real: "#2fb58a" };

export class Screen {
  constructor(strip) {
    this.strip = strip;
    this.pen = strip.getContext("2d", { alpha: false });
    this.aspect = 1; // of the pictures, width over height
    this.clear(["imagined"]);
  }

  // An empty strip with a row for each view.
  clear(views) {
    this.views = views;
    this.strip.width = COLUMNS * (CELL + GAP) - GAP;
    this.strip.height = views.length * (CELL + GAP) + LINE;
    this.pen.fillStyle = "#101216";
    this.pen.fillRect(0, 0, this.strip.width, this.strip.height);
    this.pen.fillStyle = "#1a1d23";
    for (let column = 0; column < COLUMNS; column++) {
      views.forEach((_, row) => this.pen.fillRect(column * (CELL + GAP), row * (CELL + GAP), CELL, CELL));
    }
  }

  async show(views, blobs, action) {
    const pictures = await Promise.all(blobs.map((blob) => decoded(blob)));
    if (views.join() !== this.views.join()) this.clear(views);
    views.forEach((view, index) => {
      const canvas = document.getElementById(view);
      const picture = pictures[index];
      if (canvas.width !== picture.width) canvas.width = canvas.height = picture.width;
      canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
    });
    this.push(views, pictures, action);
    pictures.forEach((picture) => picture.close());
  }

  push(views, pictures, action) {
    const { pen, strip } = this;
    const left = (COLUMNS - 1) * (CELL + GAP);
    pen.drawImage(strip, -(CELL + GAP), 0);
    pen.fillStyle = "#101216";
    pen.fillRect(left - GAP, 0, CELL + GAP, strip.height);
    const [width, height] = [CELL * Math.min(1, this.aspect), CELL / Math.max(1, this.aspect)];
    pictures.forEach((picture, row) => {
      const top = row * (CELL + GAP);
      pen.drawImage(picture, left + (CELL - width) / 2, top + (CELL - height) / 2, width, height);
      pen.fillStyle = COLORS[views[row]];
      pen.fillRect(left, top + CELL - 3, CELL, 3);
    });
    pen.fillStyle = "#a0a7b2";
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.fillText(arrows(action), left + CELL / 2, strip.height - 5, CELL);
  }
}

// A picture comes as PNG, or, where the game runs in the page itself, as it is.
function decoded(blob) {
  return createImageBitmap(blob instanceof ImageBitmap ? blob : new Blob([blob], { type: "image/png" }));
}

export const SIGNS = {
  forward: "\u2191", up: "\u2191", back: "\u2193", backward: "\u2193", down: "\u2193", left: "\u2190", right: "\u2192",
  strafe_left: "\u21e4", strafe_right: "\u21e5", noop: "\u00b7",
};

const COMPOUND = /^(up|down)?_?(left|right)?_?(fire)?$/; // Atari's: upright, downleftfire

// An action in a few signs: forward+left is an arrow up and one to the left, and so is upleft.
function arrows(action) {
  if (!action) return "start";
  const parts = COMPOUND.exec(action)?.slice(1).filter(Boolean) ?? action.split("+");
  return parts.map((part) => SIGNS[part] ?? part).join(" ");
}
