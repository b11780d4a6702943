// One rater's votes. Which side is which method isn't known here. What the server hasn't confirmed is kept in the browser and sent again until it has.
const $ = (id) => document.getElementById(id);
const home = location.pathname.replace(/\/$/, ""), memory = "v2v-votes" + home, LABELS = { left: "left", tie: "no difference", right: "right" };
const KEYS = { ArrowLeft: "left", ArrowDown: "tie", ArrowRight: "right" };
let study, at = 0, since = 0, unsent = [], sending = false, media = {};
const players = new Players($("screens"), media);
try { unsent = JSON.parse(localStorage.getItem(memory) || "[]"); } catch { /* a browser that keeps nothing */ }
const keep = () => { try { localStorage.setItem(memory, JSON.stringify(unsent)); } catch { /* same */ } };
const answersOf = (k) => study.answers[k] || {};
const unanswered = (k) => study.questions.find((q) => !(q.id in answersOf(k)));

function answer(question, choice) {
  study.answers[at] = { ...answersOf(at), [question]: choice };
  unsent = unsent.filter((v) => v.trial !== at || v.question !== question);
  unsent.push({ trial: at, question, choice, seconds: Math.round((performance.now() - since) / 100) / 10 });
  keep(); paint(); send();
}
async function send() {
  if (sending) return;
  sending = true;
  for (let wait = 500; unsent.length; ) {
    const vote = unsent[0];
    paintState(wait > 500);
    try {
      const reply = await fetch(home + "/votes", { method: "POST", body: JSON.stringify(vote), headers: { "Content-Type": "application/json" } });
      if (reply.status >= 500) throw new Error(String(reply.status));
      if (!reply.ok) $("message").textContent = (await reply.json()).error.message;
      unsent = unsent.filter((v) => v !== vote); keep(); wait = 500;
    } catch { await new Promise((done) => setTimeout(done, wait)); wait = Math.min(8000, wait * 2); }
  }
  sending = false; paintState(false);
}
function paintState(late) {
  $("saved").textContent = !unsent.length ? "all answers saved" : late ? unsent.length + " not saved yet, trying again" : "saving";
  $("saved").className = late ? "late" : "";
}
function paint() {
  const total = study.trials.length, whole = study.trials.filter((_, k) => !unanswered(k)).length, now = unanswered(at);
  for (const block of $("questions").children) {
    block.classList.toggle("now", Boolean(now) && now.id === block.dataset.question);
    for (const b of block.querySelectorAll("button")) b.setAttribute("aria-pressed", String(answersOf(at)[block.dataset.question] === b.dataset.value));
  }
  $("where").textContent = `pair ${at + 1} of ${total}`; $("progress").value = whole / total;
  $("after").disabled = at + 1 >= total || Boolean(now); $("before").disabled = at === 0; $("done").hidden = whole < total;
  paintState(false);
}
async function show(k) {
  at = Math.min(Math.max(0, k), study.trials.length - 1); paint();
  const trial = study.trials[at], roles = ["source", "left", "right"];
  $("sentence").textContent = "“" + trial.instruction + "”"; since = performance.now();
  const clips = roles.map((role) => { const id = at + "/" + role; media[id] = { ...trial.media[role], url: home + "/clips/" + id }; return { label: role === "source" ? "before" : role, id }; });
  try { await players.load(clips, trial.fps); $("scrub").max = players.length - 1; await players.play(); $("play").textContent = "pause"; $("message").textContent = ""; since = performance.now(); }
  catch (error) { $("message").textContent = error.message + "; reload the page"; }
}
function move(by) { if (by < 0 ? !$("before").disabled : !$("after").disabled) show(at + by); }
function toggle() { if (players.playing) players.pause(); else players.play(); $("play").textContent = $("play").textContent === "play" ? "pause" : "play"; }

players.onframe = (k) => { $("scrub").value = k; $("frame").value = `${k + 1} / ${players.length}`; };
$("play").onclick = toggle;
$("scrub").oninput = (e) => { players.pause(); $("play").textContent = "play"; players.seek(Number(e.target.value)); };
$("before").onclick = () => move(-1);
$("after").onclick = () => move(1);
document.addEventListener("keydown", (e) => {
  if (!study || e.ctrlKey || e.metaKey || e.altKey || e.target.tagName === "INPUT") return;
  const button = e.target.tagName === "BUTTON" && (e.key === "Enter" || e.key === " ");
  if (KEYS[e.key]) { const now = unanswered(at); e.preventDefault(); if (now) answer(now.id, KEYS[e.key]); }
  else if (e.key === "Enter" && !button) move(1);
  else if (e.key === "Backspace") { e.preventDefault(); move(-1); }
  else if (e.key === " " && !button) { e.preventDefault(); toggle(); }
});
addEventListener("beforeunload", (e) => { if (unsent.length) e.preventDefault(); });

async function begin() {
  const reply = await fetch(home + "/trials");
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  study = await reply.json();
  for (const v of unsent) study.answers[v.trial] = { ...answersOf(v.trial), [v.question]: v.choice };
  for (const q of study.questions) {
    const block = document.createElement("div"), row = document.createElement("div"), text = document.createElement("strong");
    text.textContent = q.text; row.className = "choice"; block.className = "question"; block.dataset.question = q.id;
    row.setAttribute("role", "group"); row.setAttribute("aria-label", q.text);
    for (const value of ["left", "tie", "right"]) {
      const button = document.createElement("button");
      button.textContent = LABELS[value]; button.dataset.value = value;
      button.onclick = () => { button.blur(); answer(q.id, value); };
      row.append(button);
    }
    block.append(text, row); $("questions").append(block);
  }
  $("main").hidden = false; send();
  const first = study.trials.findIndex((_, k) => unanswered(k));
  await show(first < 0 ? study.trials.length - 1 : first);
}
begin().catch((error) => { $("message").textContent = error.message; });
