// The source and the edited clip, one over the other and in step; frames are shown by their number.

export class Player extends EventTarget {
  constructor(source, result, picture) {
    super();
    this.picture = picture; // shown in place of the edited clip where that is a picture
    this.source = source;
    this.result = result;
    this.times = [0];
    this.duration = 0;
    this.begin = 0;
    this.frame = 0;
    this.playing = false;
    source.addEventListener("ended", () => { source.currentTime = 0; if (this.playing) source.play(); });
    source.addEventListener("seeked", () => this.dispatchEvent(new Event("seeked")));
    const tick = () => { this.#follow(); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  }

  /** Show another clip. */
  async load(blob, facts) {
    this.pause();
    this.clearResult();
    URL.revokeObjectURL(this.source.src);
    this.times = facts.times;
    this.duration = facts.duration;
    this.begin = facts.begin;
    this.source.src = URL.createObjectURL(blob);
    await loaded(this.source, "The preview of this clip can't be played by this browser.");
    this.show(0);
  }

  async setResult(blob) {
    this.clearResult();
    if (blob.type.startsWith("image/")) {
      this.picture.src = URL.createObjectURL(blob);
      this.picture.hidden = false;
      await this.picture.decode();
      return;
    }
    URL.revokeObjectURL(this.result.src);
    this.result.src = URL.createObjectURL(blob);
    this.result.hidden = false;
    await loaded(this.result, "The edited clip can't be played by this browser; download it.");
    this.show(this.frame);
    if (this.playing) this.result.play().catch(() => {});
  }

  clearResult() {
    URL.revokeObjectURL(this.picture.src);
    this.picture.removeAttribute("src");
    this.picture.hidden = true;
    if (!this.result.src) return;
    URL.revokeObjectURL(this.result.src);
    this.result.removeAttribute("src");
    this.result.load();
    this.result.hidden = true;
  }

  get hasResult() { return !this.result.hidden; }
  get count() { return this.times.length; }

  /** The middle of the time in which a frame is shown. */
  middle(frame) {
    const next = frame + 1 < this.count ? this.times[frame + 1] : this.duration;
    return (this.times[frame] + next) / 2;
  }

  frameAt(seconds) {
    let low = 0, high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= seconds) low = middle; else high = middle - 1;
    }
    return low;
  }

  show(frame) {
    this.frame = Math.min(Math.max(0, Math.round(frame)), this.count - 1);
    if (!this.playing) {
      this.source.currentTime = this.middle(this.frame);
      if (this.hasResult) this.result.currentTime = this.middle(this.frame) + this.begin;
    } else {
      this.source.currentTime = this.times[this.frame];
    }
    this.dispatchEvent(new Event("frame"));
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  play() {
    if (this.count < 2) return;
    this.playing = true;
    if (this.frame === this.count - 1) this.source.currentTime = 0;
    this.source.play().catch(() => this.pause());
    if (this.hasResult) this.result.play().catch(() => {});
    this.dispatchEvent(new Event("playing"));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.source.pause();
    this.result.pause();
    this.show(this.frame);
    this.dispatchEvent(new Event("playing"));
  }

  #follow() {
    if (!this.playing) return;
    const frame = this.frameAt(this.source.currentTime);
    if (this.hasResult) {
      const goal = this.source.currentTime + this.begin;
      if (Math.abs(this.result.currentTime - goal) > 0.06) this.result.currentTime = goal;
      if (this.result.paused) this.result.play().catch(() => {});
    }
    if (frame !== this.frame) {
      this.frame = frame;
      this.dispatchEvent(new Event("frame"));
    }
  }
}

export function loaded(media, message) {
  return new Promise((resolve, reject) => {
    const done = () => { media.removeEventListener("loadeddata", good); media.removeEventListener("error", bad); };
    const good = () => { done(); resolve(); };
    const bad = () => { done(); reject(new Error(message)); };
    media.addEventListener("loadeddata", good);
    media.addEventListener("error", bad);
  });
}
