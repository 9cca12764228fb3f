// The state of the page: which net is shown, the number of the frame, what is pinned, and what was changed; `show` draws it.

const { nets, figures: packed, scale, inks } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const MOST_CELLS = 400, MOST_SHOWN = 4096; // elements of an array that can be changed by hand, and that are written
const PHASES = ["forward", "backward"];
let net, nodes, frames, sums, figures, spans, largest, gradientsInTheEnd; // of the net that is shown
let step = 0, pinned = null, timer = null, zoom = null;
const factors = {}; // by letter, what all leaves of that letter are multiplied by

const nodeOf = (id) => (Object.hasOwn(nodes, id) ? nodes[id] : null);
const sumOf = (id) => sums.find((sum) => sum.id === id);
const norm = (data) => data.norm ?? data.values.reduce((sum, x) => Math.hypot(sum, x), 0);
const largestOf = (values) => values.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
const text = (markup) => { const span = document.createElement("span"); span.innerHTML = letters(markup); return span.textContent; };

// Numbers: what is given, and what follows from it

for (const one of nets) {
  one.computation = new Computation(one);
  one.given = new Map(one.computation.leaves.map(([number]) => [number, one.computation.arrays[number].values]));
  one.changes = new Map(); // by number of a leaf, by place of an element
  one.outputs = [...new Set(Object.values(one.nodes).filter(({ kind }) => kind === "output").map(({ value }) => value))];
  one.leaves = new Map(); // the leaves that can be changed: by number, the id of its first node, its letter and its kind
  for (const [id, node] of Object.entries(one.nodes)) {
    node.number = node.value;
    if (node.kind === "state") node.state = inAnyStep(node);
    const isLeaf = node.letter !== undefined && !one.fixed;
    if (isLeaf && !one.leaves.has(node.number)) one.leaves.set(node.number, { id, letter: node.letter, kind: node.kind });
  }
  for (const frame of one.frames) if (frame.phase === "backward") Object.assign(frame, { termNumber: frame.term, totalNumber: frame.total });
  one.sums = sumsIn(one);
  one.recurrent = recurrentIn(one);
  one.slope = largestSlope(one);
  compute(one);
}

// The name of a state without its step: h⁽ᵗ⁾, or hₜ.
function inAnyStep({ name, step }) {
  const above = name.replace(`(${step})<`, "(<I>t</I>)<");
  return above !== name ? above : name.replace(new RegExp(`\\b${step}</SUB>`), "<I>t</I></SUB>");
}

// The gradients of the parameters, with the number of their terms.
function sumsIn(one) {
  const found = new Map();
  for (const { to, name, grows } of one.frames.filter((frame) => frame.grows)) {
    found.set(to, { id: to, name, plain: grows[0], value: grows[1], terms: (found.get(to)?.terms ?? 0) + 1 });
  }
  const place = ({ id }) => [!id.startsWith("total"), Number(id.replace(/\D/g, ""))]; // those of all steps first
  return [...found.values()].sort((a, b) => place(a)[0] - place(b)[0] || place(a)[1] - place(b)[1]);
}

// The parameters that carry a state on: they are multiplied by one that is given, such as h(0).
function recurrentIn(one) {
  const given = new Set(Object.values(one.nodes).filter(({ kind, letter }) => kind === "state" && letter !== undefined).map(({ number }) => number));
  const pairs = one.computation.nodes.flatMap(([, name, inputs]) => (["linear", "matmul", "affine"].includes(name) ? [inputs.slice(0, 2), inputs.slice(2, 4)] : []));
  return new Set(pairs.filter(([, x]) => given.has(x)).map(([parameter]) => parameter));
}

// max f′, where all nonlinearities are one.
function largestSlope(one) {
  const slopes = { tanh: 1, sigmoid: 1 / 4, relu: 1 }, used = new Set(one.computation.nodes.map(([, name]) => name).filter((name) => name in slopes));
  return used.size === 1 ? slopes[[...used][0]] : null;
}

// Compute all arrays of a net anew, and hand them to its nodes and frames.
function compute(one) {
  const { arrays } = one.computation;
  for (const [number, { letter }] of one.leaves) {
    const values = [...one.given.get(number)], factor = factors[letter] ?? 1;
    for (const [i, x] of one.changes.get(number) ?? []) values[i] = x;
    arrays[number] = dense(arrays[number].shape, factor === 1 ? values : values.map((x) => x * factor));
  }
  one.computation.run();
  for (const node of Object.values(one.nodes)) if (node.number !== undefined) Object.assign(node, arrays[node.number]);
  one.gradientsInTheEnd = new Map();
  one.largest = new Map();
  for (const frame of one.frames.filter((frame) => frame.phase === "backward")) {
    const known = one.gradientsInTheEnd.get(frame.to);
    frame.term = arrays[frame.termNumber];
    frame.total = arrays[frame.totalNumber];
    frame.before = known ? known.total : null;
    frame.count = known ? known.count + 1 : 1;
    one.gradientsInTheEnd.set(frame.to, frame);
    one.largest.set(frame.to, Math.max(largestOf(frame.total.values ?? []), one.largest.get(frame.to) ?? 0));
  }
  one.spans = {
    value: span(Object.values(one.nodes).filter((node) => node.shape)),
    gradient: span(one.frames.filter((frame) => frame.to).map((frame) => frame.total)),
  };
}

// The span of all norms as powers of ten.
function span(arrays) {
  const powers = arrays.map((data) => Math.log10(norm(data))).filter(Number.isFinite);
  const low = Math.floor(powers.reduce((a, b) => Math.min(a, b), Infinity)), high = Math.ceil(powers.reduce((a, b) => Math.max(a, b), -Infinity));
  return powers.length === 0 ? [-1, 0] : high > low ? [low, high] : [low - 1, high];
}

function change(number, places) {
  const known = net.changes.get(number) ?? new Map(), factor = factors[net.leaves.get(number).letter] ?? 1;
  for (const [i, x] of places) known.set(i, x / factor);
  net.changes.set(number, known);
  changed();
}

