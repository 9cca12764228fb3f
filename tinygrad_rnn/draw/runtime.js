"use strict";
// The runtime: small dense arrays, and the primitives of the engine by their names. An array is { shape, values }, its
// elements in row-major order; a test gives ones and zeros. Each operation takes its inputs, then static arguments.

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const dense = (shape, values) => ({ shape, values });
const scalar = (x) => dense([], [x]);

// How far apart neighbours along each axis stand; 0 along an axis that is broadcast to a shape.
function strides(of, shape = of) {
  const found = new Array(shape.length).fill(0), ahead = shape.length - of.length;
  for (let axis = of.length - 1, step = 1; axis >= 0; step *= of[axis--]) found[axis + ahead] = of[axis] === 1 ? 0 : step;
  return found;
}

// The places in an array, with such strides, of all elements of a shape, in order.
function places(shape, steps) {
  let found = [0];
  shape.forEach((length, axis) => {
    const next = new Array(found.length * length);
    for (let i = 0, n = 0; i < found.length; i++) for (let k = 0; k < length; k++) next[n++] = found[i] + k * steps[axis];
    found = next;
  });
  return found;
}

const sameShape = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);

function broadcastShape(...shapes) {
  const ndim = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: ndim }, (_, axis) => shapes.reduce((most, shape) => {
    const length = shape[axis - ndim + shape.length] ?? 1;
    return length === 1 ? most : length;
  }, 1));
}

const broadcastTo = (x, shape) => sameShape(x.shape, shape) ? x : dense(shape, places(shape, strides(x.shape, shape)).map((i) => x.values[i]));

// A function of numbers, applied element by element to arrays that are broadcast.
function byElement(f) {
  return (x, y, z) => {
    if (y === undefined) return dense(x.shape, x.values.map((a) => f(a)));
    const shape = z === undefined ? broadcastShape(x.shape, y.shape) : broadcastShape(x.shape, y.shape, z.shape);
    const a = broadcastTo(x, shape).values, b = broadcastTo(y, shape).values, c = z && broadcastTo(z, shape).values;
    const values = new Array(a.length);
    for (let i = 0; i < values.length; i++) values[i] = c ? f(a[i], b[i], c[i]) : f(a[i], b[i]);
    return dense(shape, values);
  };
}

// The axes that are reduced (null: all of them), and the shape with each of these kept as 1.
const axesOf = (axis, ndim) => (axis === null ? [...Array(ndim).keys()] : [axis].flat().map((a) => (a + ndim) % Math.max(ndim, 1)));
const keptShape = (shape, axis) => shape.map((n, a) => (axesOf(axis, shape.length).includes(a) ? 1 : n));

function reduced(f, start) {
  return (x, axis = null, keepdims = false) => {
    const kept = keptShape(x.shape, axis), values = new Array(sizeOf(kept)).fill(start);
    places(x.shape, strides(kept, x.shape)).forEach((to, from) => (values[to] = f(values[to], x.values[from])));
    return dense(keepdims ? kept : x.shape.filter((_, a) => !axesOf(axis, x.shape.length).includes(a)), values);
  };
}

// The product of two matrices of numbers, m by k and k by n; what stands before it are matrices side by side.
function products(a, b, m, k, n, count = 1, aStep = m * k, bStep = k * n) {
  const values = new Array(count * m * n).fill(0);
  for (let c = 0; c < count; c++) for (let i = 0; i < m; i++) for (let l = 0; l < k; l++) {
    const factor = a[c * aStep + i * k + l];
    for (let j = 0; j < n; j++) values[(c * m + i) * n + j] += factor * b[c * bStep + l * n + j];
  }
  return values;
}

function matmul(A, B) {
  const a = A.shape.length === 1 ? [1, ...A.shape] : A.shape, b = B.shape.length === 1 ? [...B.shape, 1] : B.shape;
  const [m, k] = a.slice(-2), n = b[b.length - 1], outer = broadcastShape(a.slice(0, -2), b.slice(0, -2));
  const left = broadcastTo(dense(a, A.values), [...outer, m, k]), right = broadcastTo(dense(b, B.values), [...outer, k, n]);
  const shape = [...outer, ...(A.shape.length === 1 ? [] : [m]), ...(B.shape.length === 1 ? [] : [n])];
  return dense(shape, products(left.values, right.values, m, k, n, sizeOf(outer)));
}

function transpose(x, axes) {
  const order = axes === null ? x.shape.map((_, a) => a).reverse() : axes.map((a) => (a + x.shape.length) % x.shape.length);
  const steps = strides(x.shape), shape = order.map((a) => x.shape[a]);
  return dense(shape, places(shape, order.map((a) => steps[a])).map((i) => x.values[i]));
}

