"use strict";
// The state of the page is the number of the frame, the pinned node, and what the nodes are coloured by; `show` draws it.

const { nodes, frames, sums, scale, inks } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const nodeOf = (id) => (Object.hasOwn(nodes, id) ? nodes[id] : null);
const sumOf = (id) => sums.find((sum) => sum.id === id);
const numbersOf = (data) => data.values.map(Number);
const norm = (data) => Number(data.values ? Math.hypot(...numbersOf(data)) : data.norm);
let step = 0, pinned = null, timer = null;

// What a frame adds to a gradient, and that gradient before and after it. The data holds no array twice.
const gradientsInTheEnd = new Map();
for (const frame of frames.filter((frame) => frame.phase === "backward")) {
  const known = gradientsInTheEnd.get(frame.to);
  frame.term ??= gradientsInTheEnd.get(frame.from).total;
  frame.total ??= frame.term;
  frame.before = known ? known.total : null;
  frame.count = known ? known.count + 1 : 1;
  gradientsInTheEnd.set(frame.to, frame);
}

const together = frames.find((frame) => frame.steps);
if (together) at("terms").textContent += `, one for ${together.steps}`;

// Of every sum the largest number that it has at any time, and the span of all norms as powers of ten.
const largest = new Map();
for (const { to, total } of frames) {
  if (total && total.values) largest.set(to, Math.max(largest.get(to) || 0, ...numbersOf(total).map(Math.abs).filter(Number.isFinite)));
}
const spans = { value: span(Object.values(nodes).filter((node) => node.shape)), gradient: span(frames.filter((frame) => frame.to).map((frame) => frame.total)) };

function span(arrays) {
  const powers = arrays.map((data) => Math.log10(norm(data))).filter(Number.isFinite);
  const low = Math.floor(powers.reduce((a, b) => Math.min(a, b), Infinity)), high = Math.ceil(powers.reduce((a, b) => Math.max(a, b), -Infinity));
  return powers.length === 0 ? [-1, 0] : high > low ? [low, high] : [low - 1, high];
}

// What can be pinned: the nodes, and the sums with their Σ.
const choice = (id) => (id === null ? null : nodeOf(id) ? id : sumOf(id.replace(/^sum(?=\d)/, "total")) ? id.replace(/^sum(?=\d)/, "total") : null);
const besides = (id) => !id.includes("->") && choice(id) === null;

const figures = {};
for (const phase of ["forward", "backward"]) {
  const parts = (figures[phase] = new Map());
  for (const svg of at(phase).querySelectorAll("svg")) svg.setAttribute("role", "group");
  for (const group of at(phase).querySelectorAll("g.node, g.edge")) parts.set(group.dataset.id, group);
  for (const [id, group] of parts) {
    if (!group.classList.contains("node") || choice(id) === null) continue;
    group.classList.add("choice");
    group.setAttribute("role", "button");
    group.setAttribute("aria-label", group.querySelector("title") ? group.querySelector("title").textContent : nodes[id].plain);
    group.addEventListener("click", () => pin(id));
    group.addEventListener("keydown", (event) => byKey(event, phase, id));
  }
}
const choices = (phase) => [...figures[phase].values()].filter((group) => group.classList.contains("choice"));

function gradientsAfter(last) {
  return new Map(frames.slice(0, last + 1).filter((frame) => frame.to).map((frame) => [frame.to, frame]));
}

function seenAfter(last) {
  const seen = { forward: new Set(), backward: new Set() };
  for (const frame of frames.slice(0, last + 1)) {
    for (const id of frame.shown) seen[frame.phase].add(id);
  }
  return seen;
}

function show() {
  const frame = frames[step], seen = seenAfter(step), gradients = gradientsAfter(step);
  for (const phase of ["forward", "backward"]) at(phase).hidden = phase !== frame.phase;
  document.body.classList.toggle("backward", frame.phase === "backward");
  const parts = figures[frame.phase], reached = seen[frame.phase], given = step === 0 && frame.text;
  for (const [id, group] of parts) {
    group.classList.toggle("later", !reached.has(id) && !besides(id));
    group.classList.toggle("now", (frame.nodes.includes(id) && !given) || frame.edge === id);
    group.classList.toggle("pin", id === pinned);
  }
  const current = parts.get(frame.to || frame.nodes[0]), stop = parts.get(pinned) || current;
  for (const group of choices(frame.phase)) {
    group.setAttribute("tabindex", group === stop ? "0" : "-1");
    group.setAttribute("aria-pressed", group === parts.get(pinned));
  }
  if (current) reveal(at("figure"), current, 60, 40);
  colour(parts, gradients, frame.phase);
  panel(frame, seen, gradients);
  grow(frame, gradients);
  at("slider").value = step;
  at("slider").setAttribute("aria-valuetext", `step ${step} of ${frames.length - 1}`);
  at("count").textContent = `${step} / ${frames.length - 1}`;
  if (timer === null) at("said").textContent = `Step ${step} of ${frames.length - 1}, ${frame.phase}: ${at("equation").textContent} ${at("note").textContent}`;
  const asked = { step, ...(pinned === null ? {} : { pin: pinned }), ...(at("colour").value ? { colour: at("colour").value } : {}) };
  const address = `#${new URLSearchParams(asked)}`;
  if (location.hash !== address) history.replaceState(null, "", address);
}