// Take changes back: all, those of a leaf, or that of an element.
function reset(number, i) {
  if (i !== undefined) {
    net.changes.get(number)?.delete(i);
    if (net.changes.get(number)?.size === 0) net.changes.delete(number);
  } else if (number === undefined) {
    for (const one of nets) one.changes.clear();
    for (const letter of Object.keys(factors)) delete factors[letter];
  } else net.changes.delete(number);
  changed();
}

// After any change: all nets, for a factor is one for all.
function changed() {
  for (const one of nets) compute(one);
  ({ spans, largest, gradientsInTheEnd } = net);
  at("checked").textContent = "";
  show();
}

// On a dark page figures have their colours with the lightness turned around, the hue as it is.
function turned(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255), high = Math.max(r, g, b), low = Math.min(r, g, b);
  const span = high - low, lightness = (high + low) / 2, saturation = span && span / (1 - Math.abs(2 * lightness - 1));
  const hue = !span ? 0 : high === r ? (g - b) / span : high === g ? (b - r) / span + 2 : (r - g) / span + 4;
  return `hsl(${60 * hue} ${80 * saturation}% ${94 - 85 * lightness}%)`;
}

function darkStyle(text) {
  const found = [...text.matchAll(/\b(fill|stroke)=\\?"(#[0-9a-f]{6})/g)];
  const rules = found.map(([, property, colour]) => `#figure [${property}="${colour}"] { ${property}: ${turned(colour)}; }`);
  return `@media screen and (prefers-color-scheme: dark) { #figure [fill="white"] { fill: var(--paper); } ${[...new Set(rules)].join(" ")} }`;
}

// Choosing a net

const drawn = unpacked(packed), parsed = JSON.parse(drawn);
document.head.appendChild(document.createElement("style")).textContent = darkStyle(drawn);
nets.forEach((one, i) => {
  one.svgs = {};
  one.figures = {};
  PHASES.forEach((phase, k) => {
    const holder = document.createElement("template");
    holder.innerHTML = parsed[i][k];
    const svg = (one.svgs[phase] = holder.content.querySelector("svg")), parts = (one.figures[phase] = new Map());
    svg.setAttribute("role", "group");
    for (const group of svg.querySelectorAll("g.node, g.edge")) parts.set(group.dataset.id, group);
  });
});

function choose(one) {
  net = one;
  ({ nodes, frames, sums, figures, spans, largest, gradientsInTheEnd } = net);
  for (const phase of PHASES) {
    at(phase).replaceChildren(net.svgs[phase]);
    for (const [id, group] of figures[phase]) prepare(phase, id, group);
  }
  at("slider").max = frames.length - 1;
  at("sums").replaceChildren();
  const together = frames.find((frame) => frame.steps);
  at("terms").textContent = `terms so far${together ? `, one for ${together.steps}` : ""}`;
  at("tabs").querySelectorAll("button").forEach((tab, i) => {
    tab.setAttribute("aria-selected", nets[i] === net);
    tab.tabIndex = nets[i] === net ? 0 : -1;
  });
  const stays = net.fixed ? `These numbers stay as they were in Python: ${net.fixed}.` : decided();
  at("fixed").hidden = stays === "";
  at("fixed").textContent = stays;
  at("reset").hidden = at("scales").hidden = Boolean(net.fixed);
  at("check").hidden = Boolean(net.fixed) || sums.length === 0;
  layOutScales();
}

// What was decided when the graph was recorded, and does not follow.
function decided() {
  const drawn = new Set(Object.values(nodes).map(({ number }) => number)), found = [];
  const masks = net.computation.leaves.filter(([number, , elements]) => typeof elements[0] === "boolean" && !drawn.has(number));
  if (masks.length) found.push("which elements were chosen");
  if ([...figures.backward.keys()].some((id) => id.startsWith("cut"))) found.push("the states whose past was cut off");
  return found.length ? `It stays as it was: ${found.join(", and ")}.` : "";
}

if (nets.length > 1) {
  at("tabs").hidden = false;
  nets.forEach((one, i) => {
    const tab = at("tabs").appendChild(document.createElement("button"));
    tab.textContent = one.title;
    tab.setAttribute("role", "tab");
    tab.onclick = () => { pinned = null; choose(one); fit(); go(step); };
    tab.onkeydown = (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      const next = at("tabs").children[(to + nets.length) % nets.length];
      next.click();
      next.focus();
    };
  });
}

// What can be pinned: the nodes, the sums with their Σ, and the edges.
function choice(id) {
  if (id === null || nodeOf(id)) return id;
  if (id.includes("->")) return PHASES.some((phase) => figures[phase].has(id)) ? id : null;
  const total = id.replace(/^sum(?=\d)/, "total");
  return sumOf(total) ? total : null;
}
const besides = (id) => !id.includes("->") && choice(id) === null;
const nameOf = (id) => (nodeOf(id) ? nodes[id].plain : (sumOf(id) ?? { plain: "Σ" }).plain);

function prepare(phase, id, group) {
  const edge = group.classList.contains("edge");
  if (choice(id) === null || group.classList.contains("choice") || group.classList.contains("way")) return;
  group.classList.add(edge ? "way" : "choice");
  group.setAttribute("role", "button");
  let title = group.querySelector("title");
  if (!title) {
    title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    const [from, to] = id.split("->");
    title.textContent = edge ? `${nameOf(from)} → ${nameOf(to)}` : nameOf(id);
    group.prepend(title);
  }
  group.setAttribute("aria-label", title.textContent);
  group.addEventListener("click", () => { if (!dragged) pin(id); });
  group.addEventListener("keydown", (event) => byKey(event, phase, id));
  for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
    group.addEventListener(on, () => lightFactors(id));
    group.addEventListener(off, () => lightFactors(null));
  }
}
const choices = (phase) => [...figures[phase].values()].filter((group) => group.classList.contains("choice") || group.classList.contains("way"));

// The frame that is shown

function gradientsAfter(last) {
  return new Map(frames.slice(0, last + 1).filter((frame) => frame.to).map((frame) => [frame.to, frame]));
}

function seenAfter(last) {
  const seen = (phase) => Object.keys(net.since[phase]).filter((id) => net.since[phase][id] <= last);
  return { forward: new Set(seen("forward")), backward: new Set(seen("backward")) };
}

function show() {
  const frame = frames[step], seen = seenAfter(step), gradients = gradientsAfter(step), both = at("view").value !== "";
  document.body.classList.toggle("backward", frame.phase === "backward");
  for (const phase of PHASES) {
    at(phase).hidden = phase !== frame.phase && !both;
    const given = step === 0 && frame.text, mine = phase === frame.phase;
    for (const [id, group] of figures[phase]) {
      group.classList.toggle("later", !seen[phase].has(id) && !besides(id));
      group.classList.toggle("now", mine && ((frame.nodes.includes(id) && !given) || frame.edge === id));
      group.classList.toggle("pin", id === pinned);
    }
    colour(figures[phase], gradients, phase);
  }
  const parts = figures[frame.phase], current = parts.get(frame.to || frame.nodes[0]), stop = parts.get(pinned) || current;
  for (const group of choices(frame.phase)) {
    group.setAttribute("tabindex", group === stop ? "0" : "-1");
    group.setAttribute("aria-pressed", group === parts.get(pinned));
  }
  if (current) reveal(at("figure"), current, 60, 40);
  panel(frame, seen, gradients);
  grow(frame, gradients);
  showScales();
  plot();
  at("slider").value = step;
  at("slider").setAttribute("aria-valuetext", `moment ${step} of ${frames.length - 1}`);
  at("count").textContent = `${step} / ${frames.length - 1}`;
  if (timer === null) at("said").textContent = `Moment ${step} of ${frames.length - 1}, ${frame.phase}: ${at("equation").textContent} ${at("note").textContent}`;
  remember();
}

// A frame's own words, or the equation of a node and of its gradient: of the current one, or of the pinned one both. A
// pinned edge shows its own frame, or before that is reached the node that it leads to.
function panel(current, seen, gradients) {
  const edge = pinned !== null && pinned.includes("->") ? pinned : null, of = edge ? null : pinned;
  const ofEdge = edge && frames.slice(0, step + 1).find((frame) => frame.edge === edge), frame = ofEdge || current;
  const end = edge && !ofEdge ? choice(edge.split("->")[figures.forward.has(edge) ? 1 : 0]) : null;
  const id = end ?? of ?? (frame.to || frame.nodes[0]), backward = frame.phase === "backward";
  const node = nodeOf(id), sum = sumOf(id), gradient = ofEdge || gradients.get(id), told = pinned === null && frame.text;
  const made = node && node.shape && seen.forward.has(id), own = node && (of !== null || end !== null || !backward);
  at("phase").textContent = told ? "forward" : backward ? `backward: ${frame.to && of === null ? added(frame) : "a gradient"}` : "forward: a value";
  at("pinned").hidden = pinned === null;
  if (told) at("name").textContent = step === 0 ? "Given" : "⋯";
  else at("name").innerHTML = own ? node.name : frame.name && of === null ? frame.name : node ? node.gradient || node.name : sum.name;
  at("equation").innerHTML = told ? frame.text : letters(own ? node.equation || "" : gradient ? gradient.equation : "–");
  at("numbers").innerHTML = told ? "" : own ? (made && node.equation ? equals(node, node) : "") : gradient ? grown(gradient) : "";
  at("back-equation").innerHTML = !own || !backward ? "" : gradient ? letters(gradient.equation) : node.wants ? `${node.gradient || "gradient"}: –` : "";
  at("back-numbers").innerHTML = own && backward && gradient ? grown(gradient) : "";
  at("note").textContent = [of === null && frame.note, own ? node.note : gradient && of !== null && gradient.note].filter(Boolean).join(" ");
  if (told) array("value", "", null);
  else if (node) array("value", made ? `value, ${shape(node.shape)}` : node.shape ? "value: –" : node.plain, made ? node : null);
  else array("value", gradient ? "the term that was added last" : "", gradient ? gradient.term : null);
  if (told) array("gradient", "", null);
  else if (gradient) array("gradient", `gradient so far, ${shape(gradient.total.shape)}`, gradient.total);
  else array("gradient", !node || node.wants ? "gradient: –" : "needs no gradient", null);
  edit(made && !told && net.leaves.has(node.number) && node.values.length <= MOST_CELLS ? node : null);
  relate(frame, own ? id : null);
}

// Which term of which sum is added, and from which losses it comes, if these are added up.
function added(frame) {
  const last = gradientsInTheEnd.get(frame.to), [output] = frames.filter((one) => one.phase === "forward").at(-1).nodes;
  const term = last.count > 1 ? `term ${frame.count} of ${last.count} of ${nameOf(frame.to).replace(/^(?!d)/, "d")}` : "a gradient";
  const into = (id) => [...figures.forward.keys()].filter((edge) => edge.startsWith(`${id}->`)).map((edge) => edge.split("->")[1]);
  const losses = [...figures.forward.keys()].filter((edge) => edge.endsWith(`->${output}`)).map((edge) => edge.split("->")[0]);
  if (losses.length < 2 || !frame.from) return term;
  const reached = [frame.from];
  for (const id of reached) reached.push(...into(id).filter((to) => !reached.includes(to)));
  const from = losses.filter((id) => reached.includes(id) && nodes[id].wants && nodes[id].shape && nodes[id].shape.length === 0);
  return from.length ? `${term}, from ${from.map(nameOf).join(", ")}` : term;
}

// Equations: letters between marks, each with the number of what it stands for

function letters(markup) {
  return markup.replace(/\ue000(\d+)\|/g, '<span class="factor" tabindex="0" data-number="$1">').replaceAll("\ue001", "</span>").replaceAll("\ue002", " ");
}

// The right side, with arrays in the place of letters; a number in parentheses where its sign would be misread.
function inNumbers(markup) {
  const cut = markup.indexOf(" = "), first = markup.indexOf("\ue000"), right = cut >= 0 && cut < first ? markup.slice(cut + 3) : markup;
  return right.replace(/(<SUP>t<\/SUP>)?\ue000(\d+)\|[^\ue001]*\ue001(<SUP>T<\/SUP>)?/g, (found, turnedBefore, number, turnedBehind, place) => {
    const data = net.computation.arrays[number], before = right.slice(0, place).replace(/<[^>]*>/g, "").trimEnd();
    const raised = right.startsWith("<SUP>", place + found.length);
    return matrix(turnedBefore || turnedBehind ? transposed(data) : data, (before !== "" && !before.endsWith("(")) || raised, raised);
  }).replaceAll("\ue002", " · ");
}

const equals = (told, result) => (told.numbers ? `= ${inNumbers(told.equation)} ` : "") + `= ${matrix(result)}`;

// How a gradient has grown: by a product, or from one sum to the next.
function grown(frame) {
  if (frame.count > 1) return `= ${matrix(frame.before)} + ${matrix(frame.term, true)} = ${matrix(frame.total)}`;
  return frame.from ? equals(frame, frame.term) : "";
}

function transposed({ shape, values }) {
  if (!values) return { shape: [...shape].reverse() };
  return transpose(shape.length === 2 ? { shape, values } : { shape: [values.length, 1], values }, null);
}

// Factors of the equation and edges of the figure light up together: f′ and ᵗU are on the edge, dh is where it starts.
let related = new Map(); // from a factor to what it is in the figure
function relate(frame, made) {
  related = new Map();
  for (const factor of document.querySelectorAll("#panel .factor")) {
    const number = Number(factor.dataset.number), backward = factor.parentElement.id.startsWith("back") || !made;
    const gradient = frame.from && gradientsInTheEnd.get(frame.from);
    const source = Object.keys(nodes).filter((id) => nodes[id].number === number);
    const ids = backward
      ? gradient && gradient.totalNumber === number ? [frame.from] : [frame.edge]
      : source.filter((id) => figures.forward.has(`${id}->${made}`)).flatMap((id) => [id, `${id}->${made}`]);
    related.set(factor, ids.filter(Boolean));
    for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
      factor.addEventListener(on, () => lightFigure(ids, true));
      factor.addEventListener(off, () => lightFigure(ids, false));
    }
  }
}

