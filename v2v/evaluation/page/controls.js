// Wires the controls below a page's players: play, single frames, speed, difference, size, and keys.
players.onframe = (k) => { $("scrub").value = k; $("frame").value = `${k + 1} / ${players.length}`; };
$("play").onclick = () => { if (players.playing) players.pause(); else players.play(); $("play").textContent = players.playing || $("play").textContent === "play" ? "pause" : "play"; };
const still = () => { players.pause(); $("play").textContent = "play"; };
$("scrub").oninput = (e) => { still(); players.seek(Number(e.target.value)); };
$("back").onclick = () => { still(); players.seek(players.frame - 1); };
$("forth").onclick = () => { still(); players.seek(players.frame + 1); };
$("speed").onchange = (e) => { players.rate = Number(e.target.value); for (const c of players.clips) c.video.playbackRate = players.rate; };
$("mode").onchange = (e) => { players.mode = e.target.value; players.draw(); };
$("gain").oninput = (e) => { players.gain = Number(e.target.value); players.draw(); };
$("zoom").oninput = (e) => { players.size = Number(e.target.value); players.resize(); };
document.addEventListener("keydown", (e) => {
  if (/INPUT|SELECT|BUTTON|TH/.test(e.target.tagName)) return;
  const keys = { " ": "play", ArrowLeft: "back", ArrowRight: "forth" };
  if (keys[e.key]) { e.preventDefault(); $(keys[e.key]).click(); }
});
