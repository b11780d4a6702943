// Draws the report from the document in #data. Numbers come ready-made; nothing is computed here but layout.
const D = JSON.parse($("data").textContent), M = JSON.parse($("media").textContent);
// Looked up often, so that pages of thousands of items stay quick.
const itemOf = new Map(D.items.map((i) => [i.id, i]));
function byItem(rows) {
  const groups = new Map();
  for (const row of rows) { if (!groups.has(row.item)) groups.set(row.item, []); groups.get(row.item).push(row); }
  return groups;
}
const editsOf = byItem(D.edits), scoresOf = byItem(D.scores);
const column = (name) => D.columns.find((c) => c.name === name);
// Groups of fewer items show their number.
const FEW = 8;
const unequal = (x) => (x.unequal ? `; ${x.unequal} left out, as the outputs have different numbers of frames` : "");
const number = (x, c) => (x === null || x === undefined ? "–" : c && c.rate ? (100 * x).toFixed(0) : Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(Math.abs(x) < 0.1 && x !== 0 ? 3 : 2));
const unit = (c) => (c.rate ? "%" : c.unit);
const span = (cell, c) => (cell.low === null ? "" : `[${number(cell.low, c)}, ${number(cell.high, c)}]`);
const better = (a, b, c) => (c.better === "neither" ? false : c.better === "higher" ? a > b : a < b);

// Documents of earlier versions have no costs.
const costs = D.costs || {};
const cellOf = (name, method, kind) => { const s = D.summary[name][method]; return kind === "all" ? s.all : s.kinds[kind]; };