function lightFigure(ids, on) {
  for (const phase of PHASES) for (const id of ids) figures[phase].get(id)?.classList.toggle("lit", on);
}

function lightFactors(id) {
  for (const [factor, ids] of related) factor.classList.toggle("lit", ids.includes(id));
}

// The gradients of the parameters, as they grow

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

// Numbers as text, and as colours

function number(x, digits = 6) {
  const size = Math.abs(x), tiny = Number.isFinite(size) && size !== 0 && (size < 1e-4 || size >= 1e7);
  if (!tiny) return String(Number(x.toPrecision(digits))).replaceAll("-", "−");
  const [first, power] = x.toExponential(Math.min(digits, 4) - 1).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return `${String(Number(first)).replaceAll("-", "−")}×10${raised}`;
}

function shape(lengths) {
  return lengths.length === 0 ? "a number" : `shape (${lengths.join(", ")}${lengths.length === 1 ? "," : ""})`;
}

// A vector is a column; a large array stands as its shape; a single number bare, in parentheses where it would be misread.
function matrix(array, operand = false, raised = false) {
  if (!array.values || array.values.length > 24 || array.shape.length > 2) return `[${array.shape.join("×")}]`;
  if (array.values.length === 1) {
    const written = number(array.values[0], 4);
    return (operand && array.values[0] < 0) || (raised && written.includes("×")) ? `(${written})` : written;
  }
  const columns = array.shape.length === 2 ? array.shape[1] : 1;
  const cell = (x) => `<td>${number(x, 3)}</td>`;
  let rows = "";
  for (let i = 0; i < array.values.length; i += columns) rows += `<tr>${array.values.slice(i, i + columns).map(cell).join("")}</tr>`;
  return `<table class="matrix" role="presentation">${rows}</table>`;
}

