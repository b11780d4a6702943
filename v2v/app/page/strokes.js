// Strokes over a frame: where a pointer is on it, and how its line becomes part of a mask. The page and the painter of notebooks share it.

/** Return where a pointer is, in pixels of a canvas. */
export function locate(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

/** Add a line of points to a layer whose alpha is the mask, or take it away; one point is a dot. */
export function drawLine(layer, points, { width, erases, color }) {
  const context = layer.getContext("2d");
  context.globalCompositeOperation = erases ? "destination-out" : "source-over";
  context.strokeStyle = color;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  // A line of no length wouldn't be drawn.
  for (const [x, y] of points.length > 1 ? points.slice(1) : points) context.lineTo(x + 0.01, y);
  context.stroke();
}

/** Tell of strokes: `begin(point)`, which may return false to refuse, `move(points, isStroke)`, also between strokes, and `end()`. */
export function followPointer(canvas, { begin, move, end }) {
  let isStroke = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || begin(locate(canvas, event)) === false) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    isStroke = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    const events = event.getCoalescedEvents?.() ?? [];
    move((events.length ? events : [event]).map((each) => locate(canvas, each)), isStroke);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (isStroke) end();
      isStroke = false;
    });
  }
}
