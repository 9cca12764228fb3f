"use strict";
// The state of the page is the number of the frame, the pinned node, and what the nodes are coloured by; `show` draws it.

const { nodes, frames, sums, scale, inks } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
let step = 0, pinned = null, timer = null;

const besides = (id) => id.startsWith("legend") || id.startsWith("corner");

const figures = {};
for (const phase of ["forward", "backward"]) {
  const parts = new Map();
  for (const group of at(phase).querySelectorAll("g.node, g.edge")) parts.set(group.dataset.id, group);
  figures[phase] = parts;
  for (const [id, group] of parts) {
    if (!group.classList.contains("node") || besides(id)) continue;
    group.setAttribute("tabindex", "-1");
    group.addEventListener("click", () => pin(id));
  }
}

// The gradients as they are after a frame: id -> {total, count of terms}.
function gradientsAfter(last) {
  const found = new Map();
  for (const frame of frames.slice(0, last + 1)) {
    if (frame.phase !== "backward") continue;
    const known = found.get(frame.to);
    found.set(frame.to, { total: frame.total, count: (known ? known.count : 0) + 1 });
  }
  return found;
}

function seenAfter(last) {
  const seen = { forward: new Set(), backward: new Set() };
  for (const frame of frames.slice(0, last + 1)) {
    for (const id of frame.nodes) seen[frame.phase].add(id);
    if (frame.edge) seen[frame.phase].add(frame.edge);
  }
  return seen;
}

function show() {
  const frame = frames[step], seen = seenAfter(step), gradients = gradientsAfter(step);
  for (const phase of ["forward", "backward"]) at(phase).hidden = phase !== frame.phase;
  const parts = figures[frame.phase], reached = seen[frame.phase];
  for (const [id, group] of parts) {
    const ends = id.split("->");
    let there = reached.has(id) || besides(id);
    if (frame.phase === "forward" && ends.length === 2) there = ends.every((end) => reached.has(end));
    if (frame.phase === "backward" && /^sum\d+->total\d+$/.test(id)) there = reached.has(ends[1]);
    if (frame.phase === "backward" && nodes[id] && !nodes[id].wants) there = true;
    group.classList.toggle("later", !there);
    group.classList.toggle("now", frame.nodes.includes(id) && step > 0 || frame.edge === id);
    group.classList.toggle("pin", id === pinned);
  }
  colour(parts, gradients, frame.phase);
  panel(frame, gradients);
  grow(frame, gradients);
  at("slider").value = step;
  at("slider").setAttribute("aria-valuetext", `step ${step} of ${frames.length - 1}`);
  at("count").textContent = `${step} / ${frames.length - 1}`;
  const address = `#step=${step}` + (pinned === null ? "" : `&pin=${encodeURIComponent(pinned)}`);
  if (location.hash !== address) history.replaceState(null, "", address);
}

function panel(frame, gradients) {
  const total = /^total(\d+)$/.exec(frame.to || "");
  const id = pinned !== null ? pinned : frame.phase === "forward" ? frame.nodes[0] : frame.to;
  const node = nodes[id], sum = sums.find((s) => s.id === id), gradient = gradients.get(id);
  const given = step === 0 && pinned === null;
  at("phase").textContent = given ? "forward" : frame.phase === "forward" ? "forward: a value" : "backward: a gradient";
  at("pinned").hidden = pinned === null;
  if (given) {
    at("name").textContent = "Given";
    at("equation").textContent = frame.text;
    at("numbers").textContent = "";
    array("value", "", null);
    array("gradient", "", null);
    return;
  }
  const label = node ? node.name : sum.name;
  const backward = frame.phase === "backward";
  at("name").innerHTML = backward && node && node.wants ? node.gradient : label;
  let equation = node && node.equation ? `${node.name} = ${node.equation}` : "";
  let numbers = node && node.numbers ? `= ${node.numbers}` : "";
  if (backward && pinned === null) {
    if (total) {
      equation = grown(sum.name, nodes[frame.from].gradient, gradient);
    } else if (frame.from) {
      equation = grown(node.gradient, `${nodes[frame.from].gradient} · ${frame.derivative}`, gradient);
    } else equation = `${node.gradient.replace(/^(<I>d<\/I>)?/, "∂")}/∂${node.name} = 1`;
    numbers = `${gradient.count > 1 ? "+" : "="} ${matrix(frame.term)}`;
  }
  at("equation").innerHTML = equation;
  at("numbers").innerHTML = numbers;
  if (node) array("value", `value, ${shape(node.shape)}`, node);
  else array("value", "the term that is added", frame.term);
  if (gradient) array("gradient", `gradient so far, ${shape(gradient.total.shape)}`, gradient.total);
  else array("gradient", node && node.wants ? "gradient: –" : "needs no gradient", null);
}

