// The page: what is chosen becomes a job of the server, as any other client makes them.

import { ApiError, get, getBlob, post, remove, sleep, takeToken, upload } from "./api.js";
import { History } from "./history.js";
import { Painter } from "./painter.js";
import { Player, loaded } from "./player.js";
import { TimeLeft, describeStage } from "./progress.js";
import { offerSpeech } from "./speech.js";
import { Timeline } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const player = new Player($("source"), $("result"), $("result-picture"));
const painter = new Painter($("overlay"));
const timeline = new Timeline($("timeline"));
const history = new History($("jobs"), $("older"), $("history"));

const state = {
  info: { looks: [], masks: [], limits: {}, steps: 0, models: [], adapters: [] },
  clip: null, // {id, width, height, frames, times, ...}; id is "" where only a job has the clip
  job: null, // the job that is shown
  place: "", // "", "paint", or the name of a mask source
  mask: null, // {id, key}: the server's mask, and what it was made of
  running: null, // id of the job that is awaited; "" until it has one
  unwanted: false, // it was canceled
  name: "clip",
};

// Radio groups of buttons: one is checked, arrows move.

function radios(root, attribute, choose) {
  const buttons = [...root.querySelectorAll("[role=radio]")];
  const check = (button) => {
    for (const each of buttons) {
      each.setAttribute("aria-checked", each === button);
      each.tabIndex = each === button ? 0 : -1;
    }
    choose(button.dataset[attribute]);
  };
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (button) check(button);
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const shown = buttons.filter((button) => !button.hidden);
    const next = shown[(shown.indexOf(document.activeElement) + step + shown.length) % shown.length];
    next.focus();
    check(next);
  });
  for (const button of buttons) button.tabIndex = button.getAttribute("aria-checked") === "true" ? 0 : -1;
  return (value) => check(buttons.find((button) => button.dataset[attribute] === value));
}

const setTool = radios(document.querySelector("#tools .segmented"), "tool", (tool) => {
  painter.tool = tool;
  $("overlay").dataset.tool = tool;
  if (painter.paints) {
    player.pause();
    setView("source");
    if (state.place !== "paint") setPlace("paint");
  }
  $("size-label").hidden = !["brush", "erase"].includes(tool);
  if (state.clip) maskChanged();
  painter.draw();
});

const setView = radios($("views"), "view", (view) => {
  $("viewer").dataset.view = view;
  $("wipe-line").hidden = $("wipe-label").hidden = view !== "wipe";
  painter.visible = view === "source";
  painter.draw();
});

const setPlace = radios($("places"), "place", (place) => {
  state.place = place;
  $("paint-row").hidden = place !== "paint";
  $("word-row").hidden = place !== "text";
  $("mask-row").hidden = place === "";
  if (place === "paint" && painter.tool === "look" && painter.isEmpty && state.clip) setTool("brush");
  if (place !== "paint" && painter.paints) setTool("look");
  maskChanged();
});

// Clips

async function openClip(send) {
  showError("");
  $("upload").hidden = false;
  $("upload-text").textContent = "Sending …";
  try {
    const clip = await send((share) => {
      $("upload-bar").value = share;
      $("upload-text").textContent = share < 1 ? `Sending, ${Math.round(100 * share)} %` : "Looking at the clip …";
    });
    await showClip(clip, await getBlob(`v1/clips/${clip.id}/preview`), () => getBlob(`v1/clips/${clip.id}/strip`));
    setJob(null);
    $("prompt").focus({ preventScroll: true });
  } catch (error) {
    showBanner(error.message);
  } finally {
    $("upload").hidden = true;
  }
}

