// Masks painted on frames: brush, eraser, box and lines that point, undo and redo, and the mask that the server made of them.

import { drawLine, followPointer } from "./strokes.js";

const TINT = [53, 224, 208];
const MOST_STEPS = 60;

export class Painter extends EventTarget {
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.tool = "look";
    this.size = 44;
    this.frame = 0;
    this.frames = new Map(); // canvas of each painted frame
    this.steps = [];
    this.undone = [];
    this.made = null; // the mask that the server made: a picture, or a video
    this.madeLayer = document.createElement("canvas");
    this.cursor = null;
    this.corner = null;
    this.stroke = null;
    this.visible = true;
    this.pointed = null; // a line that points, while it is looked up: {frame, line}
    followPointer(canvas, { begin: (point) => this.#begin(point), move: (points) => this.#move(points), end: () => this.#end() });
    canvas.addEventListener("pointerleave", () => { if (!this.stroke) { this.cursor = null; this.draw(); } });
    canvas.addEventListener("blur", () => { this.cursor = this.corner = null; this.draw(); });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Begin with a clip of another size. */
  reset(width, height) {
    for (const canvas of [this.canvas, this.madeLayer]) { canvas.width = width; canvas.height = height; }
    this.frames.clear();
    this.steps = [];
    this.undone = [];
    this.made = null;
    this.pointed = null;
    this.#changed();
  }

  get paints() { return this.tool !== "look"; }
  get painted() { return [...this.frames.keys()].sort((a, b) => a - b); }
  get isEmpty() { return this.frames.size === 0; }

  setFrame(frame) {
    this.frame = frame;
    this.draw();
  }

  /** Show a mask that the server made; `media` is an image or a video that is in step with the clip. */
  setMade(media) {
    this.made = media;
    this.draw();
  }

  draw() {
    const { context: c, canvas } = this;
    c.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.visible) return;
    const own = this.frames.get(this.frame);
    if (own) this.#tint(own);
    else if (this.made) { this.#readMade(); this.#tint(this.madeLayer); }
    if (this.stroke?.box) {
      const [x, y, w, h] = this.stroke.box;
      c.strokeStyle = "#fff"; c.lineWidth = 2; c.setLineDash([6, 4]); c.strokeRect(x, y, w, h); c.setLineDash([]);
    }
    if (this.stroke?.line) this.#trace(this.stroke.line);
    if (this.pointed?.frame === this.frame) this.#trace(this.pointed.line);
    if (this.cursor && this.paints) {
      const [x, y] = this.cursor;
      for (const [color, width] of [["#000a", 3], ["#fff", 1.5]]) {
        c.strokeStyle = color; c.lineWidth = width * canvas.width / Math.max(1, canvas.clientWidth);
        c.beginPath();
        if (this.tool === "box" || this.tool === "point") { c.moveTo(x - 12, y); c.lineTo(x + 12, y); c.moveTo(x, y - 12); c.lineTo(x, y + 12); }
        else c.arc(x, y, this.size / 2, 0, 7);
        c.stroke();
      }
      if (this.corner) { c.setLineDash([6, 4]); c.strokeRect(this.corner[0], this.corner[1], x - this.corner[0], y - this.corner[1]); c.setLineDash([]); }
    }
  }

  /** Draw a line that points. */
  #trace(line) {
    const { context: c } = this;
    c.lineCap = c.lineJoin = "round";
    for (const [color, width] of [["#000a", 7], ["#fff", 3.5]]) {
      c.strokeStyle = color; c.lineWidth = width;
      c.beginPath();
      c.moveTo(...line[0]);
      for (const point of line.length > 1 ? line.slice(1) : [[line[0][0] + 0.01, line[0][1]]]) c.lineTo(...point);
      c.stroke();
    }
  }

  #tint(layer) {
    this.context.globalAlpha = 0.5;
    this.context.drawImage(layer, 0, 0);
    this.context.globalAlpha = 1;
  }