// What a gradient is after its first term, and after another.
function grown(name, term, gradient) {
  return gradient.count > 1 ? `${name} ← ${name} + ${term}` : `${name} = ${term}`;
}

function grow(frame, gradients) {
  const rows = at("sums");
  while (rows.children.length < sums.length) {
    const row = rows.insertRow();
    for (let i = 0; i < 3; i++) row.insertCell();
    row.insertCell().appendChild(document.createElement("canvas"));
  }
  sums.forEach((sum, i) => {
    const row = rows.children[i], gradient = gradients.get(sum.id);
    row.className = frame.to === sum.id ? "now" : "";
    row.dataset.sum = sum.plain;
    row.dataset.values = gradient && gradient.total.values ? JSON.stringify(gradient.total.values) : "";
    row.cells[0].innerHTML = sum.name;
    row.cells[1].textContent = `${gradient ? gradient.count : 0} of ${sum.terms}`;
    row.cells[2].textContent = gradient ? number(gradient.total.norm) : "–";
    heat(row.cells[3].firstChild, gradient ? gradient.total : null, 6);
  });
}

function number(x, digits = 6) {
  return Number(Number(x).toPrecision(digits)).toString().replace("-", "−");
}

function shape(lengths) {
  return lengths.length === 0 ? "a number" : `shape (${lengths.join(", ")}${lengths.length === 1 ? "," : ""})`;
}

function matrix(array) {
  if (!array.values || array.values.length > 24 || array.shape.length > 2) return `[${array.shape.join("×")}]`;
  const columns = array.shape.length === 2 ? array.shape[1] : 1;
  const cell = (x) => `<td>${number(x, 3)}</td>`;
  let rows = "";
  for (let i = 0; i < array.values.length; i += columns) rows += `<tr>${array.values.slice(i, i + columns).map(cell).join("")}</tr>`;
  return `<table class="matrix">${rows}</table>`;
}

function array(id, caption, data) {
  at(`${id}-caption`).textContent = caption;
  at(id).textContent = data === null ? "" : data.values === null ? `norm ${number(data.norm)}` : lines(data);
  heat(at(`${id}-map`), data, 14);
  at(`${id}-map`).setAttribute("aria-label", data === null ? "" : `${caption}, norm ${number(data.norm)}`);
}

function lines(data) {
  const columns = data.shape.length ? data.shape[data.shape.length - 1] : 1;
  const rows = [];
  for (let i = 0; i < data.values.length; i += columns) rows.push(data.values.slice(i, i + columns).map((x) => number(x)).join("  "));
  return rows.join("\n");
}