async function showClip(clip, preview, getStrip) {
  state.clip = clip;
  state.mask = null;
  $("drop").hidden = true;
  $("editor").hidden = false;
  $("new").hidden = false;
  showBanner("");
  await player.load(preview, clip);
  painter.reset(player.source.videoWidth, player.source.videoHeight);
  fitScreen();
  timeline.reset(clip.frames, (frame) => `${seconds(frame).toFixed(2)} seconds, frame ${frame}`);
  const isPicture = clip.frames === 1;
  for (const id of ["timeline", "when", "back", "play", "forward", "clock", "follow-label"]) $(id).hidden = isPicture;
  $("facts").textContent = isPicture ? `${clip.width} × ${clip.height}`
    : `${clip.width} × ${clip.height}, ${clip.frames} frames, ${clip.duration.toFixed(2)} s, ${Number(clip.fps.toFixed(2))} fps`;
  $("views").hidden = true;
  setView("source");
  setTool("look");
  setPlace("");
  rangeChanged();
  update();
  timeline.setStrip(await createImageBitmap(await getStrip()), clip.thumbnails);
}

function sendFile(file) {
  if (!file) return;
  const limit = state.info.limits.upload_bytes;
  if (limit && file.size > limit) {
    showBanner(`${file.name}: expected at most ${Math.floor(limit / 2 ** 20)} MiB, got ${Math.ceil(file.size / 2 ** 20)}; cut or shrink the clip first.`);
    return;
  }
  state.name = file.name.replace(/\.[^.]*$/, "") || "clip";
  const form = new FormData();
  form.append("video", file, file.name);
  openClip((onProgress) => upload("v1/clips", form, onProgress));
}

function useStored(fields, name) {
  state.name = name;
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) form.append(key, value);
  return openClip(() => { $("upload-text").textContent = "Looking at the clip …"; return post("v1/clips", form); });
}

/** The clip on the server; one that only a job has any more is taken from there. */
async function needClip() {
  if (!state.clip.id) {
    const form = new FormData();
    form.append("job", state.job.id);
    form.append("part", "source");
    state.clip.id = (await post("v1/clips", form)).id;
  }
  return state.clip.id;
}

function fitScreen() {
  const { videoWidth: w, videoHeight: h } = player.source;
  const room = $("viewer").clientWidth, most = Math.max(240, window.innerHeight * (innerWidth > 900 ? 0.66 : 0.5));
  const scale = Math.min(room / w, most / h);
  $("screen").style.width = `${w * scale}px`;
  $("screen").style.height = `${h * scale}px`;
}

// Times

const seconds = (frame) => (frame < player.count ? player.times[frame] : player.duration) + player.begin;
// Rounded down, so that the frame itself is still within.
const floorTime = (frame) => Math.floor(seconds(frame) * 1000 + 1e-6) / 1000;

function rangeChanged() {
  const { start, end } = timeline.values;
  $("start").value = floorTime(start);
  $("end").value = floorTime(end);
  $("whole").hidden = timeline.isWhole;
  planSoon();
}

function typedRange() {
  const [start, end] = ["start", "end"].map((id) => Number($(id).value));
  const at = (value) => player.times.findIndex((time) => time + player.begin >= value - 1e-3);
  const first = at(start), last = at(end);
  timeline.set("end", player.count);
  timeline.set("start", first < 0 ? player.count - 1 : first);
  timeline.set("end", last < 0 ? player.count : last);
  rangeChanged();
}

// Masks

function maskKey() {
  if (state.place === "paint") return JSON.stringify([painter.keyframes(), $("follow").checked]);
  return sourceName();
}

const sourceName = () => (state.place === "text" && $("word").value.trim() ? `text:${$("word").value.trim()}` : state.place);