// A frame's own words, or the equation of a node and of its gradient: of the current one, or of the pinned one both.
function panel(frame, seen, gradients) {
  const id = pinned !== null ? pinned : frame.to || frame.nodes[0], backward = frame.phase === "backward";
  const node = nodeOf(id), sum = sumOf(id), gradient = gradients.get(id), told = pinned === null && frame.text;
  const made = node && node.shape && seen.forward.has(id), own = node && (pinned !== null || !backward);
  at("phase").textContent = told ? "forward" : backward ? "backward: a gradient" : "forward: a value";
  at("pinned").hidden = pinned === null;
  if (told) at("name").textContent = step === 0 ? "Given" : "⋯";
  else at("name").innerHTML = own ? node.name : frame.name && pinned === null ? frame.name : node ? node.gradient || node.name : sum.name;
  at("equation").innerHTML = told ? frame.text : own ? node.equation || "" : gradient ? gradient.equation : "–";
  at("numbers").innerHTML = told ? "" : own ? (made && node.equation ? equals(node.numbers, node) : "") : gradient ? added(gradient) : "";
  at("back-equation").innerHTML = !own || !backward ? "" : gradient ? gradient.equation : node.wants ? `${node.gradient || "gradient"}: –` : "";
  at("back-numbers").innerHTML = own && backward && gradient ? added(gradient) : "";
  at("note").textContent = [pinned === null && frame.note, own ? node.note : gradient && pinned !== null && gradient.note].filter(Boolean).join(" ");
  if (told) array("value", "", null);
  else if (node) array("value", made ? `value, ${shape(node.shape)}` : node.shape ? "value: –" : node.plain, made ? node : null);
  else array("value", gradient ? "the term that was added last" : "", gradient ? gradient.term : null);
  if (told) array("gradient", "", null);
  else if (gradient) array("gradient", `gradient so far, ${shape(gradient.total.shape)}`, gradient.total);
  else array("gradient", !node || node.wants ? "gradient: –" : "needs no gradient", null);
}

const equals = (numbers, result) => (numbers ? `= ${filled(numbers)} ` : "") + `= ${matrix(result)}`;

// How a gradient has grown: by a product, or from one sum to the next.
function added(frame) {
  if (frame.count > 1) return `= ${matrix(frame.before)} + ${matrix(frame.term, true)} = ${matrix(frame.total)}`;
  return frame.from ? equals(frame.numbers, frame.term) : "";
}

// Numbers in which ⟦n3⟧ stands for a value, ⟦∂n3⟧ for a gradient, ⟦1,2;3,4⟧ for a matrix, ᵗ for its transpose.
function filled(numbers) {
  return numbers.replace(/⟦(ᵗ?)(∂?)([^⟧]*)⟧/g, (_, turned, gradient, text) => {
    const rows = text.split(";").map((row) => row.split(",").map(Number));
    const data = gradient ? gradientsInTheEnd.get(text).total : nodeOf(text) || { shape: [rows.length, rows[0].length], values: rows.flat() };
    return matrix(turned ? transposed(data) : data);
  });
}

function transposed({ shape, values }) {
  const [rows, columns] = shape.length === 2 ? shape : [shape[0], 1];
  return { shape: [columns, rows], values: values && values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]) };
}