function scores() {
  const kind = $("kind").value, names = D.methods.map((m) => m.name);
  const edits = (m) => D.edits.filter((e) => e.method === m && (kind === "all" || itemOf.get(e.item).kind === kind));
  const refused = Object.fromEntries(names.map((m) => [m, edits(m).filter((e) => e.refused).length])), anyRefused = Object.values(refused).some((n) => n);
  const timed = kind === "all" && Object.values(costs).some((x) => x.median !== null), priced = kind === "all" && Object.values(costs).some((x) => x.dollars !== null);
  const heads = [{ text: "method", words: true }, ...(anyRefused ? [{ text: "refused", about: "sentences that the editor refused; they count as failed", up: true }] : []), ...D.columns.map((c) => ({ text: c.name + (unit(c) ? " " + unit(c) : "") + ({ higher: " ↑", lower: " ↓", neither: "" }[c.better]), about: c.about, up: c.better !== "higher" })), ...(timed ? [{ text: "seconds", about: "median of an edit on the machine that made it; below, the quartiles" }] : []), ...(priced ? [{ text: "$", about: "price of an edit" }] : [])];
  const best = Object.fromEntries(D.columns.map((c) => [c.name, names.map((m) => cellOf(c.name, m, kind).mean).filter((x) => x !== null).reduce((a, b) => (a === null || better(b, a, c) ? b : a), null)]));
  const rows = names.map((m) => {
    const tr = el("tr"); tr.append(el("td", m));
    if (anyRefused) tr.append(el("td", `${refused[m]} of ${edits(m).length}`, { "data-value": refused[m] }));
    for (const c of D.columns) {
      const cell = cellOf(c.name, m, kind), td = el("td", number(cell.mean, c), { "data-value": cell.mean ?? "" });
      if (c.better !== "neither" && cell.mean !== null && cell.mean === best[c.name]) td.className = "best";
      td.append(el("small", span(cell, c)));
      if (cell.failed) td.append(el("small", c.worst === null ? `${cell.scored} of ${cell.n} scored` : `${cell.failed} of ${cell.n} failed`, { class: "lost" }));
      if (cell.unscored) td.append(el("small", `${cell.unscored} of ${cell.n} not scored`, { class: "lost" }));
      const delta = kind === "all" && D.summary[c.name][m].delta;
      if (delta && delta.mean !== null) {
        const sign = (x) => (x > 0 ? "+" : "") + number(x, c);
        const mark = el("small", sign(delta.mean) + (delta.low === null ? "" : ` [${sign(delta.low)}, ${sign(delta.high)}]`), { title: `against ${D.baseline}, paired over ${count(delta.n, "item")}` + unequal(delta) });
        if (delta.clear && c.better !== "neither") mark.className = better(delta.mean, 0, c) ? "up" : "down";
        td.append(mark);
      }
      if (delta && delta.unequal) td.append(el("small", `${delta.unequal} of unequal length not compared`));
      tr.append(td);
    }
    const cost = costs[m];
    if (timed) {
      const td = el("td", cost && cost.median !== null ? cost.median.toPrecision(3) : "–", { "data-value": cost ? cost.median ?? "" : "" });
      if (cost && cost.n > 1) td.append(el("small", `[${cost.low.toPrecision(3)}, ${cost.high.toPrecision(3)}]`));
      tr.append(td);
    }
    if (priced) tr.append(el("td", cost && cost.dollars !== null ? cost.dollars.toFixed(2) : "–", { "data-value": cost ? cost.dollars ?? "" : "" }));
    return tr;
  });
  for (const p of D.published || []) for (const r of p.rows) {
    if (kind !== "all" || !D.columns.some((c) => c.name in r.values)) continue;
    const tr = el("tr", null, { class: "published", title: p.source }); tr.append(el("td", `${r.method} (${p.short})`)); if (anyRefused) tr.append(el("td", "–", { "data-value": "" }));
    for (const c of D.columns) tr.append(el("td", number(r.values[c.name]), { "data-value": r.values[c.name] ?? "" }));
    rows.push(tr);
  }
  sortable($("scores"), heads, rows);
  const tables = (D.published || []).filter((p) => p.rows.some((r) => D.columns.some((c) => c.name in r.values)));
  const judges = D.columns.filter((c) => c.identity.metric === "judge").map((c) => c.about);
  $("published").replaceChildren(...(kind === "all" && tables.length ? [
    el("strong", "Italic rows are published figures: of other items, frames and judges than ours, so that a difference of a few tenths means nothing. Compare within one table first."),
    ...(judges.length ? [el("div", `Our judge: ${judges[0]}.`)] : []),
    ...tables.map((p) => el("div", `${p.short}: ${p.title}. ${p.notes}`)),
  ] : []));
  $("agreement").replaceChildren(...(kind === "all" ? agreement(judges.length > 0) : []));
  const n = kind === "all" ? D.items.length : D.items.filter((i) => i.kind === kind).length;
  $("scores-note").textContent = `${count(n, "item")}; mean and 95 % interval` + (kind === "all" && names.length > 1 ? `; third line: difference from ${D.baseline}, paired, coloured where its interval leaves out 0 and there are at least ${FEW} items` : "") + ". Failed items (no output) count as the worst of a scale that has one; where it has none the mean is over the scored ones, and the number is shown. Outputs that a metric or judge could not score are in no mean." + (D.empty.length ? ` Columns that apply to no item: ${D.empty.join(", ")}.` : "");
}

/** The lines about the agreement of columns with people; one that says it wasn't measured where a judge scored without it. */
function agreement(hasJudge) {
  const c = D.calibration;
  if (!c || !c.columns.length) return hasJudge ? [el("div", "How far the judge agrees with people was not measured here (v2v eval calibrate).")] : [];
  const part = (x, scale) => x.mean === null ? "–" : (x.mean * scale).toFixed(scale > 1 ? 0 : 2) + (scale > 1 ? " %" : "") + (x.low === null ? "" : ` [${(x.low * scale).toFixed(scale > 1 ? 0 : 2)}, ${(x.high * scale).toFixed(scale > 1 ? 0 : 2)}]`);
  const line = (x) => el("div", `${x.column === "people" ? "people with each other" : x.column}: prefers what people prefer in ${part(x.pairwise, 100)} of ${x.pairs} pairs (chance 50 %); rank correlation ${part(x.spearman, 1)}`);
  return [el("strong", `Agreement with people (${count(c.ratings, "rating")} of ${count(c.raters, "rater")})`), ...c.columns.map(line)];
}