function maskChanged() {
  const isPaint = state.place === "paint", painted = painter.painted;
  if (!state.place) { painter.setMade(null); state.mask = null; }
  else if (!isPaint && state.mask?.key !== sourceName()) { painter.setMade(null); state.mask = null; }
  timeline.mark(isPaint ? painted : []);
  $("undo").disabled = !painter.steps.length;
  $("redo").disabled = !painter.undone.length;
  $("clear").disabled = !painter.frames.has(painter.frame);
  const many = state.clip?.frames > 1;
  $("paint-hint").textContent = painted.length === 0
    ? `${painter.tool === "point" ? "Click a thing, draw around it, or draw an arrow to it" : "Paint over what is to change"}, ${many ? "on any frame" : "and it is marked"}.`
    : !many ? "“This” and “here” in the sentence are what is marked." : painted.length === 1 ? "Marked on one frame: “this” and “here” in the sentence. Go to another and correct the mask there, if it drifts."
      : `Painted on ${painted.length} frames; the mask passes through all of them.`;
  $("preview").disabled = isPaint && painted.length === 0;
  $("mask-text").textContent = state.mask && state.mask.key !== maskKey() ? "changed since" : state.mask ? state.mask.text : "";
  planSoon();
}

/** Make the mask on the server, unless it is there already; return its id. */
async function makeMask() {
  const key = maskKey();
  if (state.mask?.key === key) return state.mask.id;
  const isPaint = state.place === "paint";
  const order = isPaint ? { follow: $("follow").checked, keyframes: painter.keyframes() } : { source: sourceName() };
  const address = `v1/clips/${await needClip()}/masks`;
  let task = await post(address, order);
  $("mask-bar").hidden = false;
  $("preview").textContent = "Cancel";
  cancelMask = () => post(`${address}/${task.id}/cancel`);
  try {
    while (["queued", "in_progress"].includes(task.status)) {
      $("mask-bar").value = task.progress;
      $("mask-text").textContent = task.status === "queued" ? "waiting …" : isPaint ? "following …" : "searching …";
      await sleep(300);
      task = await get(`${address}/${task.id}`);
    }
    if (task.status === "canceled") throw new ApiError(0, "The mask was canceled.", "canceled");
    if (task.status !== "completed") throw new ApiError(0, task.error.message, "mask");
    state.mask = { id: task.id, key, text: `covers ${(100 * task.area).toFixed(task.area < 0.1 ? 1 : 0)} % of the frame` };
    await showMask(await getBlob(`${address}/${task.id}/content`), task.moves);
    return task.id;
  } finally {
    cancelMask = null;
    $("mask-bar").hidden = true;
    $("preview").textContent = "Show the mask";
    maskChanged();
  }
}

let cancelMask = null;

/** Ask what a line points at, and add that to the mask of its frame. */
async function pointAt(line) {
  const clip = state.clip;
  showError("");
  $("mask-text").textContent = "looking …";
  try {
    const area = await post(`v1/clips/${await needClip()}/pointings`, line);
    if (state.clip !== clip) return;
    painter.clearPointed();
    painter.add(area);
    $("mask-text").textContent = `${area.kind === "area" ? "area" : "thing"} added, ${(100 * area.area).toFixed(area.area < 0.1 ? 1 : 0)} % of the frame`;
  } catch (error) {
    painter.clearPointed();
    $("mask-text").textContent = "";
    showError(error.message);
  }
}

async function showMask(blob, moves) {
  const media = document.createElement(moves ? "video" : "img");
  if (moves) {
    media.muted = true;
    media.src = URL.createObjectURL(blob);
    await loaded(media, "The mask can't be played by this browser.");
    media.addEventListener("seeked", () => painter.draw());
  } else {
    media.src = URL.createObjectURL(blob);
    await media.decode();
  }
  painter.setMade(media);
  seekMask();
}

function seekMask() {
  const media = painter.made;
  if (media instanceof HTMLVideoElement) media.currentTime = player.middle(player.frame) + player.begin;
}

// The sentence: what the model will make of it

let planTimer = 0;

function planSoon() {
  clearTimeout(planTimer);
  planTimer = setTimeout(plan, 350);
  update();
}