function array(id, caption, data) {
  at(`${id}-caption`).textContent = caption;
  at(id).textContent = data === null ? "" : data.values && data.values.length <= MOST_SHOWN ? lines(data) : `norm ${number(norm(data))}`;
  at(id).tabIndex = data === null ? -1 : 0;
  at(id).hidden = data === null;
  heat(at(`${id}-map`), data, 14, 200);
  at(`${id}-map`).setAttribute("aria-label", data === null ? id : `${caption}, norm ${number(norm(data))}`);
}

const columnsOf = (data) => (data.shape.length ? data.shape[data.shape.length - 1] : 1);

function lines(data) {
  const columns = columnsOf(data), cells = data.values.map((x) => number(x));
  const width = cells.reduce((most, cell) => Math.max(most, cell.length), 0), rows = [];
  for (let i = 0; i < cells.length; i += columns) rows.push(cells.slice(i, i + columns).map((cell) => cell.padStart(width)).join("  "));
  return rows.join("\n");
}

// Blue is negative and red is positive, the deeper the larger.
function tint(x, most) {
  const part = Number.isFinite(x) ? Math.min(1, Math.abs(x) / most) : 1, faded = Math.round(255 * (1 - part));
  return x < 0 ? `rgb(${faded}, ${Math.round(255 - 140 * part)}, 255)` : `rgb(255, ${Math.round(255 - 170 * part)}, ${faded})`;
}

// A vector is a row.
function heat(canvas, data, pixels, height, most = 0) {
  canvas.hidden = data === null || !data.values || data.values.length === 0;
  if (canvas.hidden) return;
  const columns = columnsOf(data), rows = data.values.length / columns;
  const size = Math.max(1, Math.min(pixels, Math.floor(320 / columns), Math.floor(height / rows)));
  canvas.width = columns * size;
  canvas.height = rows * size;
  const context = canvas.getContext("2d");
  most ||= largestOf(data.values) || 1;
  data.values.forEach((x, i) => {
    context.fillStyle = tint(x, most);
    context.fillRect((i % columns) * size, Math.floor(i / columns) * size, size, size);
  });
}