// W x for a vector, and for each row of a batch.
function linear(W, x) {
  const [m, k] = W.shape, rows = sizeOf(x.shape) / Math.max(k, 1), values = new Array(rows * m).fill(0);
  for (let r = 0; r < rows; r++) for (let i = 0; i < m; i++) {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += W.values[i * k + j] * x.values[r * k + j];
    values[r * m + i] = sum;
  }
  return dense([...x.shape.slice(0, -1), m], values);
}

// a ᵗb for vectors, added up over the rows of batches.
function outer(a, b) {
  const m = a.shape[a.shape.length - 1], n = b.shape[b.shape.length - 1], rows = sizeOf(a.shape.slice(0, -1));
  const values = new Array(m * n).fill(0);
  for (let r = 0; r < rows; r++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) values[i * n + j] += a.values[r * m + i] * b.values[r * n + j];
  return dense([m, n], values);
}

// The sum over all letters that the output has not.
function einsum(...operands) {
  const [inputs, output] = operands.pop().split("->"), letters = inputs.split(","), lengths = {};
  letters.forEach((text, i) => [...text].forEach((letter, a) => (lengths[letter] = Math.max(lengths[letter] ?? 0, operands[i].shape[a]))));
  const all = [...new Set([...output, ...letters.join("")])], shape = all.map((letter) => lengths[letter]);
  const along = (text, of) => { // the strides of an operand along all letters, one that stands twice along both axes
    const steps = strides(of);
    return all.map((letter) => [...text].reduce((sum, other, a) => sum + (other === letter ? steps[a] : 0), 0));
  };
  const where = letters.map((text, i) => places(shape, along(text, operands[i].shape)));
  const found = [...output].map((letter) => lengths[letter]), values = new Array(sizeOf(found)).fill(0);
  places(shape, along(output, found)).forEach((to, n) => (values[to] += where.reduce((product, from, i) => product * operands[i].values[from[n]], 1)));
  return dense(found, values);
}

function scanned(x, axis) {
  const step = strides(x.shape.map((n) => n))[(axis + x.shape.length) % x.shape.length], length = x.shape.at(axis);
  const values = [...x.values];
  values.forEach((_, i) => { if (step && Math.floor(i / step) % length) values[i] += values[i - step]; });
  return dense(x.shape, values);
}

// Arrays behind each other along an axis.
function concatenate(...inputs) {
  const axis = (inputs.at(-1) + inputs[0].shape.length) % inputs[0].shape.length, arrays = inputs.slice(0, -1);
  const rows = sizeOf(arrays[0].shape.slice(0, axis)), values = [];
  for (let r = 0; r < rows; r++) for (const x of arrays) {
    const length = x.values.length / rows;
    for (let i = 0; i < length; i++) values.push(x.values[r * length + i]);
  }
  return dense(arrays[0].shape.map((n, a) => (a === axis ? arrays.reduce((sum, x) => sum + x.shape[a], 0) : n)), values);
}

function stack(...inputs) {
  const axis = inputs.at(-1) < 0 ? inputs.at(-1) + inputs[0].shape.length + 1 : inputs.at(-1);
  return concatenate(...inputs.slice(0, -1).map((x) => dense([...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)], x.values)), axis);
}

function scatter(g, ...rest) {
  const [, where, shape] = rest.slice(-3), values = new Array(sizeOf(shape)).fill(0);
  where.forEach((to, from) => (values[to] += g.values[from]));
  return dense(shape, values);
}

function largestPlace(isBetter) {
  return (x, axis = null, keepdims = false) => {
    const best = reduced((a, b) => (isBetter(b, a) || a === undefined ? b : a), undefined)(x, axis, true), kept = best.shape;
    const to = places(x.shape, strides(kept, x.shape)), found = new Array(best.values.length).fill(-1);
    const along = axis === null ? x.values.map((_, i) => i) : places(x.shape, x.shape.map((_, a) => Number(a === (axis + x.shape.length) % x.shape.length)));
    x.values.forEach((value, i) => { if (found[to[i]] < 0 && value === best.values[to[i]]) found[to[i]] = along[i]; });
    return dense(keepdims ? kept : x.shape.filter((_, a) => !axesOf(axis, x.shape.length).includes(a)), found);
  };
}