async function plan() {
  const prompt = $("prompt").value.trim();
  let text = "", bad = false;
  const isDefault = [state.info.model, ""].includes($("model-choice").value); // of others it isn't known what they can do
  if (prompt && !$("anyway").checked && isDefault) {
    try {
      const mask = state.place === "paint" && painter.isEmpty ? "" : sourceName();
      const answer = await post("v1/instructions", { prompt, mask, reference: $("reference").files.length > 0 });
      text = answer.edits.length ? `Understood: ${answer.edits.join(", then ")}` : "";
    } catch (error) {
      if (error.status !== 400) return;
      text = forPage(error.message);
      bad = true;
    }
  }
  if (prompt !== $("prompt").value.trim()) return;
  $("plan").textContent = text;
  $("plan").classList.toggle("bad", bad);
}

// Jobs

function update() {
  const isRunning = state.running !== null;
  $("edit").disabled = isRunning || !state.clip || !$("prompt").value.trim();
  $("edit").textContent = isRunning ? "Editing …" : "Edit";
  $("edit").hidden = isRunning;
  $("running").hidden = !isRunning;
}

function readSettings() {
  const settings = {};
  for (const name of ["seed", "steps", "amount", "guidance"]) {
    const value = $(name).value.trim();
    if (value !== "" && !(name === "seed" && value === "0")) settings[name] = value;
  }
  if ($("anyway").checked) settings.anyway = "true";
  if (!$("preserve").checked) settings.preserve = "false";
  if (!timeline.isWhole) {
    if (timeline.values.start > 0) settings.start = floorTime(timeline.values.start);
    if (timeline.values.end < player.count) settings.end = floorTime(timeline.values.end);
  }
  for (const [name, id] of [["model", "model-choice"], ["lora", "adapter"]]) if ($(id).value) settings[name] = $(id).value;
  const weight = $("weight").value.trim();
  if (settings.lora && weight) settings.lora += `=${weight}`;
  return settings;
}

async function startEdit() {
  if (state.running !== null || !state.clip || !$("prompt").value.trim()) return;
  showError("");
  state.running = "";
  state.unwanted = false;
  update();
  showProgress({ status: "queued", progress: 0, stage: "" });
  try {
    const form = new FormData();
    form.append("prompt", $("prompt").value.trim());
    if (state.place === "paint" && painter.isEmpty) throw new Error("Paint over what is to change first, or choose Everywhere.");
    if (state.place === "paint") form.append("mask", await makeMask());
    else if (state.place) form.append("mask", sourceName());
    form.append("clip", await needClip());
    for (const [name, value] of Object.entries(readSettings())) form.append(name, value);
    const reference = $("reference").files[0];
    if (reference) form.append("reference", reference, reference.name);
    if (state.unwanted) return;
    const job = await post("v1/videos", form);
    history.put(job);
    if (state.unwanted) await post(`v1/videos/${job.id}/cancel`);
    await follow(job);
  } catch (error) {
    if (error.code !== "canceled") showError(error.message);
  } finally {
    state.running = null;
    update();
  }
}

async function follow(job) {
  state.running = job.id;
  update();
  const clock = new TimeLeft();
  while (["queued", "in_progress"].includes(job.status)) {
    showProgress(job, clock.estimate(job));
    await sleep(400);
    job = await get(`v1/videos/${job.id}`);
  }
  history.put(job);
  if (job.status === "completed") await showResult(job);
  else if (job.status === "failed") throw new Error(job.error.message);
}

function showProgress(job, left = "") {
  const bar = $("bar");
  if (job.progress > 0) bar.value = job.progress; else bar.value = 0;
  $("stage-text").textContent = [describeStage(job, job.settings?.steps ?? state.info.steps), left].filter(Boolean).join(", ");
  document.title = `${Math.round(job.progress)} % · v2v`;
}