// Nodes by the logarithm of their norm, on one scale for all frames; white where it is 0 or there is none.
function colour(parts, gradients, phase) {
  const by = at("colour").value, [low, high] = spans[by] || [];
  for (const [id, group] of parts) {
    if (!group.classList.contains("choice") || id.startsWith("sum")) continue;
    const drawn = group.querySelector("ellipse, polygon");
    if (!drawn || (by === "" && !drawn.style.fill)) continue;
    const data = by === "value" ? nodeOf(id) : phase === "backward" && gradients.has(id) ? gradients.get(id).total : null;
    const size = data && data.shape ? norm(data) : 0, last = scale.length - 1;
    const i = Number.isFinite(size) ? Math.min(last, Math.floor(((Math.log10(size) - low) / (high - low)) * scale.length)) : last;
    drawn.style.fill = by === "" ? "" : size === 0 ? "#ffffff" : scale[i];
    group.querySelectorAll("text").forEach((label) => (label.style.fill = by === "" ? "" : size === 0 ? "#000000" : inks[i]));
  }
  at("scale").hidden = by === "";
  const strip = scale.map((fill) => `<i style="background: ${fill}"></i>`).join("");
  at("scale").innerHTML = `norm 10<sup>${String(low).replace("-", "−")}</sup> ${strip} 10<sup>${String(high).replace("-", "−")}</sup>, white: 0 or none`;
}

// Changing numbers: the heat map of a leaf as cells, each of which is dragged, typed into, or moved by arrow keys

function edit(leaf) {
  const box = at("editor"), { activeElement } = document;
  box.hidden = at("reset-one").hidden = leaf === null;
  if (leaf === null) return;
  at("value").hidden = at("value-map").hidden = true;
  const key = `${nets.indexOf(net)}/${leaf.number}`, columns = columnsOf(leaf), most = largestOf(leaf.values) || 1;
  if (box.dataset.leaf !== key || box.children.length !== leaf.values.length) {
    box.dataset.leaf = key;
    box.style.gridTemplateColumns = `repeat(${columns}, minmax(3.2rem, 4.5rem))`;
    const place = (i) => (leaf.shape.length === 2 ? `${Math.floor(i / columns)}, ${i % columns}` : i);
    box.replaceChildren(...leaf.values.map((_, i) => cell(leaf.number, i, `${leaf.plain}[${place(i)}]`)));
  }
  leaf.values.forEach((x, i) => {
    const input = box.children[i];
    if (input !== activeElement) input.value = String(Number(x.toPrecision(3)));
    else if (input.dataset.typed === undefined) input.value = String(Number(x.toPrecision(6)));
    input.title = `${input.getAttribute("aria-label")} = ${x}: drag up or down, type, or press ↑ and ↓; a double click takes it back`;
    input.style.background = tint(x, most);
    input.classList.toggle("changed", net.changes.get(leaf.number)?.has(i) ?? false);
  });
  at("reset-one").textContent = `reset ${leaf.plain}`;
  at("reset-one").disabled = !net.changes.has(leaf.number);
  at("reset-one").onclick = () => reset(leaf.number);
}

function cell(leaf, i, name) {
  const input = document.createElement("input"), valueNow = () => net.computation.arrays[leaf].values[i];
  input.type = "text";
  input.inputMode = "decimal";
  input.setAttribute("aria-label", name);
  const put = (x) => { if (Number.isFinite(x)) change(leaf, [[i, Number(x.toPrecision(12))]]); };
  input.oninput = () => {
    const typed = input.value.trim().replace("−", "-").replace(",", ".");
    input.dataset.typed = "";
    if (typed !== "" && Number.isFinite(Number(typed))) change(leaf, [[i, Number(typed)]]);
  };
  input.onblur = () => { delete input.dataset.typed; show(); };
  input.ondblclick = () => { input.blur(); reset(leaf, i); };
  input.onkeydown = (event) => {
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      delete input.dataset.typed;
      put(valueNow() + (event.key === "ArrowUp" ? 1 : -1) * (event.shiftKey ? 0.5 : 0.05));
    } else if (event.key === "Enter" || event.key === "Escape") input.blur();
    if (event.key !== "Tab") event.stopPropagation();
  };
  input.onpointerdown = (event) => {
    const from = event.clientY, x = valueNow();
    let moved = false;
    input.setPointerCapture(event.pointerId);
    input.onpointermove = (move) => {
      moved ||= Math.abs(move.clientY - from) > 3;
      if (moved) put(x + (from - move.clientY) * 0.02);
    };
    input.onpointerup = input.onpointercancel = () => { input.onpointermove = null; };
  };
  return input;
}

// Sliders for all leaves of a letter: of the matrices, those that carry the state on first, and of the inputs.
function groups() {
  const found = new Map(), { recurrent } = net;
  for (const [leaf, { letter, kind }] of net.leaves) {
    const isMatrix = kind === "parameter" && net.computation.arrays[leaf].shape.length === 2;
    if (!letter || (!isMatrix && kind !== "input")) continue;
    const group = found.get(letter) ?? { letter, leaves: [], rank: kind === "input" ? 2 : 1 };
    group.leaves.push(leaf);
    if (recurrent.has(leaf)) group.rank = 0;
    found.set(letter, group);
  }
  return [...found.values()].sort((a, b) => a.rank - b.rank);
}

function layOutScales() {
  at("scales").replaceChildren(...groups().map(({ letter }) => {
    const label = document.createElement("label"), slider = document.createElement("input"), said = document.createElement("span");
    Object.assign(slider, { type: "range", min: -3, max: 3, step: 0.01 });
    slider.oninput = () => {
      factors[letter] = 2 ** Number(slider.value);
      if (factors[letter] === 1) delete factors[letter];
      changed();
    };
    slider.setAttribute("aria-label", `scale of ${letter}`);
    label.dataset.letter = letter;
    label.appendChild(document.createElement("b")).textContent = letter;
    label.append(slider, said);
    return label;
  }));
}

function showScales() {
  groups().forEach(({ letter, leaves, rank }, i) => {
    const [, slider, said] = at("scales").children[i].children, factor = factors[letter] ?? 1;
    const sigma = Math.max(...leaves.map((leaf) => net.computation.arrays[leaf]).filter((x) => x.shape.length === 2).map(largestSingularValue));
    slider.value = Math.log2(factor);
    said.textContent = ` × ${number(factor, 3)}${rank < 2 ? `, σ max ${number(sigma, 4)}` : ""}`;
    slider.setAttribute("aria-valuetext", `${letter}${said.textContent}`);
  });
  const outputs = Object.values(nodes).filter(({ kind }) => kind === "output"), single = outputs.every(({ values }) => values && values.length === 1);
  at("loss").textContent = single ? `${outputs.map(({ plain }) => plain).join(" + ")} = ${number(lossOf(net.computation.arrays))}` : "";
}
const lossOf = (arrays) => net.outputs.reduce((sum, output) => sum + arrays[output].values[0], 0);