function detail() {
  const c = column($("column").value), names = D.methods.map((m) => m.name);
  if (!c) return;
  $("about").textContent = (c.about ? c.about + "; " : "") + ({ higher: "higher is better.", lower: "lower is better.", neither: "neither way is better in itself." }[c.better]);
  sortable($("kinds"), [{ text: "kind", words: true }, ...names.map((m) => ({ text: m, up: c.better !== "higher" }))], D.kinds.map((k) => {
    const tr = el("tr"); tr.append(el("td", k));
    const cells = names.map((m) => cellOf(c.name, m, k)), values = cells.map((x) => x.mean).filter((x) => x !== null);
    const top = values.reduce((a, b) => (a === null || better(b, a, c) ? b : a), null);
    for (const cell of cells) {
      const td = el("td", number(cell.mean, c), { "data-value": cell.mean ?? "" });
      if (c.better !== "neither" && cell.mean !== null && cell.mean === top && new Set(values).size > 1) td.className = "best";
      td.append(el("small", span(cell, c))); if (cell.n < FEW) td.append(el("small", `n=${cell.n}`)); if (cell.failed) td.append(el("small", `${cell.failed} failed`, { class: "lost" })); if (cell.unscored) td.append(el("small", `${cell.unscored} not scored`, { class: "lost" }));
      tr.append(td);
    }
    return tr;
  }));
  sortable($("wins"), [{ text: "", words: true }, ...names.map((m) => ({ text: m, up: false }))], D.wins[c.name].map((row, i) => {
    const tr = el("tr"); tr.append(el("td", names[i]));
    for (const w of row) {
      const td = el("td", w ? (100 * w.mean).toFixed(0) + " %" : "", { "data-value": w ? w.mean : "" });
      if (w) {
        td.append(el("small", w.low === null ? `n=${w.wins + w.ties + w.losses}` : `[${(100 * w.low).toFixed(0)}, ${(100 * w.high).toFixed(0)}]`));
        td.title = `${w.wins} won, ${w.ties} tied, ${w.losses} lost` + unequal(w);
        if (w.clear) td.className = w.mean > 0.5 ? "up" : "down";
      }
      tr.append(td);
    }
    return tr;
  }));
  plots(c); items(c);
}