async function showResult(job) {
  document.title = "v2v: edit videos by saying what to change";
  setJob(job);
  const blob = await getBlob(`v1/videos/${job.id}/content`);
  await player.setResult(blob);
  $("views").hidden = false;
  setTool("look");
  setView("wipe");
  const { start, end } = timeline.values;
  if (player.frame < start || player.frame >= end) player.show(start); // a frame that the edit has changed
  const name = `${state.name}-${job.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40).replace(/^-|-$/g, "")}`;
  URL.revokeObjectURL($("download").href);
  $("download").href = URL.createObjectURL(blob);
  $("download").download = `${name || "edited"}${blob.type === "image/png" ? ".png" : ".mp4"}`;
}

function setJob(job) {
  state.job = job;
  history.select(job?.id);
  $("done").hidden = job?.status !== "completed";
  if (job?.status !== "completed") return;
  const notes = [...job.notes, ...(job.report?.unknown_words?.length ? [`words that the model doesn't know: ${job.report.unknown_words.join(", ")}`] : [])];
  $("notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  $("notes").hidden = !notes.length;
  $("command-box").open = false;
  $("command").textContent = "";
}

async function showCommand() {
  if (!$("command-box").open || $("command").textContent || !state.job) return;
  const { command, files } = await get(`v1/videos/${state.job.id}/command`);
  $("command").textContent = command;
  $("parts").replaceChildren(...Object.entries(files).map(([role, name]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet small", textContent: name });
    button.title = `Save ${name}, which the command reads`;
    button.addEventListener("click", async () => save(await getBlob(`v1/videos/${state.job.id}/files/${role}`), name));
    return button;
  }));
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Show a job of the history: its clip, its settings, and its result. */
async function openJob(job) {
  if (state.running) return;
  showError("");
  try {
    const facts = await get(`v1/videos/${job.id}/clip`);
    const address = `v1/videos/${job.id}/files`;
    await showClip({ ...facts, id: "" }, await getBlob(`${address}/preview`), () => getBlob(`${address}/strip`));
    state.name = "clip";
    $("prompt").value = job.prompt;
    const { settings } = job;
    for (const name of ["seed", "steps", "amount", "guidance"]) $(name).value = settings[name] ?? (name === "seed" ? 0 : "");
    $("anyway").checked = settings.anyway === true;
    $("preserve").checked = settings.preserve !== false;
    $("model-choice").value = settings.model ?? state.info.model;
    const [, adapter, weight] = /^(.*?)(?:=([-\d.e]+))?$/.exec(settings.lora ?? "");
    $("adapter").value = adapter;
    $("weight").value = weight ?? "";
    if (settings.start != null || settings.end != null) {
      $("start").value = settings.start ?? 0;
      $("end").value = settings.end ?? seconds(player.count);
      typedRange();
    }
    const [source, word] = (settings.mask ?? "").split(":");
    if (document.querySelector(`#places [data-place="${CSS.escape(source)}"]`)) {
      $("word").value = word ?? "";
      setPlace(source);
    }
    if (facts.painted) {
      const { follow, keyframes } = await get(`v1/videos/${job.id}/painted`);
      painter.restore(keyframes);
      $("follow").checked = follow;
      setPlace("paint");
      const mask = await getBlob(`${address}/mask`);
      await showMask(mask, mask.type.startsWith("video/"));
    }
    setJob(job);
    if (job.status === "completed") await showResult(job);
    else if (job.status === "failed") showError(job.error.message);
    planSoon();
  } catch (error) {
    showError(error.message);
  }
}

// Messages

function showError(text) {
  $("error").textContent = forPage(text);
  $("error").hidden = !text;
  if (text && $("plan").classList.contains("bad")) $("plan").textContent = ""; // once is enough
}

/** Messages name options of the command line; here they are boxes. */
const forPage = (text) => text.replace(" (v2v edit --looks)", "").replace(/--anyway tries.*$/, "“Try the sentence” under More settings tries it all the same");

function showBanner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

// Events

$("file").addEventListener("change", () => { sendFile($("file").files[0]); $("file").value = ""; });
$("sample").addEventListener("click", () => useStored({ sample: "true" }, "sample"));
$("new").addEventListener("click", () => {
  player.pause();
  $("editor").hidden = true;
  $("drop").hidden = false;
  $("new").hidden = true;
  state.clip = null;
  setJob(null);
  update();
});
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (!state.running) sendFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length && !state.running) sendFile(event.clipboardData.files[0]); });

