// Draws the page of training runs from the document in #data: {runs, charts, fields, stamp}.
const D = JSON.parse($("data").textContent), M = JSON.parse($("media").textContent);
const colourOf = (i) => COLOURS[i % COLOURS.length], DASHES = ["", "7 3", "2 3", "8 3 2 3"];
const short = (x) => (x === null || x === undefined ? "–" : x === 0 ? "0" : Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3 ? Number(x.toPrecision(3)).toExponential() : Number(x.toPrecision(3)).toString());
const duration = (s) => (s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(0)} s`);
const percent = (x) => `${(100 * x).toFixed(1)} %`;
const dot = (i) => el("span", "● ", { style: `color:${colourOf(i)}` });

function runs() {
  const columns = D.columns.filter((c) => D.runs.some((r) => r.summary[c.name] !== null && r.summary[c.name] !== undefined));
  sortable($("runs"), [{ text: "run", words: true }, ...columns.map((c) => ({ text: c.name + (c.unit ? " " + c.unit : ""), about: c.about, up: true }))], D.runs.map((r, i) => {
    const tr = el("tr"), name = el("td"); name.append(dot(i), r.name, el("small", r.about)); tr.append(name);
    for (const c of columns) {
      const x = r.summary[c.name];
      const td = el("td", x === null || x === undefined ? "–" : c.kind === "seconds" ? duration(x) : c.kind === "share" ? percent(x) : short(x), { "data-value": x ?? "" });
      if (c.name === "least held-out loss" && r.least !== null) td.append(el("small", `step ${r.least}`));
      if (c.name === "loss spikes" && r.spikes.length) td.append(el("small", `step ${r.spikes.slice(0, 5).join(", ")}${r.spikes.length > 5 ? ", …" : ""}`));
      tr.append(td);
    }
    return tr;
  }));
}

/** A series smoothed over the rows around each: [[step, value, smooth]]; short ones, such as held-out losses, as they are. */
function smoothed(points, width) {
  const half = points.length < 40 ? 0 : Math.floor(width / 2);
  return points.map(([step, value], i) => {
    const near = points.slice(Math.max(0, i - half), i + half + 1);
    return [step, value, near.reduce((sum, p) => sum + p[1], 0) / near.length];
  });
}

/** Round numbers within a range, about as many as asked for; on a logarithmic scale 1, 2 and 5 times powers of ten where they are enough. */
function ticks(low, high, n, logarithmic) {
  if (logarithmic) {
    const out = [];
    for (let k = Math.floor(low); k <= Math.ceil(high); k++) for (const m of high - low > 3 ? [1] : [1, 2, 5]) { const x = Math.log10(m * 10 ** k); if (x >= low && x <= high) out.push(10 ** x); }
    if (out.length > 1) return out;
    return [0.1, 0.5, 0.9].map((t) => 10 ** (low + (high - low) * t));
  }
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough)), size = power * [1, 2, 5, 10].find((m) => m * power >= rough), out = [];
  for (let x = Math.ceil(low / size) * size; x <= high + size * 1e-9; x += size) out.push(Math.abs(x) < size * 1e-9 ? 0 : x);
  return out;
}

function chart(c) {
  const W = 460, H = 250, left = 58, bottom = 34, top = 22, right = 12, width = Number($("smooth").value);
  const series = c.series.flatMap((s) => D.runs.map((r, i) => ({ run: i, name: s.name, dash: DASHES[c.series.indexOf(s) % DASHES.length], points: smoothed(r.series[s.key] || [], width) }))).filter((s) => s.points.length);
  if (!series.length) return null;
  const all = series.flatMap((s) => s.points), xs = all.map((p) => p[0]);
  const values = all.map((p) => p[1]).sort((a, b) => a - b), logarithmic = c.log && values[0] > 0 && values[values.length - 1] / values[0] > 20;
  // A few spikes don't hide the rest.
  const cut = (share) => values[Math.min(values.length - 1, Math.max(0, Math.round(share * (values.length - 1))))];
  const scale = logarithmic ? Math.log10 : (x) => x;
  let low = scale(c.zero ? Math.min(0, values[0]) : cut(values.length > 50 ? 0.005 : 0)), high = scale(cut(values.length > 50 ? 0.995 : 1));
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1; low -= c.zero && low === 0 ? 0 : pad; high += pad;
  const first = Math.min(...xs), last = Math.max(...xs);
  const X = (x) => left + (W - left - right) * ((x - first) / (last - first || 1)), Y = (y) => top + (H - top - bottom) * (1 - Math.min(1, Math.max(0, (scale(y) - low) / (high - low))));
  const made = svg("svg", { width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": c.title });
  made.append(svg("line", { x1: left, y1: H - bottom, x2: W - right, y2: H - bottom, class: "axis" }), svg("line", { x1: left, y1: top, x2: left, y2: H - bottom, class: "axis" }));
  for (const y of ticks(low, high, 5, logarithmic)) made.append(svg("line", { x1: left, x2: W - right, y1: Y(y), y2: Y(y), stroke: "var(--line)" }), svg("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, short(y)));
  for (const x of ticks(first, last > first ? last : first + 1, 5, false)) if (Number.isInteger(x)) made.append(svg("text", { x: X(x), y: H - bottom + 15, "text-anchor": X(x) > W - right - 16 ? "end" : "middle" }, String(x)));
  const title = svg("text", { x: 4, y: 13, style: "font-weight:600" }, c.title + (c.unit ? `, ${c.unit}` : "") + (logarithmic ? " (logarithmic)" : "")); title.append(svg("title", {}, c.about)); made.append(title);
  const value = svg("text", { x: W - right, y: H - 4, "text-anchor": "end" }, "step"); made.append(value);
  for (const s of series) {
    const path = (k) => s.points.map((p) => `${X(p[0]).toFixed(1)},${Y(p[k]).toFixed(1)}`).join(" ");
    if (width > 1) made.append(svg("polyline", { points: path(1), fill: "none", stroke: colourOf(s.run), opacity: 0.25 }));
    made.append(svg("polyline", { points: path(2), fill: "none", stroke: colourOf(s.run), "stroke-width": 1.8, "stroke-dasharray": s.dash }));
    if (s.points.length < 4) for (const p of s.points) made.append(svg("circle", { cx: X(p[0]), cy: Y(p[1]), r: 3, fill: colourOf(s.run) }));
  }
  const cursor = svg("line", { y1: top, y2: H - bottom, stroke: "currentColor", opacity: 0 }); made.append(cursor);
  made.addEventListener("pointermove", (e) => {
    const box = made.getBoundingClientRect(), x = first + (((e.clientX - box.left) * W) / box.width - left) * ((last - first) / (W - left - right));
    const near = series.map((s) => ({ s, p: s.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)) }));
    const step = near.reduce((a, b) => (Math.abs(b.p[0] - x) < Math.abs(a.p[0] - x) ? b : a)).p[0];
    cursor.setAttribute("x1", X(step)); cursor.setAttribute("x2", X(step)); cursor.setAttribute("opacity", 0.4);
    reading.textContent = `step ${step}: ` + near.filter(({ p }) => Math.abs(p[0] - step) <= (last - first) / 20 + 1).map(({ s, p }) => [D.runs.length > 1 ? D.runs[s.run].name : "", c.series.length > 1 ? s.name : "", short(p[1])].filter(Boolean).join(" ")).join(" · ");
  });
  made.addEventListener("pointerleave", () => { cursor.setAttribute("opacity", 0); reading.textContent = key; });
  const key = c.series.length > 1 ? c.series.filter((s) => series.some((x) => x.name === s.name)).map((s, i) => `${s.name} ${["—", "– –", "···", "–·–"][c.series.indexOf(s) % 4]}`).join("   ") : c.about;
  const box = el("figure"), reading = el("figcaption", key, { class: "note" }); box.append(made, reading); return box;
}

const SPENT = ["step", "start", "compile", "data", "save", "eval", "lost", "down"];
function goodput() {
  const known = D.runs.filter((r) => r.goodput);
  sortable($("goodput"), [{ text: "run", words: true }, { text: "total", up: false }, { text: "goodput", up: false }, ...SPENT.slice(1).map((n) => ({ text: n }))], known.map((r) => {
    const tr = el("tr"), name = el("td"); name.append(dot(D.runs.indexOf(r)), r.name); tr.append(name, el("td", duration(r.goodput.total), { "data-value": r.goodput.total }));
    for (const n of SPENT) { const x = r.goodput.total ? r.goodput.seconds[n] / r.goodput.total : 0; tr.append(el("td", percent(x), { "data-value": x, title: duration(r.goodput.seconds[n]) })); }
    return tr;
  }));
  sortable($("attempts"), [{ text: "run", words: true }, { text: "started", words: true }, { text: "ran" }, { text: "from step" }, { text: "to step" }, { text: "ended by", words: true }, { text: "devices" }, { text: "processes" }], known.flatMap((r) => r.attempts.map((a) => {
    const tr = el("tr"), name = el("td"); name.append(dot(D.runs.indexOf(r)), r.name);
    tr.append(name, el("td", new Date(1000 * a.start).toISOString().slice(0, 16).replace("T", " ") + " UTC"), el("td", duration(a.end - a.start), { "data-value": a.end - a.start }), el("td", a.first_step), el("td", a.last_step), el("td", a.cause || "(running)"), el("td", a.devices), el("td", a.processes));
    return tr;
  })));
}

const players = new Players($("screens"), M.media);
function listSteps() {
  const entry = M.clips[Number($("clip").value)], steps = [...new Set(entry.screens.map((s) => s.step))].sort((a, b) => b - a);
  const kept = steps.map(String).includes($("step").value) ? $("step").value : String(steps[0]);
  $("step").replaceChildren(...steps.map((s) => el("option", String(s), { value: s }))); $("step").value = kept;
}
async function show() {
  const entry = M.clips[Number($("clip").value)], step = Number($("step").value);
  $("sentence").textContent = `“${entry.instruction}”`;
  const wanted = entry.screens.filter((s) => s.step === step).map((s) => ({ id: s.id, label: D.runs[s.run].name, note: `step ${s.step}; ${s.columns}` }));
  $("play").textContent = "play";
  try { await players.load(wanted, entry.fps); } catch (error) { $("clips-note").textContent = error.message; return; }
  $("scrub").max = players.length - 1;
}

function draw() { $("curves").replaceChildren(...D.charts.map(chart).filter(Boolean)); }
$("lead").textContent = `${count(D.runs.length, "run")}; made ${D.made}.`;
$("runs-note").textContent = D.note;
runs(); draw(); goodput(); $("smooth").onchange = draw;
$("settings-title").textContent = D.runs.length > 1 ? "Settings that differ" : "Settings";
sortable($("fields"), [{ text: "setting", words: true }, ...D.runs.map((r) => ({ text: r.name, words: true }))], D.fields.map((f) => { const tr = el("tr"); tr.append(el("td", f.name), ...f.values.map((v) => el("td", v, { class: "text" }))); return tr; }));
$("settings").hidden = !D.fields.length;
if (M.clips.length) {
  $("clip").replaceChildren(...M.clips.map((c, i) => el("option", c.instruction.slice(0, 60), { value: i })));
  $("clip").onchange = () => { listSteps(); show(); }; $("step").onchange = show;
  $("mode").parentElement.hidden = $("gain").parentElement.hidden = true; $("clips-note").textContent = M.note;
  listSteps(); show();
} else $("viewer").hidden = true;
