// Several clips on one clock: hidden <video>s are played together and drawn on canvases, plain or as a difference.
// Frames are counted, not seconds: frame k of every clip stands beside frame k of the others, as the scores compare them.
class Players {
  constructor(home, media) {
    this.home = home; this.media = media; this.urls = new Map();
    this.clips = []; this.frame = 0; this.playing = false; this.rate = 1; this.mode = "plain"; this.gain = 4; this.size = 240;
    this.onframe = () => {};
    const loop = () => { this.tick(); requestAnimationFrame(loop); };
    requestAnimationFrame(loop);
  }
  // wanted: [{label, id of media, note}]; fps of the item. Resolves when every first frame is drawn.
  async load(wanted, fps) {
    this.pause();
    const turn = this.turn = (this.turn || 0) + 1;
    for (const c of this.clips) { c.video.removeAttribute("src"); c.video.load(); }
    this.home.replaceChildren(); this.fps = fps; this.frame = 0;
    this.clips = wanted.map((w) => {
      const video = document.createElement("video"), canvas = document.createElement("canvas");
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      video.muted = true; video.playsInline = true; video.preload = "auto"; video.src = this.url(w.id);
      caption.append(w.label); if (w.note) { const s = document.createElement("small"); s.textContent = w.note; caption.append(s); }
      figure.append(canvas, caption); this.home.append(figure);
      return { ...w, ...this.media[w.id], video, canvas };
    });
    await Promise.all(this.clips.map((c) => new Promise((done, bad) => {
      if (c.video.readyState >= 2) return done();
      c.video.addEventListener("loadeddata", done, { once: true });
      c.video.addEventListener("error", () => bad(new Error("clip can't be played: " + c.label)), { once: true });
    })));
    if (turn !== this.turn) return; // another item was chosen meanwhile
    this.length = Math.max(1, ...this.clips.map((c) => c.frames));
    this.resize(); await this.seek(0);
  }
  url(id) {
    if (this.media[id].url) return this.media[id].url; // of a server
    if (!this.urls.has(id)) {
      const bytes = Uint8Array.from(atob(this.media[id].data), (c) => c.charCodeAt(0));
      this.urls.set(id, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
    }
    return this.urls.get(id);
  }
  resize() {
    for (const c of this.clips) {
      c.canvas.width = c.width; c.canvas.height = c.height;
      const scale = this.size / Math.max(1, ...this.clips.map((d) => d.height));
      c.canvas.style.height = Math.round(c.height * scale) + "px";
    }
    this.draw();
  }
  async seek(frame) {
    this.frame = Math.min(Math.max(0, frame), this.length - 1);
    await Promise.all(this.clips.map((c) => this.place(c)));
    this.draw(); this.onframe(this.frame);
  }
  place(c) {
    const at = (Math.min(this.frame, c.frames - 1) + 0.5) / this.fps;
    if (Math.abs(c.video.currentTime - at) < 1e-4) return Promise.resolve();
    return new Promise((done) => { c.video.addEventListener("seeked", done, { once: true }); c.video.currentTime = at; });
  }
  async play() {
    if (this.length < 2) return;
    if (this.frame >= this.length - 1) await this.seek(0);
    this.playing = true;
    await Promise.all(this.clips.map((c) => { c.video.playbackRate = this.rate; return c.video.play().catch(() => {}); }));
  }
  pause() { this.playing = false; for (const c of this.clips) c.video.pause(); }
  // While playing: the longest clip is the clock, the others are put right when half a frame off.
  tick() {
    if (!this.playing) return;
    const master = this.clips.reduce((a, b) => (b.frames > a.frames ? b : a)), now = master.video.currentTime;
    this.frame = Math.min(this.length - 1, Math.floor(now * this.fps + 1e-3));
    for (const c of this.clips) {
      const last = (c.frames - 0.5) / this.fps, due = Math.min(now, last);
      if (c !== master && !c.video.seeking && Math.abs(c.video.currentTime - due) > 0.6 / this.fps) c.video.currentTime = due;
      if (now > last && !c.video.paused) c.video.pause();
    }
    this.draw(); this.onframe(this.frame);
    if (master.video.ended || now >= (this.length - 0.5) / this.fps) this.again();
  }
  async again() { this.playing = false; await this.seek(0); this.play(); }
  draw() {
    const other = this.clips.find((c) => c.label === this.mode);
    for (const c of this.clips) {
      const g = c.canvas.getContext("2d"), w = c.canvas.width, h = c.canvas.height;
      g.globalCompositeOperation = "source-over"; g.filter = "none"; g.drawImage(c.video, 0, 0, w, h);
      if (!other) continue;
      g.globalCompositeOperation = "difference"; g.drawImage(other.video, 0, 0, w, h);
      g.globalCompositeOperation = "source-over"; g.filter = `brightness(${this.gain * 100}%)`; g.drawImage(c.canvas, 0, 0);
    }
  }
}