player.addEventListener("frame", () => {
  const { frame } = player;
  timeline.set("position", frame);
  painter.setFrame(frame);
  if (!player.playing || player.frame % 2 === 0) seekMask();
  $("clear").disabled = !painter.frames.has(frame);
  $("clock").textContent = `${(player.times[frame] + player.begin).toFixed(2)} s, frame ${frame}`;
});
player.addEventListener("playing", () => {
  document.body.classList.toggle("playing", player.playing);
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
});
timeline.addEventListener("position", () => { player.pause(); player.show(timeline.values.position); });
timeline.addEventListener("range", (event) => {
  player.pause();
  player.show(event.detail === "end" ? timeline.values.end - 1 : timeline.values.start);
  rangeChanged();
});
painter.addEventListener("change", maskChanged);
painter.addEventListener("point", (event) => pointAt(event.detail));
painter.addEventListener("goto", (event) => { if (event.detail !== player.frame) player.show(event.detail); });
$("back").addEventListener("click", () => { player.pause(); player.show(player.frame - 1); });
$("forward").addEventListener("click", () => { player.pause(); player.show(player.frame + 1); });
$("play").addEventListener("click", () => player.toggle());
$("size").addEventListener("input", () => { painter.size = Number($("size").value); painter.draw(); });
$("undo").addEventListener("click", () => painter.undo());
$("redo").addEventListener("click", () => painter.redo());
$("clear").addEventListener("click", () => painter.clear());
$("follow").addEventListener("change", maskChanged);
$("word").addEventListener("input", maskChanged);
$("preview").addEventListener("click", () => {
  showError("");
  if (cancelMask) cancelMask();
  else makeMask().catch((error) => error.code !== "canceled" && showError(error.message));
});
$("start").addEventListener("change", typedRange);
$("end").addEventListener("change", typedRange);
$("whole").addEventListener("click", () => { timeline.set("end", player.count); timeline.set("start", 0); rangeChanged(); });
$("prompt").addEventListener("input", planSoon);
$("anyway").addEventListener("change", planSoon);
$("model-choice").addEventListener("change", planSoon);
$("reference").addEventListener("change", showReference);
$("reference-clear").addEventListener("click", () => { $("reference").value = ""; showReference(); });
$("form").addEventListener("submit", (event) => { event.preventDefault(); startEdit(); });
$("cancel").addEventListener("click", async () => {
  state.unwanted = true; // also where the job isn't there yet
  if (cancelMask) cancelMask();
  if (state.running) await post(`v1/videos/${state.running}/cancel`).catch((error) => showError(error.message));
});
$("further").addEventListener("click", () => useStored({ job: state.job.id, part: "result" }, state.name));
$("command-box").addEventListener("toggle", () => showCommand().catch((error) => showError(error.message)));
$("copy").addEventListener("click", async () => {
  const text = $("command").textContent;
  try { await navigator.clipboard.writeText(text); } catch { getSelection().selectAllChildren($("command")); document.execCommand("copy"); }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
$("help").addEventListener("click", () => $("keys").showModal());
window.addEventListener("resize", () => { if (state.clip) fitScreen(); });
history.addEventListener("open", (event) => openJob(event.detail));
history.addEventListener("error", (event) => showError(event.detail.message));

function showReference() {
  const file = $("reference").files[0], view = $("reference-view");
  URL.revokeObjectURL(view.src);
  view.hidden = $("reference-clear").hidden = !file;
  if (file) view.src = URL.createObjectURL(file); else view.removeAttribute("src");
  planSoon();
}

// The wipe: its slider, or the picture itself

function setWipe(percent) {
  const value = Math.min(100, Math.max(0, percent));
  $("wipe").value = value;
  $("screen").style.setProperty("--wipe", `${value}%`);
}

$("wipe").addEventListener("input", () => setWipe(Number($("wipe").value)));
$("overlay").addEventListener("pointerdown", (event) => {
  if (painter.paints) return;
  if ($("viewer").dataset.view !== "wipe") { if (event.button === 0) player.toggle(); return; }
  const box = $("screen").getBoundingClientRect();
  const move = (to) => setWipe(100 * (to.clientX - box.left) / box.width);
  $("overlay").setPointerCapture(event.pointerId);
  move(event);
  $("overlay").addEventListener("pointermove", move);
  $("overlay").addEventListener("pointerup", () => $("overlay").removeEventListener("pointermove", move), { once: true });
});

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "enter") { event.preventDefault(); startEdit(); return; }
  const isTyping = event.target.matches("textarea, select, input:not([type=range]):not([type=checkbox])");
  if (isTyping || !state.clip || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") { event.preventDefault(); if (event.shiftKey) painter.redo(); else painter.undo(); }
    if (key === "y") { event.preventDefault(); painter.redo(); }
    return;
  }
  if (event.altKey) return;
  const { position } = timeline.values;
  const actions = {
    k: () => player.toggle(), ",": () => $("back").click(), ".": () => $("forward").click(),
    i: () => { timeline.set("start", position); rangeChanged(); }, o: () => { timeline.set("end", position + 1); rangeChanged(); },
    v: () => setTool("look"), b: () => setTool("brush"), e: () => setTool("erase"), x: () => setTool("box"), p: () => setTool("point"), m: () => $("speak").click(),
    "[": () => sizeBy(1 / 1.2), "]": () => sizeBy(1.2), delete: () => painter.clear(),
  };
  const view = ["source", "wipe", "difference", "result"][Number(key) - 1];
  if (view && !$("views").hidden) setView(view);
  else if (actions[key]) actions[key]();
  else return;
  event.preventDefault();
});