  /** Draw the present frame of the server's mask as a layer whose alpha is the mask. */
  #readMade() {
    const { width, height } = this.madeLayer, c = this.madeLayer.getContext("2d", { willReadFrequently: true });
    c.globalCompositeOperation = "copy";
    c.drawImage(this.made, 0, 0, width, height);
    const pixels = c.getImageData(0, 0, width, height), d = pixels.data;
    for (let i = 0; i < d.length; i += 4) {
      d[i + 3] = d[i] < 32 ? 0 : d[i] > 224 ? 255 : Math.round((d[i] - 32) * 255 / 192);
      [d[i], d[i + 1], d[i + 2]] = TINT;
    }
    c.putImageData(pixels, 0, 0);
  }

  // Strokes

  #layer() {
    let layer = this.frames.get(this.frame);
    if (!layer) {
      layer = document.createElement("canvas");
      layer.width = this.canvas.width;
      layer.height = this.canvas.height;
      // A correction begins with the mask that is there.
      if (this.made) { this.#readMade(); layer.getContext("2d").drawImage(this.madeLayer, 0, 0); }
      this.frames.set(this.frame, layer);
    }
    return layer;
  }

  #begin(point) {
    if (!this.paints) return false;
    this.canvas.focus({ preventScroll: true });
    this.#start(point);
    return true;
  }

  #start(point) {
    const before = this.frames.has(this.frame) ? pack(this.frames.get(this.frame)) : null;
    this.stroke = { frame: this.frame, before, last: point, from: point, box: null };
    if (this.tool === "point") this.stroke.line = [point];
    else if (this.tool !== "box") this.#line(point, point);
    this.draw();
  }

  #move(points) {
    for (const point of points) {
      this.cursor = point;
      if (!this.stroke) continue;
      if (this.tool === "box") {
        const [x, y] = this.stroke.from;
        this.stroke.box = [Math.min(x, point[0]), Math.min(y, point[1]), Math.abs(point[0] - x), Math.abs(point[1] - y)];
      } else if (this.stroke.line) this.stroke.line.push(point);
      else this.#line(this.stroke.last, point);
      this.stroke.last = point;
    }
    if (this.paints) this.draw();
  }

  #end() {
    if (!this.stroke) return;
    const { box, line } = this.stroke;
    if (line) { this.#pointAt(line); return; }
    if (box && box[2] > 2 && box[3] > 2) this.#fill(box);
    this.#finish();
  }

  /** Tell that a line points at something of this frame; it is shown until `setPointed(null)`. */
  #pointAt(line) {
    const { width, height } = this.canvas, clip = (value) => Math.min(1, Math.max(0, value));
    this.stroke = null;
    this.pointed = { frame: this.frame, line };
    this.draw();
    // As many points as tell its form.
    const step = Math.ceil(line.length / 1000), points = line.filter((_, i) => i % step === 0 || i === line.length - 1);
    this.dispatchEvent(new CustomEvent("point", { detail: { frame: this.frame, points: points.map(([x, y]) => [clip(x / width), clip(y / height)]) } }));
  }

  clearPointed() {
    this.pointed = null;
    this.draw();
  }

  /** Show painted frames, as `keyframes` tells them; nothing of them can be undone. */
  restore(keyframes) {
    this.frames.clear();
    for (const { frame, width, height, bits } of keyframes) {
      const area = document.createElement("canvas"), layer = document.createElement("canvas");
      [area.width, area.height] = [width, height];
      [layer.width, layer.height] = [this.canvas.width, this.canvas.height];
      unpack(fromBase64(bits), area);
      layer.getContext("2d").drawImage(area, 0, 0, layer.width, layer.height);
      this.frames.set(frame, layer);
    }
    this.steps = [];
    this.undone = [];
    this.#changed();
  }

  /** Add an area, as `keyframes` tells them, to the mask of its frame; it can be undone. */
  add({ frame, width, height, bits }) {
    const area = document.createElement("canvas");
    [area.width, area.height] = [width, height];
    unpack(fromBase64(bits), area);
    const before = this.frames.has(frame) ? pack(this.frames.get(frame)) : null, present = this.frame;
    this.frame = frame;
    const c = this.#layer().getContext("2d");
    this.frame = present;
    c.globalCompositeOperation = "source-over";
    c.drawImage(area, 0, 0, this.canvas.width, this.canvas.height);
    this.#remember(frame, before, pack(this.frames.get(frame)));
  }

  #line(from, to) {
    drawLine(this.#layer(), [from, to], { width: this.size, erases: this.tool === "erase", color: `rgb(${TINT})` });
  }

  #fill([x, y, w, h]) {
    const c = this.#layer().getContext("2d");
    c.globalCompositeOperation = "source-over";
    c.fillStyle = `rgb(${TINT})`;
    c.fillRect(Math.round(x), Math.round(y), Math.round(w), Math.round(h));
  }

  #finish() {
    const { frame, before } = this.stroke;
    this.stroke = null;
    if (!this.frames.has(frame)) { this.draw(); return; }
    this.#remember(frame, before, pack(this.frames.get(frame)));
  }

  #remember(frame, before, after) {
    this.steps.push({ frame, before, after });
    if (this.steps.length > MOST_STEPS) this.steps.shift();
    this.undone = [];
    this.#changed();
  }

  undo() { this.#restore(this.steps, this.undone, "before"); }
  redo() { this.#restore(this.undone, this.steps, "after"); }

  #restore(from, to, which) {
    const step = from.pop();
    if (!step) return;
    to.push(step);
    this.#set(step.frame, step[which]);
    this.dispatchEvent(new CustomEvent("goto", { detail: step.frame }));
    this.#changed();
  }

  #set(frame, bits) {
    if (!bits) { this.frames.delete(frame); return; }
    const layer = document.createElement("canvas");
    layer.width = this.canvas.width;
    layer.height = this.canvas.height;
    unpack(bits, layer);
    this.frames.set(frame, layer);
  }

  /** Clear the mask of the present frame: it is no painted frame any more. */
  clear() {
    if (!this.frames.has(this.frame)) return;
    const before = pack(this.frames.get(this.frame));
    this.frames.delete(this.frame);
    this.#remember(this.frame, before, null);
  }

  #changed() {
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  // Keyboard: arrows move a cursor over the picture.

  #key(event) {
    if (!this.paints || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { width, height } = this.canvas;
    if (!this.cursor) this.cursor = [width / 2, height / 2];
    if (moves) {
      const step = event.shiftKey ? 32 : 8, last = this.cursor;
      this.cursor = [Math.min(width, Math.max(0, last[0] + moves[0] * step)), Math.min(height, Math.max(0, last[1] + moves[1] * step))];
    } else if ((event.key === " " || event.key === "Enter") && this.tool === "box") {
      if (this.corner) {
        const [x, y] = this.corner, box = [Math.min(x, this.cursor[0]), Math.min(y, this.cursor[1]), Math.abs(x - this.cursor[0]), Math.abs(y - this.cursor[1])];
        this.corner = null;
        this.#start(this.cursor);
        if (box[2] > 2 && box[3] > 2) this.#fill(box);
        this.#finish();
      } else this.corner = this.cursor;
    } else if (event.key === " " || event.key === "Enter") {
      if (this.tool === "point") this.#pointAt([this.cursor]);
      else { this.#start(this.cursor); this.#finish(); }
    } else if (event.key === "Escape") this.corner = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  /** The painted frames as the server takes them. */
  keyframes() {
    const { width, height } = this.canvas;
    return this.painted.map((frame) => ({ frame, width, height, bits: toBase64(pack(this.frames.get(frame))) }));
  }
}

/** One bit a pixel, rows from the upper left corner, the first in the highest bit. */
function pack(layer) {
  const d = layer.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, layer.width, layer.height).data;
  const bits = new Uint8Array(Math.ceil(d.length / 32));
  for (let i = 0; i * 4 < d.length; i++) if (d[i * 4 + 3] >= 128) bits[i >> 3] |= 128 >> (i & 7);
  return bits;
}

function unpack(bits, layer) {
  const c = layer.getContext("2d"), pixels = c.createImageData(layer.width, layer.height), d = pixels.data;
  for (let i = 0; i * 4 < d.length; i++)
    if (bits[i >> 3] & (128 >> (i & 7))) { [d[i * 4], d[i * 4 + 1], d[i * 4 + 2]] = TINT; d[i * 4 + 3] = 255; }
  c.putImageData(pixels, 0, 0);
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}