// By powers of ᵗA A, which turn any vector into the direction that A stretches most; found once for each array.
const singularValues = new WeakMap();
function largestSingularValue(A) {
  if (!singularValues.has(A)) singularValues.set(A, stretch(A));
  return singularValues.get(A);
}

function stretch(A) {
  const turned = transpose(A, null);
  let v = dense([A.shape[1]], Array.from({ length: A.shape[1] }, (_, i) => 1 + 0.1 * Math.sin(i + 1))), found = 0;
  for (let i = 0; i < 400; i++) {
    const w = linear(turned, linear(A, v)), length = Math.hypot(...w.values), before = found;
    if (!(length > 0) || !Number.isFinite(length)) return length;
    found = Math.sqrt(length / Math.hypot(...v.values));
    v = dense(v.shape, w.values.map((x) => x / length));
    if (i > 20 && Math.abs(found - before) < 1e-13 * found) break;
  }
  return found;
}

// The gradients of all parameters against (L(p + e) - L(p - e)) / 2e, element by element.
function check() {
  const { computation } = net, nodesOfLoss = computation.madeOf(net.outputs), arrays = [...computation.arrays];
  let worst = 0, count = 0;
  for (const sum of sums) {
    const x = computation.arrays[sum.value], gradient = gradientsInTheEnd.get(sum.id)?.total.values;
    if (!gradient) continue;
    const most = Math.max(...gradient.map(Math.abs), 1e-8);
    x.values.forEach((value, i) => {
      const e = 1e-5 * Math.max(1, Math.abs(value));
      const [above, below] = [e, -e].map((by) => {
        arrays[sum.value] = dense(x.shape, x.values.map((y, k) => (k === i ? value + by : y)));
        computation.run(nodesOfLoss, arrays);
        return lossOf(arrays);
      });
      worst = Math.max(worst, Math.abs((above - below) / (2 * e) - gradient[i]) / most);
      count++;
    });
    arrays[sum.value] = x;
  }
  const said = `${count} elements compared with central differences: the largest difference is ${number(worst, 2)}`;
  at("checked").textContent = `${said} of the gradient's largest element.`;
  return worst;
}

// Curves over time, on a logarithmic scale

function curves(one) {
  const found = [], states = new Map(); // by name, the states with their steps, gradients, and how many terms these have
  for (const [id, node] of Object.entries(one.nodes)) {
    if (!node.state || !node.shape) continue;
    const gradient = one.gradientsInTheEnd.get(id);
    if (!states.has(node.state)) states.set(node.state, []);
    states.get(node.state).push({ t: node.step, value: node, gradient: gradient?.total, count: gradient?.count ?? 0 });
  }
  for (const [name, all] of states) {
    const dashes = found.length ? " second" : ""; // of an LSTM h and c, which are told apart by dashes
    found.push({ kind: "value", dashes, name: `‖${name}‖`, points: all.map(({ t, value }) => [t, norm(value)]) });
    const reached = all.filter(({ gradient }) => gradient);
    found.push({ kind: "gradient", dashes, name: `‖<i>d</i>${name}‖`, points: reached.map(({ t, gradient }) => [t, norm(gradient)]) });
  }
  const recurrent = one.sums.filter((sum) => one.recurrent.has(sum.value));
  const sum = one.sums.find((sum) => sum.id === pinned && sum.terms > 1) ?? recurrent[0];
  const terms = sum ? one.frames.filter((frame) => frame.to === sum.id && one.nodes[frame.from]?.step !== undefined) : [];
  found.push({ kind: "term", name: `‖terms of ${sum?.name}‖`, points: terms.map(({ from, term }) => [one.nodes[from].step, norm(term)]) });
  if (states.size === 1 && recurrent.length === 1 && one.slope) found.push(bound(one, ...states, recurrent[0]));
  for (const { points } of found) points.sort((a, b) => a[0] - b[0]);
  return found.filter(({ points }) => points.length > 1);
}

// The bound of the plain net, ‖dh(T)‖ (σ max · max f′)^(T − t): none where a state gets a gradient from more than the next
// state, as from a loss of its own, or where U is used more than once in a step.
function bound(one, [name, states], U) {
  const T = Math.max(...states.map(({ t }) => t)), last = states.find(({ t }) => t === T).gradient;
  const alone = last && U.terms === states.filter(({ t }) => t > 0).length && states.every(({ t, count }) => t === T || count <= 1);
  const rate = largestSingularValue(one.computation.arrays[U.value]) * one.slope, reached = alone ? states.filter(({ count }) => count) : [];
  const written = `‖<i>d</i>${name.replace("<I>t</I>", "<I>T</I>")}‖ (σ max · max f′)<sup>T − t</sup>`;
  return { kind: "bound", name: written, points: reached.map(({ t }) => [t, norm(last) * rate ** (T - t)]) };
}