function plots(c) {
  const axes = [...new Set(D.methods.flatMap((m) => Object.keys(m.axes)))];
  const timed = D.methods.filter((m) => costs[m.name] && costs[m.name].median > 0 && cellOf(c.name, m.name, "all").mean !== null);
  $("plots").replaceChildren(...(timed.length > 1 ? [scatter(c, timed)] : []), ...axes.filter((a) => new Set(D.methods.map((m) => m.axes[a])).size > 1).map((axis) => plot(c, axis, axes)));
}
// The column against the seconds of an edit, which are on a logarithmic scale; no other method is both faster and better than those that are joined.
function scatter(c, methods) {
  const W = 420, H = 250, left = 56, bottom = 42, top = 14, right = 14;
  const points = methods.map((m) => ({ name: m.name, x: Math.log10(costs[m.name].median), seconds: costs[m.name].median, ...cellOf(c.name, m.name, "all") }));
  const xs = points.map((p) => p.x), ys = points.flatMap((p) => [p.mean, p.low, p.high]).filter((y) => y !== null);
  let low = Math.min(...ys), high = Math.max(...ys); const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1; low -= pad; high += pad;
  const first = Math.min(...xs) - 0.1, last = Math.max(...xs) + 0.1, X = (x) => left + (W - left - right) * ((x - first) / (last - first)), Y = (y) => top + (H - top - bottom) * (1 - (y - low) / (high - low));
  const made = svg("svg", { width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${c.name} against seconds of an edit` });
  made.append(svg("line", { x1: left, y1: H - bottom, x2: W - right, y2: H - bottom, class: "axis" }), svg("line", { x1: left, y1: top, x2: left, y2: H - bottom, class: "axis" }));
  for (let i = 0; i <= 4; i++) { const y = low + ((high - low) * (i + 0.5)) / 5; made.append(svg("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, number(y, c))); }
  for (let i = 0; i <= 3; i++) { const x = first + ((last - first) * (i + 0.5)) / 4; made.append(svg("text", { x: X(x), y: H - bottom + 16, "text-anchor": "middle" }, (10 ** x).toPrecision(2))); }
  made.append(svg("text", { x: (W + left) / 2, y: H - 6, "text-anchor": "middle" }, "seconds of an edit (median)"), svg("text", { x: 12, y: top + 2 }, `${c.name} ${unit(c)}`));
  if (c.better !== "neither") {
    const front = points.filter((p) => !points.some((q) => q !== p && q.x <= p.x && (better(q.mean, p.mean, c) || (q.mean === p.mean && q.x < p.x)))).sort((a, b) => a.x - b.x);
    made.append(svg("polyline", { points: front.map((p) => `${X(p.x)},${Y(p.mean)}`).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1.5, "stroke-dasharray": "4 3" }));
  }
  for (const p of points) {
    if (p.low !== null) made.append(svg("line", { x1: X(p.x), x2: X(p.x), y1: Y(p.low), y2: Y(p.high), stroke: "var(--accent)", opacity: 0.6 }));
    const dot = svg("circle", { cx: X(p.x), cy: Y(p.mean), r: 4, fill: "var(--accent)" }); dot.append(svg("title", {}, `${p.name}: ${number(p.mean, c)} ${span(p, c)}, ${p.seconds.toPrecision(3)} s`));
    const near = X(p.x) > W - 120;
    made.append(dot, svg("text", { x: X(p.x) + (near ? -7 : 7), y: Y(p.mean) - 6, "text-anchor": near ? "end" : "start" }, label(p.name)));
  }
  return made;
}
// One axis of the grid against the column; methods that agree on every other axis are joined.
function plot(c, axis, axes) {
  const W = 420, H = 250, left = 56, bottom = 42, top = 14, right = 14;
  const points = D.methods.filter((m) => axis in m.axes).map((m) => ({ x: m.axes[axis], rest: axes.filter((a) => a !== axis && a in m.axes).map((a) => `${a} ${m.axes[a]}`).join(", "), ...cellOf(c.name, m.name, "all") })).filter((p) => p.mean !== null);
  const words = points.some((p) => typeof p.x !== "number"), names = [...new Set(points.map((p) => p.x))];
  if (!words) names.sort((a, b) => a - b);
  const lines = (D.published || []).flatMap((p) => p.rows.filter((r) => c.name in r.values).map((r) => ({ y: r.values[c.name], text: r.method })));
  const ys = [...points.flatMap((p) => [p.mean, p.low, p.high]), ...lines.map((l) => l.y)].filter((y) => y !== null);
  let low = Math.min(...ys), high = Math.max(...ys); const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1; low -= pad; high += pad;
  const first = words ? 0 : names[0], last = words ? names.length - 1 : names[names.length - 1];
  const X = (x) => left + 14 + (W - left - right - 28) * (((words ? names.indexOf(x) : x) - first) / (last - first || 1)), Y = (y) => top + (H - top - bottom) * (1 - (y - low) / (high - low));
  const made = svg("svg", { width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${c.name} against ${axis}` });
  made.append(svg("line", { x1: left, y1: H - bottom, x2: W - right, y2: H - bottom, class: "axis" }), svg("line", { x1: left, y1: top, x2: left, y2: H - bottom, class: "axis" }));
  for (let i = 0; i <= 4; i++) { const y = low + ((high - low) * (i + 0.5)) / 5; made.append(svg("text", { x: left - 6, y: Y(y) + 4, "text-anchor": "end" }, number(y, c))); }
  for (const x of names) made.append(svg("text", { x: X(x), y: H - bottom + 16, "text-anchor": "middle" }, label(String(x))));
  made.append(svg("text", { x: (W + left) / 2, y: H - 6, "text-anchor": "middle" }, axis), svg("text", { x: 12, y: top + 2, "text-anchor": "start" }, `${c.name} ${unit(c)}`));
  for (const l of lines) made.append(svg("line", { x1: left, x2: W - right, y1: Y(l.y), y2: Y(l.y), stroke: "currentColor", "stroke-dasharray": "4 4", opacity: 0.5 }), svg("text", { x: W - right, y: Y(l.y) - 3, "text-anchor": "end", opacity: 0.7 }, l.text));
  [...new Set(points.map((p) => p.rest))].forEach((rest, i) => {
    const own = points.filter((p) => p.rest === rest).sort((a, b) => names.indexOf(a.x) - names.indexOf(b.x)), colour = COLOURS[i % COLOURS.length];
    made.append(svg("polyline", { points: own.map((p) => `${X(p.x)},${Y(p.mean)}`).join(" "), fill: "none", stroke: colour, "stroke-width": words ? 0 : 2 }));
    for (const p of own) {
      if (p.low !== null) made.append(svg("line", { x1: X(p.x), x2: X(p.x), y1: Y(p.low), y2: Y(p.high), stroke: colour, opacity: 0.6 }));
      const dot = svg("circle", { cx: X(p.x), cy: Y(p.mean), r: 4, fill: colour }); dot.append(svg("title", {}, `${axis} ${p.x}${rest ? ", " + rest : ""}: ${number(p.mean, c)} ${span(p, c)}`)); made.append(dot);
    }
    if (rest) made.append(svg("text", { x: W - right, y: top + 12 * (i + 1), "text-anchor": "end", style: `fill:${colour}` }, label(rest)));
  });
  return made;
}