function sizeBy(factor) {
  $("size").value = Math.round(painter.size * factor);
  painter.size = Number($("size").value);
  painter.draw();
}

// Start

async function askForToken() {
  const dialog = $("token-dialog");
  $("token").value = "";
  if (!dialog.open) dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return $("token").value.trim();
}

async function begin() {
  takeToken(askForToken);
  $("size-label").hidden = true;
  try {
    state.info = { ...state.info, ...(await get("v1/page")) };
  } catch (error) {
    showBanner(error.message);
    return;
  }
  const { info } = state;
  offerSpeech({ button: $("speak"), field: $("prompt"), status: $("speech-status"), server: info.speech, onError: showError });
  $("model").textContent = info.model;
  $("model").hidden = false;
  if (info.steps) $("steps").placeholder = info.steps;
  $("looks").replaceChildren(...info.looks.map(({ title, say }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: title, title: say });
    button.addEventListener("click", () => { $("prompt").value = say; planSoon(); });
    return button;
  }));
  fill("model-choice", info.models.length > 1 ? info.models : []);
  fill("adapter", info.adapters, "none");
  $("weight").parentElement.hidden = !info.adapters.length;
  await history.load();
  const unfinished = history.jobs.find((job) => ["queued", "in_progress"].includes(job.status));
  if (unfinished) {
    await openJob(unfinished);
    follow(unfinished).catch((error) => showError(error.message)).finally(() => { state.running = null; update(); });
  }
  document.body.dataset.ready = "true";
}

function fill(id, names, none) {
  const options = names.map((name) => new Option(name, name));
  $(id).replaceChildren(...(none ? [new Option(none, "")] : []), ...options);
  $(id).parentElement.hidden = !names.length;
}

begin();