// The curves of the net that is shown, and the gradients of the others beside it.
function plot() {
  const beside = nets.filter((one) => one !== net).flatMap((one) =>
    curves(one).filter(({ kind }) => kind === "gradient").map(({ points, name, dashes }) => ({ points, dashes, kind: "other", name: `${escaped(one.title)}: ${name}` })));
  const all = [...curves(net), ...beside];
  at("curves").hidden = all.length === 0;
  if (all.length === 0) return;
  const look = ({ kind, dashes }) => `class="${kind}${dashes ?? ""}"`;
  const sample = (curve) => `<svg viewBox="0 0 24 8" aria-hidden="true"><polyline ${look(curve)} points="0,4 24,4"/></svg>`;
  at("key").innerHTML = all.map((curve) => `<span>${sample(curve)} ${curve.name}</span>`).join(" ");

  const ts = all.flatMap(({ points }) => points.map(([t]) => t)), first = Math.min(...ts), last = Math.max(...ts);
  const powers = all.flatMap(({ points }) => points.map(([, y]) => Math.log10(y))).filter(Number.isFinite);
  const low = Math.max(-30, Math.floor(Math.min(...powers, 0))), high = Math.min(30, Math.ceil(Math.max(...powers, low + 1)));
  const box = at("plot"), W = Math.max(240, box.clientWidth), H = Math.max(100, box.clientHeight), left = 38, right = W - 10, top = 8, bottom = H - 22;
  const x = (t) => (left + ((right - left) * (t - first)) / Math.max(1, last - first)).toFixed(1);
  const atPower = (power) => (bottom - ((bottom - top) * (Math.min(high, Math.max(low, power)) - low)) / (high - low)).toFixed(1);
  const parts = [], every = Math.ceil((high - low) / 6);
  for (let power = low; power <= high; power += every) {
    const y = atPower(power), raised = `<tspan dy="-4" font-size="8">${String(power).replace("-", "−")}</tspan>`;
    parts.push(`<line class="grid" x1="${left}" x2="${right}" y1="${y}" y2="${y}"/>`);
    parts.push(`<text x="${left - 4}" y="${Number(y) + 4}" text-anchor="end">10${raised}</text>`);
  }
  const steps = [...new Set(ts)].filter(Number.isInteger).sort((a, b) => a - b), some = Math.ceil(steps.length / 10);
  for (let i = 0; i < steps.length; i += some) parts.push(`<text x="${x(steps[i])}" y="${H - 6}" text-anchor="middle">${steps[i]}</text>`);
  for (const curve of all) {
    const points = curve.points.filter(([, value]) => value > 0).map(([t, value]) => [x(t), atPower(Math.log10(value))]);
    parts.push(`<polyline ${look(curve)} points="${points.map((point) => point.join(",")).join(" ")}"/>`);
    if (curve.kind === "term") for (const [cx, cy] of points) parts.push(`<circle class="term" cx="${cx}" cy="${cy}" r="2.5"/>`);
  }
  const now = nodeOf(frames[step].from ?? "")?.step ?? nodeOf(frames[step].nodes[0])?.step;
  if (step > 0 && now >= first && now <= last) parts.push(`<line class="time" x1="${x(now)}" x2="${x(now)}" y1="${top}" y2="${bottom}"/>`);
  const end = ([t, value]) => `${number(value, 3)} at step ${t}`;
  const said = all.map(({ name, points }) => `${text(name)} from ${end(points[0])} to ${end(points.at(-1))}`).join("; ");
  box.innerHTML = `<svg viewBox="0 0 ${W} ${H}" width="${W}" height="${H}" role="img" aria-label="${escaped(said)}">${parts.join("")}</svg>`;
}
const escaped = (string) => string.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// The view of the figure: all of it fits, or it is zoomed, and dragged

function fit() {
  const box = at("figure"), views = PHASES.map((phase) => net.svgs[phase].viewBox.baseVal), mode = at("view").value;
  const width = Math.max(...views.map((view) => view.width)), height = Math.max(...views.map((view) => view.height));
  const columns = mode === "beside" ? 2 : 1;
  document.body.classList.toggle("wide", width > 2.1 * height);
  for (const name of ["beside", "over"]) box.classList.toggle(name, mode === name);
  const { classList } = document.body, upright = window.innerWidth <= 960 && window.innerWidth < window.innerHeight;
  const part = classList.contains("embed") ? 0.52 : upright ? 0.36 : classList.contains("wide") ? 0.48 : 0.6;
  const room = window.innerHeight * part, inside = box.clientWidth;
  const whole = Math.min(inside / (columns * width), room / height, 1.6);
  const used = at("fit").checked ? whole : (zoom ??= Math.max(0.9, whole));
  PHASES.forEach((phase, i) => {
    net.svgs[phase].style.width = `${used * views[i].width}px`;
    net.svgs[phase].style.marginLeft = `${Math.max(0, (inside - columns * used * width) / 2 / columns)}px`;
  });
  box.style.height = `${Math.min(room, used * height) + 4 + (used * width * columns > inside + 1 ? 16 : 0)}px`;
  at("backward").style.opacity = mode === "over" ? Number(at("mix").value) / 100 : "";
  at("forward").style.opacity = mode === "over" ? 1 - Number(at("mix").value) / 100 : "";
  at("mixing").hidden = mode !== "over";
  return used;
}

// Zoom by a factor, so that what is under a point of the box stays there.
function zoomBy(factor, x = at("figure").clientWidth / 2, y = at("figure").clientHeight / 2) {
  const box = at("figure"), before = fit(), [left, top] = [box.scrollLeft + x, box.scrollTop + y];
  zoom = Math.max(0.1, Math.min(6, before * factor));
  at("fit").checked = false;
  const now = fit();
  box.scrollLeft = (left * now) / before - x;
  box.scrollTop = (top * now) / before - y;
  remember();
}

let dragged = false; // a drag is no click
at("figure").addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  const outer = at("figure").getBoundingClientRect();
  zoomBy(Math.exp(-event.deltaY / 200), event.clientX - outer.left, event.clientY - outer.top);
}, { passive: false });
at("figure").addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || event.pointerType === "touch") return; // which scrolls by itself
  const box = at("figure"), from = [event.clientX + box.scrollLeft, event.clientY + box.scrollTop];
  dragged = false;
  const move = (event) => {
    const [left, top] = [from[0] - event.clientX, from[1] - event.clientY];
    dragged ||= Math.hypot(left - box.scrollLeft, top - box.scrollTop) > 4;
    if (dragged) [box.scrollLeft, box.scrollTop] = [left, top];
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", () => window.removeEventListener("pointermove", move), { once: true });
});

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

// Controls

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
at("slider").oninput = (event) => byHand(Number(event.target.value));
at("speed").onchange = () => { if (timer !== null) { pause(); play(); } };
at("colour").onchange = show;
at("fit").onchange = at("view").onchange = () => { zoom = null; fit(); show(); };
at("mix").oninput = fit;
window.onresize = () => { fit(); show(); };
at("closer").onclick = () => zoomBy(1.25);
at("farther").onclick = () => zoomBy(0.8);
at("reset").onclick = () => reset();
at("check").onclick = check;

// On a node or an edge of the figure, which is one stop of the tab key.
function byKey(event, phase, id) {
  const all = choices(phase), i = all.indexOf(event.currentTarget);
  const focus = (i) => all[Math.max(0, Math.min(i, all.length - 1))].focus();
  const keys = { Enter: () => pin(id), " ": () => pin(id), ArrowDown: () => focus(i + 1), ArrowUp: () => focus(i - 1) };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
}

