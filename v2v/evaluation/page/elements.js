// Elements, tables and plots of every page.
const $ = (id) => document.getElementById(id);
const COLOURS = ["#2a6fdb", "#d9822b", "#1a9f5f", "#b04fc4", "#c0392b", "#5f7381"];
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
function el(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.append(text);
  for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
  return made;
}

// A table whose headers sort its rows: by data-value where given, by text otherwise; missing values last.
function sortable(table, heads, rows) {
  const head = el("thead"), line = el("tr"), body = el("tbody");
  heads.forEach((h, i) => {
    const th = el("th", h.text, { class: "sort" + (h.words ? " text" : ""), tabindex: "0", title: h.about || "" });
    const sort = () => {
      const up = th.getAttribute("aria-sort") !== (h.up === false ? "descending" : "ascending") ? h.up !== false : h.up === false;
      for (const t of line.children) t.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (tr) => tr.children[i].dataset.value ?? tr.children[i].textContent;
      const sorted = [...body.children].sort((a, b) => {
        const x = key(a), y = key(b), gone = (x === "") - (y === "");
        if (gone) return gone;
        const order = h.words ? x.localeCompare(y, undefined, { numeric: true }) : Number(x) - Number(y);
        return up ? order : -order;
      });
      body.append(...sorted);
    };
    th.addEventListener("click", sort);
    th.addEventListener("keydown", (e) => { if (e.key === "Enter") sort(); });
    line.append(th);
  });
  head.append(line); body.append(...rows); table.replaceChildren(head, body);
}
/** A name as a plot has room for it; its dot tells the whole. */
function label(name) {
  return name.length > 24 ? name.slice(0, 23) + "…" : name;
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
  if (text !== undefined) made.textContent = text;
  return made;
}