// Blue is negative and red is positive, the deeper the larger; a vector is a row.
function heat(canvas, data, pixels) {
  canvas.hidden = data === null || data.values === null || data.values.length === 0;
  if (canvas.hidden) return;
  const columns = data.shape.length ? data.shape[data.shape.length - 1] : 1, rows = data.values.length / columns;
  const size = Math.max(2, Math.min(pixels, Math.floor(320 / columns)));
  canvas.width = columns * size;
  canvas.height = rows * size;
  const finite = data.values.map(Number).filter(Number.isFinite);
  const context = canvas.getContext("2d"), most = Math.max(0, ...finite.map(Math.abs)) || 1;
  data.values.map(Number).forEach((x, i) => {
    const part = Number.isFinite(x) ? Math.abs(x) / most : 1, faded = Math.round(255 * (1 - part));
    context.fillStyle = x < 0 ? `rgb(${faded}, ${Math.round(255 - 140 * part)}, 255)` : `rgb(255, ${Math.round(255 - 170 * part)}, ${faded})`;
    context.fillRect((i % columns) * size, Math.floor(i / columns) * size, size, size);
  });
}

function colour(parts, gradients, phase) {
  const by = at("colour").value, norms = new Map();
  for (const [id, group] of parts) {
    const shapeOf = group.querySelector("ellipse, polygon");
    if (!shapeOf || !group.classList.contains("node") || besides(id)) continue;
    shapeOf.style.fill = "";
    group.querySelectorAll("text").forEach((text) => (text.style.fill = ""));
    const found = by === "value" ? nodes[id] : by === "gradient" && phase === "backward" ? (gradients.get(id) || {}).total : null;
    if (found && found.norm > 0 && Number.isFinite(Number(found.norm))) norms.set(id, [Math.log10(found.norm), shapeOf, group]);
  }
  const powers = [...norms.values()].map(([power]) => power);
  const low = Math.floor(Math.min(...powers)), high = Math.max(low + 1, Math.ceil(Math.max(...powers)));
  for (const [power, shapeOf, group] of norms.values()) {
    const i = Math.min(scale.length - 1, Math.floor(((power - low) / (high - low)) * scale.length));
    shapeOf.style.fill = scale[i];
    group.querySelectorAll("text").forEach((text) => (text.style.fill = inks[i]));
  }
}

function go(to) {
  step = Math.max(0, Math.min(frames.length - 1, to));
  if (step === frames.length - 1) pause();
  show();
}

function pin(id) {
  pinned = pinned === id || !nodes[id] ? null : id;
  show();
}

function play() {
  if (step === frames.length - 1) step = 0;
  timer = setInterval(() => go(step + 1), Number(at("speed").value));
  at("play").textContent = "❚❚ pause";
  at("play").setAttribute("aria-pressed", "true");
  at("play").setAttribute("aria-label", "pause");
  show();
}

function pause() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "▶ play";
  at("play").setAttribute("aria-pressed", "false");
  at("play").setAttribute("aria-label", "play");
}

const toggle = () => (timer === null ? play() : pause());
const byHand = (to) => { pause(); go(to); };
at("first").onclick = () => byHand(0);
at("back").onclick = () => byHand(step - 1);
at("play").onclick = toggle;
at("on").onclick = () => byHand(step + 1);
at("last").onclick = () => byHand(frames.length - 1);
at("slider").max = frames.length - 1;
at("slider").oninput = (event) => byHand(Number(event.target.value));
at("speed").onchange = () => { if (timer !== null) { pause(); play(); } };
at("colour").onchange = show;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (event.key === " " && event.target.tagName === "BUTTON") return; // which it presses
  const steps = { ArrowRight: () => byHand(step + 1), ArrowLeft: () => byHand(step - 1), Home: () => byHand(0), End: () => byHand(frames.length - 1), " ": toggle, Escape: () => { pinned = null; show(); } };
  if (!steps[event.key]) return;
  event.preventDefault();
  steps[event.key]();
});

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const wanted = Number(asked.get("step"));
  step = Number.isFinite(wanted) ? Math.max(0, Math.min(frames.length - 1, Math.trunc(wanted))) : 0;
  pinned = nodes[asked.get("pin")] ? asked.get("pin") : null;
  show();
}

window.addEventListener("hashchange", restore);
restore();