const scored = new Map(D.scores.map((s) => [[s.method, s.item, s.metric].join("\u0000"), s]));
const scoreOf = (c, m, i) => scored.get([m, i, c.metric].join("\u0000"));
// What is wrong with an item: failed edits, then scores that are missing, then words that an editor ignored.
function trouble(id) {
  const edits = editsOf.get(id) || [], failed = edits.filter((e) => e.status === "failed"), ignored = edits.filter((e) => (e.ignored || []).length);
  const unscored = (scoresOf.get(id) || []).filter((s) => s.status === "unscored");
  const text = [...failed.map((e) => `${e.method}: ${e.refused ? "refused" : "failed"}: ${e.reason}`), ...(unscored.length ? [`${count(unscored.length, "score")} missing: ${unscored[0].reason}`] : []), ...ignored.map((e) => `${e.method} ignored ${e.ignored.map((w) => `“${w}”`).join(", ")}`)];
  return { rank: 1e4 * failed.length + 100 * unscored.length + ignored.length, short: [failed.length && `${failed.length} failed`, unscored.length && `${unscored.length} not scored`, ignored.length && "words ignored"].filter(Boolean).join(", "), text: text.join("\n") };
}
const troubles = new Map(D.items.map((it) => [it.id, trouble(it.id)]));
function items(c) {
  const names = D.methods.map((m) => m.name), ordered = [...D.items].sort((a, b) => troubles.get(b.id).rank - troubles.get(a.id).rank);
  sortable($("items"), [{ text: "item", words: true }, { text: "kind", words: true }, { text: "instruction", words: true }, { text: "problems", up: false }, ...names.map((m) => ({ text: m + ": " + c.name, up: c.better !== "higher" }))], ordered.map((it) => {
    const tr = el("tr", null, { class: "pick", "data-item": it.id }), what = troubles.get(it.id);
    tr.append(el("td", it.id), el("td", it.kind, { class: "text" }), el("td", it.instruction, { class: "text" }), el("td", what.short, { class: "lost", title: what.text, "data-value": what.rank }));
    for (const m of names) { const s = scoreOf(c, m, it.id), v = s && s.values[c.name]; tr.append(el("td", v === undefined ? (s && s.status === "failed" ? "failed" : s && s.status === "unscored" ? "not scored" : "–") : number(v, c), { "data-value": v ?? "", title: (s && s.reason) || "", class: s && (s.status === "failed" || s.status === "unscored") ? "lost" : "" })); }
    tr.addEventListener("click", () => { show(it.id); $("viewer").scrollIntoView({ behavior: "smooth" }); });
    return tr;
  }));
  mark(); filter();
}
// Shows the rows that hold every word of the search.
function filter() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), rows = [...document.querySelectorAll("#items tr.pick")];
  for (const tr of rows) {
    const it = itemOf.get(tr.dataset.item), what = troubles.get(it.id), text = `${it.id} ${it.kind} ${it.instruction} ${what.short} ${what.text}`.toLowerCase();
    tr.hidden = !words.every((w) => text.includes(w)) || ($("troubled").checked && !what.rank);
  }
  const visible = rows.filter((tr) => !tr.hidden).length;
  $("found").textContent = `${visible === rows.length ? "" : `${visible} of `}${count(rows.length, "item")}; those with problems first. A click shows an item's clips.`;
}
