// A blind comparison: which side is which method isn't in this page. Votes are kept in the browser and saved as a JSON file.
const $ = (id) => document.getElementById(id), D = JSON.parse($("data").textContent), M = JSON.parse($("media").textContent);
const players = new Players($("screens"), M), memory = "v2v-study-" + D.study;
let votes = {}, at = 0, since = 0;
try { const kept = JSON.parse(localStorage.getItem(memory) || "{}"); votes = kept.votes || {}; $("rater").value = kept.rater || ""; at = kept.at || 0; } catch { /* a browser that keeps nothing */ }
const keep = () => { try { localStorage.setItem(memory, JSON.stringify({ votes, rater: $("rater").value, at })); } catch { /* same */ } };
const whole = (id) => D.questions.every((q) => votes[id] && q.id in votes[id]);

for (const q of D.questions) {
  const block = document.createElement("div"), row = document.createElement("div"), text = document.createElement("strong");
  text.textContent = q.text; row.className = "choice"; row.dataset.question = q.id;
  for (const [value, label] of [["left", "left"], ["tie", "no difference"], ["right", "right"]]) {
    const button = document.createElement("button");
    button.textContent = label; button.dataset.value = value;
    button.onclick = () => {
      const pair = D.pairs[at]; votes[pair.id] = { ...votes[pair.id], [q.id]: value, seconds: Math.round((performance.now() - since) / 100) / 10 };
      keep(); paint();
    };
    row.append(button);
  }
  block.append(text, row); $("questions").append(block);
}
function paint() {
  const pair = D.pairs[at], answered = D.pairs.filter((p) => whole(p.id)).length;
  for (const row of document.querySelectorAll(".choice")) for (const b of row.children) b.setAttribute("aria-pressed", String((votes[pair.id] || {})[row.dataset.question] === b.dataset.value));
  $("where").textContent = `pair ${at + 1} of ${D.pairs.length}`; $("progress").value = answered / D.pairs.length;
  $("after").disabled = at + 1 >= D.pairs.length || !whole(pair.id); $("before").disabled = at === 0; $("done").hidden = answered < D.pairs.length;
}
async function show(k) {
  at = Math.min(Math.max(0, k), D.pairs.length - 1); keep(); paint();
  const pair = D.pairs[at]; since = performance.now(); $("sentence").textContent = "“" + pair.instruction + "”"; $("play").textContent = "play";
  try { await players.load([{ label: "source", id: pair.source }, { label: "left", id: pair.left }, { label: "right", id: pair.right }], pair.fps); $("scrub").max = players.length - 1; await players.play(); $("play").textContent = "pause"; } catch (error) { console.error(error); }
}
players.size = 320;
players.onframe = (k) => { $("scrub").value = k; $("frame").value = `${k + 1} / ${players.length}`; };
$("play").onclick = () => { if (players.playing) { players.pause(); $("play").textContent = "play"; } else { players.play(); $("play").textContent = "pause"; } };
$("scrub").oninput = (e) => { players.pause(); $("play").textContent = "play"; players.seek(Number(e.target.value)); };
$("before").onclick = () => show(at - 1);
$("after").onclick = () => show(at + 1);
$("rater").oninput = keep;
$("save").onclick = () => {
  const rater = $("rater").value.trim();
  if (!rater) { $("rater").focus(); $("rater").placeholder = "needed"; return; }
  const text = JSON.stringify({ study: D.study, rater, votes }, null, 1), link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `votes-${rater.replace(/\W+/g, "_")}.json`; link.click();
};
show(at);