// Numbers

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const modulo = (x, y) => (Math.abs(y) === Infinity && Number.isFinite(x) ? (x * y < 0 ? y : x) : ((x % y) + y) % y);
const larger = (x, y) => (Number.isNaN(x) ? x : Number.isNaN(y) ? y : x > y ? x : y);
const smaller = (x, y) => (Number.isNaN(x) ? x : Number.isNaN(y) ? y : x < y ? x : y);
const logaddexp = (x, y) => (x === y ? x + Math.LN2 : larger(x, y) + Math.log1p(Math.exp(-Math.abs(x - y))));
const power = (x, y) => (x === 1 || y === 0 ? 1 : x ** y);
const test = (f) => byElement((x, y) => Number(f(x, y)));

// x less its largest element along an axis, so that e^x does not overflow; x itself where that is infinite.
function shifted(x, axis) {
  return operations.subtract(x, byElement((most) => (Number.isFinite(most) ? most : 0))(operations.max(x, axis, true)));
}

// The primitives that a page can compute: the package reads their names here, one on each line that is indented by two.
const operations = {
  identity: (x) => x,
  astype: (x) => x,
  negative: byElement((x) => -x),
  add: byElement((x, y) => x + y),
  subtract: byElement((x, y) => x - y),
  multiply: byElement((x, y) => x * y),
  divide: byElement((x, y) => x / y),
  lerp: byElement((x, y, z) => (1 - z) * x + z * y),
  power: byElement(power),
  mod: byElement(modulo),
  square: byElement((x) => x * x),
  matmul,
  linear,
  outer,
  einsum,
  affine: (W, x, U, h, b) => operations.add(operations.add(linear(W, x), linear(U, h)), b),
  tanh: byElement(Math.tanh),
  sigmoid: byElement(sigmoid),
  relu: byElement((x) => larger(x, 0)),
  softplus: byElement((x) => logaddexp(0, x)),
  exp: byElement(Math.exp),
  log: byElement(Math.log),
  sqrt: byElement(Math.sqrt),
  abs: byElement(Math.abs),
  sign: byElement(Math.sign),
  sin: byElement(Math.sin),
  cos: byElement(Math.cos),
  arctan: byElement(Math.atan),
  sinh: byElement(Math.sinh),
  cosh: byElement(Math.cosh),
  arctan2: byElement(Math.atan2),
  hypot: byElement((x, y) => Math.hypot(x, y)),
  arcsinh: byElement(Math.asinh),
  logaddexp: byElement(logaddexp),
  expm1: byElement(Math.expm1),
  log1p: byElement(Math.log1p),
  maximum: byElement(larger),
  minimum: byElement(smaller),
  where: byElement((x, y, c) => (c ? x : y)),
  softmax: (x, axis) => {
    const e = operations.exp(shifted(x, axis));
    return operations.divide(e, operations.sum(e, axis, true));
  },
  log_softmax: (x, axis) => {
    const less = shifted(x, axis);
    return operations.subtract(less, operations.log(operations.sum(operations.exp(less), axis, true)));
  },
  cross_entropy: (x, y) => {
    const logs = operations.log_softmax(x, -1); // a class of weight 0 counts nothing, even where its logit is -inf
    return scalar(-y.values.reduce((sum, weight, i) => (weight === 0 ? sum : sum + weight * logs.values[i]), 0));
  },
  sum: reduced((a, b) => a + b, 0),
  max: reduced(larger, -Infinity),
  min: reduced(smaller, Infinity),
  cumsum: scanned,
  reshape: (x, shape) => dense([shape].flat().map((n) => (n < 0 ? -x.values.length / sizeOf([shape].flat()) : n)), x.values),
  transpose,
  broadcast_to: broadcastTo,
  getitem: (x, ...rest) => dense(rest.at(-2), rest.at(-1).map((i) => x.values[i])),
  scatter,
  concatenate,
  stack,
  equal: test((x, y) => x === y),
  not_equal: test((x, y) => x !== y),
  less: test((x, y) => x < y),
  less_equal: test((x, y) => x <= y),
  greater: test((x, y) => x > y),
  greater_equal: test((x, y) => x >= y),
  logical_and: test((x, y) => Boolean(x && y)),
  logical_or: test((x, y) => Boolean(x || y)),
  logical_xor: test((x, y) => !x !== !y),
  bitwise_and: byElement((x, y) => x & y),
  bitwise_or: byElement((x, y) => x | y),
  bitwise_xor: byElement((x, y) => x ^ y),
  logical_not: test((x) => !x),
  isnan: test(Number.isNaN),
  isinf: test((x) => Math.abs(x) === Infinity),
  isfinite: test((x) => Number.isFinite(x)),
  any: reduced((a, b) => Number(a || b), 0),
  all: reduced((a, b) => Number(a && b), 1),
  argmax: largestPlace((x, y) => x > y),
  argmin: largestPlace((x, y) => x < y),
};

