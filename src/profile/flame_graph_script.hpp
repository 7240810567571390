// What makes a flame graph interactive: zoom and search, in the SVG itself.
#pragma once

namespace libprobe::profile {

// A frame is a <g class="frame"> with data-from, data-weight and data-depth; it holds a title, a rect and a
// text. The <svg> has data-total, data-left, data-width and data-letter (the width of one).
inline constexpr const char* flame_graph_script = R"js(
const picture = document.querySelector("svg.flame");
const number = (element, name) => Number(element.dataset[name]);
const frames = [...picture.querySelectorAll("g.frame")].map(g => ({
  g, rect: g.querySelector("rect"), text: g.querySelector("text"), name: g.dataset.name,
  from: number(g, "from"), weight: number(g, "weight"), depth: number(g, "depth")}));
const left = number(picture, "left"), width = number(picture, "width");
const letter = number(picture, "letter"), total = number(picture, "total");
const status = picture.querySelector(".status"), reset = picture.querySelector(".reset");
let query = "";

function label(one, x, w) {
  const room = Math.floor((w - 6) / letter);
  const shown = room < 3 ? "" : one.name.length <= room ? one.name : one.name.slice(0, room - 2) + "..";
  if (shown === "" && one.text === null) return;
  if (one.text === null) {
    one.text = one.g.appendChild(document.createElementNS(picture.namespaceURI, "text"));
    one.text.setAttribute("y", Number(one.rect.getAttribute("y")) + 12);
  }
  one.text.setAttribute("x", x + 3);
  one.text.textContent = shown;
}

function zoom(to) {
  const scale = width / to.weight, end = to.from + to.weight;
  for (const one of frames) {
    const outer = one.depth < to.depth && one.from <= to.from && one.from + one.weight >= end;
    const inner = one.depth >= to.depth && one.from >= to.from && one.from + one.weight <= end;
    one.g.style.display = outer || inner ? "" : "none";
    one.g.classList.toggle("outer", outer);
    const x = outer ? left : left + (one.from - to.from) * scale, w = outer ? width : one.weight * scale;
    one.rect.setAttribute("x", x);
    one.rect.setAttribute("width", w);
    label(one, x, w);
  }
  reset.style.display = to.weight < total ? "" : "none";
}

function search(text) {
  query = text;
  const wanted = text.toLowerCase();
  let sum = 0, end = -1;
  for (const one of frames) one.found = wanted !== "" && one.name.toLowerCase().includes(wanted);
  for (const one of frames) one.g.classList.toggle("found", one.found);
  // Callers come before what they call and cover it, so each stack counts once.
  for (const one of frames.filter(one => one.found).sort((a, b) => a.from - b.from || b.weight - a.weight)) {
    if (one.from < end) continue;
    sum += one.weight;
    end = one.from + one.weight;
  }
  status.textContent = wanted === "" ? status.dataset.hint
    : `"${text}": ${(100 * sum / total).toFixed(1)} %`;
}

for (const one of frames) one.g.addEventListener("click", () => zoom(one));
reset.addEventListener("click", () => zoom(frames[0]));
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") { search(""); zoom(frames[0]); }
  else if (event.key === "Backspace") search(query.slice(0, -1));
  else if (event.key.length === 1) search(query + event.key);
  else return;
  event.preventDefault();
});
zoom(frames[0]);
)js";

}  // namespace libprobe::profile
