// The list of jobs, newest first; a click shows one again.

import { get, getBlob, remove } from "./api.js";

const WORDS = { queued: "waiting", in_progress: "running", completed: "", failed: "failed", canceled: "canceled" };

export class History extends EventTarget {
  constructor(list, older, section) {
    super();
    this.list = list;
    this.older = older;
    this.section = section;
    this.jobs = [];
    this.chosen = null;
    this.items = new Map();
    older.addEventListener("click", () => this.load(this.jobs.at(-1)?.id).catch((error) => this.#fail(error)));
  }

  async load(after = "") {
    const page = await get(`v1/videos?limit=12${after ? `&after=${after}` : ""}`);
    for (const job of page.data) {
      this.jobs.push(job);
      this.list.append(this.#item(job));
    }
    this.older.hidden = !page.has_more;
    this.#show();
  }

  /** Add a job, or show its new state. */
  put(job) {
    const index = this.jobs.findIndex((each) => each.id === job.id), item = this.items.get(job.id);
    if (index >= 0) this.jobs[index] = job; else this.jobs.unshift(job);
    const fresh = this.#item(job);
    if (item) item.replaceWith(fresh); else this.list.prepend(fresh);
    this.#show();
  }

  select(id) {
    this.chosen = id;
    for (const [each, item] of this.items) item.querySelector(".job").setAttribute("aria-current", each === id);
  }

  #show() { this.section.hidden = !this.jobs.length; }
  #fail(error) { this.dispatchEvent(new CustomEvent("error", { detail: error })); }

  #item(job) {
    const item = document.createElement("li"), button = document.createElement("button"), thumb = document.createElement("span");
    const text = document.createElement("div"), title = document.createElement("b"), small = document.createElement("small");
    button.type = "button";
    button.className = "job";
    button.setAttribute("aria-current", job.id === this.chosen);
    thumb.className = "thumb";
    title.textContent = job.prompt;
    small.textContent = [WORDS[job.status], ago(job.created_at)].filter(Boolean).join(", ");
    small.classList.toggle("failed", job.status === "failed");
    if (job.error) button.title = job.error.message;
    text.append(title, small);
    button.append(thumb, text);
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: this.jobs.find((each) => each.id === job.id) })));
    const bin = Object.assign(document.createElement("button"), { type: "button", className: "icon quiet", title: "Delete" });
    bin.setAttribute("aria-label", `Delete ${job.prompt}`);
    bin.textContent = "×";
    bin.addEventListener("click", () => this.#delete(job.id));
    item.append(button, bin);
    this.items.set(job.id, item);
    this.#thumbnail(job, thumb);
    return item;
  }

  async #thumbnail(job, thumb) {
    try {
      const picture = await createImageBitmap(await getBlob(`v1/videos/${job.id}/files/thumbnail`));
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [picture.width, picture.height];
      canvas.getContext("2d").drawImage(picture, 0, 0);
      canvas.toBlob((blob) => { if (blob) thumb.style.backgroundImage = `url("${URL.createObjectURL(blob)}")`; });
    } catch { /* the list is as useful without it */ }
  }

  async #delete(id) {
    try {
      await remove(`v1/videos/${id}`);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const index = this.jobs.findIndex((each) => each.id === id);
    this.jobs.splice(index, 1);
    this.items.get(id)?.remove();
    this.items.delete(id);
    this.#show();
    (this.list.querySelectorAll(".job")[Math.min(index, this.jobs.length - 1)] ?? document.getElementById("prompt")).focus();
  }
}

function ago(created) {
  const minutes = Math.max(0, Math.round((Date.now() / 1000 - created) / 60));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;
}