function grow(frame, gradients) {
  at("growing").hidden = sums.length === 0;
  const rows = at("sums");
  while (rows.children.length < sums.length) {
    const row = rows.insertRow(), name = row.appendChild(document.createElement("th"));
    name.scope = "row";
    for (let i = 0; i < 2; i++) row.insertCell();
    row.insertCell().appendChild(document.createElement("canvas")).setAttribute("role", "img");
  }
  sums.forEach((sum, i) => {
    const row = rows.children[i], gradient = gradients.get(sum.id), canvas = row.cells[3].firstChild;
    row.className = frame.to === sum.id ? "now" : "";
    row.dataset.sum = sum.plain;
    row.dataset.values = gradient && gradient.total.values ? JSON.stringify(gradient.total.values) : "";
    row.cells[0].innerHTML = sum.name;
    row.cells[1].textContent = `${gradient ? gradient.count : 0} of ${sum.terms}`;
    row.cells[2].textContent = gradient ? number(norm(gradient.total)) : "–";
    heat(canvas, gradient ? gradient.total : null, 16, 96, largest.get(sum.id));
    canvas.setAttribute("aria-label", `${sum.plain} so far`);
  });
  const now = rows.querySelector(".now");
  if (now) reveal(at("growing"), now, 0, 30);
}

function number(x, digits = 6) {
  const size = Math.abs(Number(x)), tiny = Number.isFinite(size) && size !== 0 && (size < 1e-4 || size >= 1e7);
  if (!tiny) return String(Number(Number(x).toPrecision(digits))).replaceAll("-", "−");
  const [first, power] = Number(x).toExponential(Math.min(digits, 4) - 1).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return `${String(Number(first)).replaceAll("-", "−")}×10${raised}`;
}

function shape(lengths) {
  return lengths.length === 0 ? "a number" : `shape (${lengths.join(", ")}${lengths.length === 1 ? "," : ""})`;
}

// A vector is a column; a large array stands as its shape; a single number bare, in parentheses where its sign would be misread.
function matrix(array, operand = false) {
  if (!array.values || array.values.length > 24 || array.shape.length > 2) return `[${array.shape.join("×")}]`;
  if (array.values.length === 1) return operand && array.values[0] < 0 ? `(${number(array.values[0], 4)})` : number(array.values[0], 4);
  const columns = array.shape.length === 2 ? array.shape[1] : 1;
  const cell = (x) => `<td>${number(x, 3)}</td>`;
  let rows = "";
  for (let i = 0; i < array.values.length; i += columns) rows += `<tr>${array.values.slice(i, i + columns).map(cell).join("")}</tr>`;
  return `<table class="matrix">${rows}</table>`;
}

function array(id, caption, data) {
  at(`${id}-caption`).textContent = caption;
  at(id).textContent = data === null ? "" : data.values ? lines(data) : `norm ${number(norm(data))}`;
  heat(at(`${id}-map`), data, 14, 200);
  at(`${id}-map`).setAttribute("aria-label", data === null ? "" : `${caption}, norm ${number(norm(data))}`);
}

function lines(data) {
  const columns = data.shape.length ? data.shape[data.shape.length - 1] : 1, cells = data.values.map((x) => number(x));
  const width = cells.reduce((most, cell) => Math.max(most, cell.length), 0), rows = [];
  for (let i = 0; i < cells.length; i += columns) rows.push(cells.slice(i, i + columns).map((cell) => cell.padStart(width)).join("  "));
  return rows.join("\n");
}

// Blue is negative and red is positive, the deeper the larger; a vector is a row.
function heat(canvas, data, pixels, height, most = 0) {
  canvas.hidden = data === null || !data.values || data.values.length === 0;
  if (canvas.hidden) return;
  const columns = data.shape.length ? data.shape[data.shape.length - 1] : 1, rows = data.values.length / columns;
  const size = Math.max(1, Math.min(pixels, Math.floor(320 / columns), Math.floor(height / rows)));
  canvas.width = columns * size;
  canvas.height = rows * size;
  const numbers = numbersOf(data), context = canvas.getContext("2d");
  most ||= Math.max(0, ...numbers.filter(Number.isFinite).map(Math.abs)) || 1;
  numbers.forEach((x, i) => {
    const part = Number.isFinite(x) ? Math.abs(x) / most : 1, faded = Math.round(255 * (1 - part));
    context.fillStyle = x < 0 ? `rgb(${faded}, ${Math.round(255 - 140 * part)}, 255)` : `rgb(255, ${Math.round(255 - 170 * part)}, ${faded})`;
    context.fillRect((i % columns) * size, Math.floor(i / columns) * size, size, size);
  });
}

