// The browser's part of mask_painter.py: a frame, strokes over it, a width, an eraser, undo and clear. Strokes are {points, width, erases} in pixels
// of the frame; Python draws the mask from the same numbers. A widget is one file, so Python puts the module in place of its import.
import { drawLine, followPointer } from "./page/strokes.js";

function makeButton(text, title) {
  const button = document.createElement("button");
  button.textContent = text;
  button.title = title;
  button.style.marginRight = "6px";
  return button;
}

function render({ model, el }) {
  const picture = new Image();
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "max-width: 100%; touch-action: none; cursor: crosshair; display: block";
  canvas.setAttribute("aria-label", "Frame to paint a mask on");
  const tools = document.createElement("div");
  tools.style.margin = "6px 0";
  const width = Object.assign(document.createElement("input"), { type: "range", min: 2, max: 200, title: "Width" });
  const eraser = Object.assign(document.createElement("input"), { type: "checkbox" });
  const label = document.createElement("label");
  label.append(eraser, " erase");
  label.style.margin = "0 12px";
  const undo = makeButton("Undo", "Take back the last stroke");
  const clear = makeButton("Clear", "Take back all");
  tools.append(undo, clear, "width ", width, label);
  el.append(tools, canvas);

  const layer = document.createElement("canvas");
  let current = null;

  function draw() {
    if (!picture.width) return;
    layer.getContext("2d").clearRect(0, 0, layer.width, layer.height);
    for (const { points, width: size, erases } of [...model.get("strokes"), ...(current ? [current] : [])]) {
      drawLine(layer, points, { width: size, erases, color: "rgb(255, 64, 64)" });
    }
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(picture, 0, 0);
    context.globalAlpha = 0.5;
    context.drawImage(layer, 0, 0);
  }

  function store(strokes) {
    model.set("strokes", strokes);
    model.save_changes();
    draw();
  }

  followPointer(canvas, {
    begin(point) {
      current = { points: [point], width: Number(width.value), erases: eraser.checked };
      draw();
    },
    move(points, isStroke) {
      if (!isStroke) return;
      current.points.push(...points);
      draw();
    },
    end() {
      const stroke = current;
      current = null;
      store([...model.get("strokes"), stroke]);
    },
  });
  undo.addEventListener("click", () => store(model.get("strokes").slice(0, -1)));
  clear.addEventListener("click", () => store([]));
  model.on("change:strokes", draw);

  picture.addEventListener("load", () => {
    for (const surface of [canvas, layer]) {
      surface.width = picture.width;
      surface.height = picture.height;
    }
    width.value = Math.max(4, Math.round(picture.width / 12));
    draw();
  });
  picture.src = model.get("picture");
  return () => model.off("change:strokes", draw);
}

export default { render };
