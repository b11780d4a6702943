// The timeline: thumbnails, the part of the clip that is edited, painted frames, and the position.

export class Timeline extends EventTarget {
  constructor(root) {
    super();
    const find = (id) => root.querySelector(`#${id}`);
    this.root = root;
    this.strip = find("strip");
    this.marks = find("marks");
    this.shades = [find("shade-before"), find("shade-after")];
    this.handles = { start: find("handle-start"), end: find("handle-end"), position: find("playhead") };
    this.count = 1;
    this.values = { start: 0, end: 1, position: 0 }; // end is the first frame that isn't edited
    this.describe = (frame) => `frame ${frame}`;
    new ResizeObserver(() => this.#drawStrip()).observe(root);
    root.addEventListener("pointerdown", (event) => this.#drag(event));
    for (const [name, handle] of Object.entries(this.handles)) handle.addEventListener("keydown", (event) => this.#key(event, name));
  }

  reset(count, describe) {
    this.count = count;
    this.thumbnails = null;
    this.describe = describe;
    this.values = { start: 0, end: count, position: 0 };
    this.#draw();
  }

  /** Show thumbnails: `picture` has `count` of them beside each other; as many as fit are shown. */
  setStrip(picture, count) {
    this.thumbnails = { picture, count };
    this.#drawStrip();
  }

  #drawStrip() {
    if (!this.thumbnails) return;
    const { picture, count } = this.thumbnails, { strip } = this;
    const scale = devicePixelRatio || 1, width = picture.width / count;
    strip.width = Math.max(1, Math.round(strip.clientWidth * scale));
    strip.height = Math.max(1, Math.round(strip.clientHeight * scale));
    const shown = Math.max(1, Math.round(strip.width / (width * strip.height / picture.height)));
    for (let i = 0; i < shown; i++) {
      const from = Math.min(count - 1, Math.floor((i + 0.5) * count / shown));
      strip.getContext("2d").drawImage(picture, from * width, 0, width, picture.height, i * strip.width / shown, 0, strip.width / shown, strip.height);
    }
  }

  get isWhole() { return this.values.start === 0 && this.values.end === this.count; }

  set(name, value) {
    const v = this.values;
    const least = name === "end" ? v.start + 1 : 0, most = name === "start" ? v.end - 1 : name === "end" ? this.count : this.count - 1;
    v[name] = Math.min(Math.max(least, Math.round(value)), most);
    this.#draw();
  }

  mark(frames) {
    this.marks.replaceChildren(...frames.map((frame) => {
      const mark = document.createElement("span");
      mark.style.left = `${100 * (frame + 0.5) / this.count}%`;
      return mark;
    }));
  }

  #choose(name, value) {
    this.set(name, value);
    this.dispatchEvent(new CustomEvent(name === "position" ? "position" : "range", { detail: name }));
  }

  #drag(event) {
    if (event.button > 0) return;
    const name = Object.keys(this.handles).find((each) => each !== "position" && this.handles[each].contains(event.target)) || "position";
    const box = this.root.getBoundingClientRect();
    const move = (to) => {
      const place = (to.clientX - box.left) / box.width * this.count;
      this.#choose(name, name === "position" ? Math.floor(place) : place);
    };
    event.preventDefault();
    this.handles[name].focus({ preventScroll: true });
    this.root.setPointerCapture(event.pointerId);
    move(event);
    const stop = () => { this.root.removeEventListener("pointermove", move); };
    this.root.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) this.root.addEventListener(end, stop, { once: true });
  }

  #key(event, name) {
    const page = Math.max(1, Math.round(this.count / 10));
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -page, PageUp: page, Home: -this.count, End: this.count };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#choose(name, this.values[name] + steps[event.key] * (event.shiftKey ? 10 : 1));
  }

  #draw() {
    const { start, end, position } = this.values, percent = (frame) => `${100 * frame / this.count}%`;
    this.handles.start.style.left = percent(start);
    this.handles.end.style.left = percent(end);
    this.handles.position.style.left = percent(position + 0.5);
    this.shades[0].style.width = percent(start);
    this.shades[1].style.width = percent(this.count - end);
    for (const [name, handle] of Object.entries(this.handles)) {
      const value = this.values[name];
      handle.setAttribute("aria-valuemin", name === "end" ? 1 : 0);
      handle.setAttribute("aria-valuemax", name === "end" ? this.count : this.count - 1);
      handle.setAttribute("aria-valuenow", value);
      handle.setAttribute("aria-valuetext", this.describe(value));
    }
  }
}
