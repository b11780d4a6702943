// Wires the players' controls and fills the page once.
const players = new Players($("screens"), M.media);
let current = null;
const mark = () => { for (const tr of document.querySelectorAll("#items tr.pick")) tr.classList.toggle("now", tr.dataset.item === current); };
const shown = () => D.items.filter((i) => i.id in M.items && ($("clip-kind").value === "all" || i.kind === $("clip-kind").value));
function listItems() {
  $("item").replaceChildren(...shown().map((i) => el("option", `${i.id}: ${i.instruction}`.slice(0, 90), { value: i.id })));
}
async function show(id) {
  const clips = M.items[id], it = itemOf.get(id);
  if (!clips) return;
  if (![...$("item").options].some((o) => o.value === id)) { $("clip-kind").value = "all"; listItems(); }
  current = id; $("item").value = id; mark();
  history.replaceState(null, "", "#item=" + encodeURIComponent(id));
  $("sentence").replaceChildren(`“${it.instruction}” (${it.kind}) `, el("a", "link", { class: "link", href: location.hash, title: "link to this item" }));
  $("answers").replaceChildren(...D.methods.flatMap((m) => details(m.name, id)));
  const wanted = clips.clips.map((c) => ({ ...c, note: c.method === undefined ? "" : note(c.method, id) }));
  const modes = ["plain", ...wanted.map((w) => w.label)], kept = modes.includes(players.mode) ? players.mode : "plain";
  $("mode").replaceChildren(...modes.map((m) => el("option", m === "plain" ? "clips" : `difference from ${m}`, { value: m })));
  $("mode").value = players.mode = kept; $("play").textContent = "play";
  try { await players.load(wanted, clips.fps); } catch (error) { $("clips-note").textContent = error.message; console.error(error); return; }
  if (current === id) $("scrub").max = players.length - 1;
}
// What stands behind the figures of one method: all scores, and the judge's answers in its own words.
function details(method, id) {
  const found = (scoresOf.get(id) || []).filter((s) => s.method === method), edit = (editsOf.get(id) || []).find((e) => e.method === method);
  const lines = found.flatMap((s) => (s.status === "ok" ? Object.entries(s.values).map(([k, v]) => `${k}: ${number(v)}`) : s.status === "n/a" ? [] : [`${s.metric}: ${s.status}: ${s.reason}`]));
  if (edit && edit.seconds !== null) lines.push(`seconds: ${edit.seconds}`);
  if (edit && edit.reason) lines.unshift(`${edit.refused ? "refused" : "failed"}: ${edit.reason}`);
  const answers = found.flatMap((s) => (s.notes.answers || []).map((a) => [s.metric, a.text]));
  if (!lines.length && !answers.length) return [];
  const box = el("details"); box.append(el("summary", method + (answers.length ? ": scores and the judge's answers" : ": scores")), el("pre", lines.join("\n")));
  for (const [metric, text] of answers) box.append(el("small", metric), el("pre", text));
  return [box];
}
function note(method, id) {
  const edit = (editsOf.get(id) || []).find((e) => e.method === method), values = D.columns.map((c) => [c, scoreOf(c, method, id)]).filter(([c, s]) => s && c.name in s.values);
  return values.slice(0, 6).map(([c, s]) => `${c.name} ${c.rate ? (s.values[c.name] ? "yes" : "no") : number(s.values[c.name])}`).join(" · ") + (edit && edit.rule ? ` · ${edit.rule}` : "") + (edit && edit.notes.length ? ` · ${edit.notes.join("; ")}` : "");
}
$("item").onchange = (e) => show(e.target.value);
$("clip-kind").onchange = () => { listItems(); if (shown().length) show(shown()[0].id); };
const step = (by) => { const ids = shown().map((i) => i.id); if (ids.length) show(ids[(ids.indexOf(current) + by + ids.length) % ids.length]); };
$("before").onclick = () => step(-1);
$("after").onclick = () => step(1);

$("lead").textContent = `${D.benchmark.name}${D.benchmark.version ? " " + D.benchmark.version : ""}: ${count(D.items.length, "item")}, ${count(D.kinds.length, "kind")} of edit, ${count(D.methods.length, "method")}. ${D.benchmark.about}`;
if (D.problems.length) {
  const list = el("ul"); list.append(...D.problems.slice(0, 200).map((p) => el("li", p)));
  $("problems").append(el("strong", count(D.problems.length, "problem")), list); $("problems").hidden = false;
}
for (const [id, names] of [["kind", ["all", ...D.kinds]], ["clip-kind", ["all", ...D.kinds]], ["column", D.columns.map((c) => c.name)]])
  $(id).replaceChildren(...names.map((n) => el("option", n, { value: n })));
$("search").oninput = $("troubled").onchange = filter;
const linked = () => { const id = decodeURIComponent((location.hash.match(/^#item=(.*)$/) || [])[1] || ""); return id in M.items ? id : null; };
window.addEventListener("hashchange", () => { if (linked() && linked() !== current) show(linked()); });
$("kind").onchange = scores; $("column").onchange = detail;
sortable($("methods"), [{ text: "method", words: true }, { text: "settings", words: true }], D.methods.map((m) => {
  const tr = el("tr"); tr.append(el("td", m.name), el("td", Object.entries(m.settings).map(([k, v]) => `${k} ${v}`).join(", "), { class: "text" })); return tr;
}));
$("stamp").textContent = `Made ${D.stamp.made}, Python ${D.stamp.python}, ${Object.entries(D.stamp.packages).map(([k, v]) => `${k} ${v}`).join(", ")}${D.stamp.commit ? ", commit " + D.stamp.commit.slice(0, 12) : ""}.` + (D.published || []).map((p) => ` Italic rows: ${p.title} (${p.source}).`).join("");
$("clips-note").textContent = M.note;
scores(); detail(); listItems();
const asked = linked();
if (asked) { show(asked); $("viewer").scrollIntoView(); } else if (shown().length) show(shown()[0].id); else $("viewer").hidden = true;