document.addEventListener("keydown", (event) => {
  const { tagName, type, id } = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || (tagName === "SELECT" && !/^Arrow(Left|Right)$/.test(event.key))) return;
  if (event.key === " " && (tagName === "BUTTON" || tagName === "SUMMARY" || type === "checkbox")) return; // which it presses
  if (type === "range" && id !== "slider") return;
  const steps = {
    ArrowRight: () => byHand(step + 1), ArrowLeft: () => byHand(step - 1), Home: () => byHand(0), End: () => byHand(frames.length - 1), " ": toggle,
    Escape: () => { pinned = null; show(); }, "+": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: () => { at("fit").checked = true; at("fit").onchange(); },
  };
  if (!Object.hasOwn(steps, event.key)) return;
  event.preventDefault();
  steps[event.key]();
});

// The address keeps what is shown, and what was changed; written at once for a step, and after a pause while numbers move

let written = null, writing = null;
function remember() {
  const asked = new URLSearchParams();
  if (document.body.classList.contains("embed")) asked.set("embed", "");
  asked.set("step", step);
  if (net !== nets[0]) asked.set("net", nets.indexOf(net));
  if (pinned !== null) asked.set("pin", pinned);
  if (at("colour").value) asked.set("colour", at("colour").value);
  if (at("view").value) asked.set("view", at("view").value);
  if (!at("fit").checked) asked.set("fit", zoom === null ? 0 : Number(zoom.toFixed(3)));
  const scaled = Object.entries(factors).map(([letter, factor]) => `${letter}:${factor}`);
  if (scaled.length) asked.set("scale", scaled.join(","));
  const sets = nets.flatMap((one, k) => [...one.changes].flatMap(([leaf, places]) => [...places].map(([i, x]) => `${k}.${one.leaves.get(leaf).id}.${i}:${x}`)));
  if (sets.length) asked.set("set", sets.join(","));
  const address = `#${asked}`.replace("embed=", "embed").replaceAll("%3A", ":").replaceAll("%2C", ",").replaceAll("%3E", ">");
  const write = () => {
    written = address;
    try { if (location.hash !== address) history.replaceState(null, "", address); } catch { /* a page in a frame has no address */ }
  };
  clearTimeout(writing);
  if (written === null || (scaled.length === 0 && sets.length === 0)) write();
  else writing = setTimeout(write, 150);
}

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1)), wanted = Number(asked.get("step"));
  document.body.classList.toggle("embed", asked.has("embed"));
  for (const one of nets) one.changes.clear();
  for (const letter of Object.keys(factors)) delete factors[letter];
  const pairs = (name) => (asked.get(name) ?? "").split(",").map((pair) => pair.split(":")).filter(([, x]) => x !== undefined && Number.isFinite(Number(x)));
  for (const [letter, x] of pairs("scale")) if (Number(x) > 0) factors[letter] = Number(x);
  for (const [place, x] of pairs("set")) {
    const [k, id, i] = place.split("."), one = nets[k], leaf = one && Object.hasOwn(one.nodes, id) ? one.nodes[id].number : undefined;
    if (leaf === undefined || !one.leaves.has(leaf) || !(Number(i) in one.given.get(leaf))) continue;
    one.changes.set(leaf, (one.changes.get(leaf) ?? new Map()).set(Number(i), Number(x)));
  }
  choose(nets[asked.get("net")] ?? nets[0]);
  step = Number.isFinite(wanted) ? Math.max(0, Math.min(frames.length - 1, Math.trunc(wanted))) : 0;
  pinned = choice(asked.get("pin"));
  at("colour").value = Object.hasOwn(spans, asked.get("colour")) ? asked.get("colour") : "";
  at("view").value = ["beside", "over"].includes(asked.get("view")) ? asked.get("view") : "";
  at("fit").checked = !asked.has("fit");
  zoom = Number(asked.get("fit")) > 0 ? Math.min(6, Number(asked.get("fit"))) : null;
  fit();
  changed();
}

// For a console: the nodes by their ids, or by their names; a parameter that several steps use, by its name, as a whole.

function found(id) {
  if (nodeOf(id) || sumOf(id)) return id;
  const node = Object.entries(nodes).find(([, node]) => node.plain === id), sum = node && sums.find((sum) => sum.value === node[1].number);
  if (!node) throw new Error(`bptt: no node is called ${JSON.stringify(id)}; bptt.ids() are ${Object.keys(nodes).join(", ")}`);
  return sum ? sum.id : node[0];
}
const numberOf = (id) => (nodeOf(found(id)) ? nodes[found(id)].number : sumOf(found(id)).value);
const nested = ({ shape, values, norm }) => {
  if (!values) return norm;
  let rows = [...values];
  for (const length of [...shape].reverse()) {
    const count = length ? rows.length / length : 0;
    rows = Array.from({ length: count }, (_, i) => rows.slice(i * length, (i + 1) * length));
  }
  return rows[0] ?? rows;
};

window.bptt = {
  ids: () => [...Object.keys(nodes).filter((id) => nodes[id].number !== undefined), ...sums.map((sum) => sum.id).filter((id) => !nodeOf(id))],
  value: (id) => nested(net.computation.arrays[numberOf(id)]),
  gradient: (id) => { const gradient = gradientsInTheEnd.get(found(id)); return gradient ? nested(gradient.total) : null; },
  set(id, value) {
    const leaf = numberOf(id), flat = [value].flat(Infinity).map(Number), { shape } = net.computation.arrays[leaf];
    const call = `bptt.set(${JSON.stringify(id)})`, why = net.fixed ? `nothing can be changed: ${net.fixed}` : "only inputs and parameters can be changed";
    if (!net.leaves.has(leaf)) throw new Error(`${call}: ${why}`);
    if (flat.length !== sizeOf(shape) || !flat.every(Number.isFinite)) {
      throw new Error(`${call}: ${sizeOf(shape)} finite numbers are needed, of the shape (${shape.join(", ")})`);
    }
    change(leaf, flat.entries());
  },
  reset: (id) => reset(id === undefined ? undefined : numberOf(id)),
  step: (n = step) => { byHand(Math.trunc(Number(n)) || 0); return step; },
};

window.addEventListener("hashchange", restore);
restore();