// An element as JSON has it: those that are not finite are words, as Python writes them.
const element = (x) => Number(typeof x === "string" ? x.replace("inf", "Infinity") : x);

// A computation: rows [number, shape, elements] of leaves and [number, primitive, inputs, ...static arguments] of nodes, in
// the order of execution. `arrays` holds, by number, what was found.
class Computation {
  constructor({ program, singles }) {
    this.singles = new Set(singles);
    this.leaves = program.filter((row) => typeof row[1] !== "string");
    this.nodes = program.filter((row) => typeof row[1] === "string");
    this.arrays = [];
    for (const [number, shape, elements] of this.leaves) {
      this.arrays[number] = typeof elements === "number" ? { shape, norm: elements } : dense(shape, elements.map(element));
    }
  }

  run(nodes = this.nodes, arrays = this.arrays) {
    for (const [number, name, inputs, ...statics] of nodes) {
      const found = operations[name](...inputs.map((i) => arrays[i]), ...statics);
      arrays[number] = this.singles.has(number) ? dense(found.shape, found.values.map(Math.fround)) : found;
    }
    return arrays;
  }

  // The nodes that some numbers are made of.
  madeOf(numbers) {
    const needed = new Set(numbers);
    for (const [number, , inputs] of [...this.nodes].reverse()) if (needed.has(number)) inputs.forEach((i) => needed.add(i));
    return this.nodes.filter(([number]) => needed.has(number));
  }
}

// Figures are packed, as they are large: the format is zlib's (RFC 1950, 1951), read here since the browser's own reader
// works in the background only, and the page is there at once.
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), out = [];
  let at = 16; // bits, behind the header
  const bits = (count) => {
    let value = 0;
    for (let i = 0; i < count; i++, at++) value |= ((bytes[at >> 3] >> (at & 7)) & 1) << i;
    return value;
  };
  // Of codes that are numbered from their lengths: the next symbol.
  const reader = (lengths) => {
    const symbols = new Map();
    for (let length = 1, code = 0; length < 16; length++, code *= 2) {
      lengths.forEach((own, symbol) => { if (own === length) symbols.set((1 << length) | code++, symbol); });
    }
    return () => {
      let code = 1;
      do code = (code << 1) | bits(1); while (!symbols.has(code));
      return symbols.get(code);
    };
  };
  const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
  const lengthsOf = (read, count) => {
    const lengths = [];
    while (lengths.length < count) {
      const symbol = read();
      if (symbol < 16) lengths.push(symbol);
      else {
        const again = symbol === 16 ? lengths.at(-1) : 0, times = symbol === 16 ? 3 + bits(2) : symbol === 17 ? 3 + bits(3) : 11 + bits(7);
        for (let i = 0; i < times; i++) lengths.push(again);
      }
    }
    return lengths;
  };
  const fixed = [...Array(288).keys()].map((i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
  for (let last = 0; !last; ) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 0) {
      at = (at + 7) & ~7;
      const count = bits(16);
      at += 16; // the count once more, turned around
      for (let i = 0; i < count; i++) out.push(bits(8));
      continue;
    }
    let literals = fixed, distances = new Array(30).fill(5);
    if (kind === 2) {
      const counts = [257 + bits(5), 1 + bits(5), 4 + bits(4)], own = new Array(19).fill(0);
      for (let i = 0; i < counts[2]; i++) own[order[i]] = bits(3);
      const all = lengthsOf(reader(own), counts[0] + counts[1]);
      [literals, distances] = [all.slice(0, counts[0]), all.slice(counts[0])];
    }
    const literal = reader(literals), distance = reader(distances);
    for (let symbol = literal(); symbol !== 256; symbol = literal()) {
      if (symbol < 256) { out.push(symbol); continue; }
      const far = (i, per) => { // the least of a class of lengths or distances, with the bits that tell which it is
        const extra = i < 2 * per ? 0 : Math.floor(i / per) - 1;
        return (i < 2 * per ? i : (per + (i % per)) << extra) + bits(extra);
      };
      const length = symbol === 285 ? 258 : 3 + far(symbol - 257, 4), from = out.length - 1 - far(distance(), 2);
      for (let i = 0; i < length; i++) out.push(out[from + i]);
    }
  }
  return new TextDecoder().decode(Uint8Array.from(out));
}