// Nodes by the logarithm of their norm, on one scale for all frames; white where it is 0 or there is none.
function colour(parts, gradients, phase) {
  const by = at("colour").value, [low, high] = spans[by] || [];
  for (const [id, group] of parts) {
    const drawn = group.querySelector("ellipse, polygon");
    if (!drawn || !group.classList.contains("choice") || id.startsWith("sum")) continue;
    const data = by === "value" ? nodeOf(id) : phase === "backward" && gradients.has(id) ? gradients.get(id).total : null;
    const size = data && data.shape ? norm(data) : 0, last = scale.length - 1;
    const i = Number.isFinite(size) ? Math.min(last, Math.floor(((Math.log10(size) - low) / (high - low)) * scale.length)) : last;
    drawn.style.fill = by === "" ? "" : size === 0 ? "#ffffff" : scale[i];
    group.querySelectorAll("text").forEach((text) => (text.style.fill = by === "" ? "" : size === 0 ? "#000000" : inks[i]));
  }
  at("scale").hidden = by === "";
  const strip = scale.map((fill) => `<i style="background: ${fill}"></i>`).join("");
  at("scale").innerHTML = `norm 10<sup>${String(low).replace("-", "−")}</sup> ${strip} 10<sup>${String(high).replace("-", "−")}</sup>, white: 0 or none`;
}

// The figure is never smaller than can be read, unless all of it is asked for; it scrolls to what is current.
function fit() {
  const box = at("figure"), boxes = [...box.querySelectorAll("svg")].map((svg) => [svg, svg.viewBox.baseVal]);
  if (boxes.length === 0) return;
  const width = Math.max(...boxes.map(([, view]) => view.width)), height = Math.max(...boxes.map(([, view]) => view.height));
  const room = window.innerHeight * (window.innerWidth <= 960 ? 0.36 : 0.6), inside = box.clientWidth;
  const whole = Math.min(inside / width, room / height), zoom = at("fit").checked ? whole : Math.max(0.9, Math.min(1.6, whole));
  for (const [svg, view] of boxes) {
    svg.style.width = `${zoom * view.width}px`;
    svg.style.marginLeft = `${Math.max(0, (inside - zoom * width) / 2)}px`;
  }
  box.style.height = `${Math.min(room, zoom * height + 4) + (zoom * width > inside ? 16 : 0)}px`;
}

// Scroll a box, and nothing else, until an element is inside with a margin.
function reveal(box, element, besideIt, aboveIt) {
  const outer = box.getBoundingClientRect(), it = element.getBoundingClientRect();
  const shift = (low, high, from, room, wanted) => {
    const margin = Math.max(0, Math.min(wanted, (room - (high - low)) / 2));
    return low - margin < from ? low - margin - from : Math.max(0, high + margin - from - room);
  };
  box.scrollLeft += shift(it.left, it.right, outer.left + box.clientLeft, box.clientWidth, besideIt);
  box.scrollTop += shift(it.top, it.bottom, outer.top + box.clientTop, box.clientHeight, aboveIt);
}

function go(to) {
  step = Math.max(0, Math.min(frames.length - 1, to));
  if (step === frames.length - 1) pause();
  show();
}

function pin(id) {
  pinned = pinned === choice(id) ? null : choice(id);
  show();
}

function play() {
  if (step === frames.length - 1) step = 0;
  timer = setInterval(() => go(step + 1), Number(at("speed").value));
  at("play").textContent = "❚❚ pause";
  at("play").setAttribute("aria-label", "pause");
  show();
}

function pause() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "▶ play";
  at("play").setAttribute("aria-label", "play");
}

const toggle = () => (timer === null ? play() : (pause(), show()));
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
at("fit").onchange = window.onresize = () => { fit(); show(); };

// On a node of the figure, which is one stop of the tab key.
function byKey(event, phase, id) {
  const all = choices(phase), i = all.indexOf(event.currentTarget);
  const keys = { Enter: () => pin(id), " ": () => pin(id), ArrowDown: () => all[Math.min(i + 1, all.length - 1)].focus(), ArrowUp: () => all[Math.max(i - 1, 0)].focus() };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
}

document.addEventListener("keydown", (event) => {
  const { tagName, type } = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || (tagName === "SELECT" && !/^Arrow(Left|Right)$/.test(event.key))) return;
  if (event.key === " " && (tagName === "BUTTON" || type === "checkbox")) return; // which it presses
  const steps = { ArrowRight: () => byHand(step + 1), ArrowLeft: () => byHand(step - 1), Home: () => byHand(0), End: () => byHand(frames.length - 1), " ": toggle, Escape: () => { pinned = null; show(); } };
  if (!Object.hasOwn(steps, event.key)) return;
  event.preventDefault();
  steps[event.key]();
});

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1)), wanted = Number(asked.get("step"));
  step = Number.isFinite(wanted) ? Math.max(0, Math.min(frames.length - 1, Math.trunc(wanted))) : 0;
  pinned = choice(asked.get("pin"));
  at("colour").value = Object.hasOwn(spans, asked.get("colour")) ? asked.get("colour") : "";
  show();
}

window.addEventListener("hashchange", restore);
fit();
restore();
