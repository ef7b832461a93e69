// Scales, ticks and marks.

function linearScale([a, b], [from, to]) {
  const scale = (v) => from + ((v - a) / (b - a || 1)) * (to - from);
  scale.invert = (px) => a + ((px - from) / (to - from || 1)) * (b - a);
  return scale;
}

function logScale([a, b], range) {
  const inner = linearScale([Math.log(a), Math.log(b)], range);
  const scale = (v) => inner(Math.log(v));
  scale.invert = (px) => Math.exp(inner.invert(px));
  return scale;
}

/** About `count` round values inside [a, b]. */
function niceTicks(a, b, count) {
  const raw = (b - a) / Math.max(1, count);
  if (!(raw > 0)) return [a];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((s) => s * power >= raw) * power;
  const ticks = [];
  for (let n = Math.ceil(a / step - 1e-9); n * step <= b + step * 1e-9; n++) ticks.push(+(n * step).toPrecision(12));
  return ticks;
}

/** Round values of a logarithmic axis, as many as fit. */
function logTicks(a, b, most) {
  for (const steps of [[1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1]]) {
    const ticks = [];
    for (let k = Math.floor(Math.log10(a)); k <= Math.ceil(Math.log10(b)); k++) {
      for (const s of steps) if (s * 10 ** k >= a && s * 10 ** k <= b) ticks.push(+(s * 10 ** k).toPrecision(6));
    }
    if (ticks.length <= most) return ticks.length > 1 ? ticks : [a, b].map((v) => +v.toPrecision(2));
  }
  return [];
}

const tickDigits = (ticks) =>
  Math.max(0, ...ticks.map((t) => (String(t).includes("e-") ? 6 : (String(t).split(".")[1] ?? "").length)));

/** The outline of a mark around (x, y). */
function markPath(mark, x, y, r) {
  const points = (list) =>
    "M" + list.map(([dx, dy]) => `${(x + dx * r).toFixed(2)},${(y + dy * r).toFixed(2)}`).join("L") + "Z";
  switch (mark) {
    case "square":
      return points([
        [-0.9, -0.9],
        [0.9, -0.9],
        [0.9, 0.9],
        [-0.9, 0.9],
      ]);
    case "triangle":
      return points([
        [0, -1.2],
        [1.1, 0.85],
        [-1.1, 0.85],
      ]);
    case "diamond":
      return points([
        [0, -1.3],
        [1.1, 0],
        [0, 1.3],
        [-1.1, 0],
      ]);
    case "wedge":
      return points([
        [0, 1.2],
        [1.1, -0.85],
        [-1.1, -0.85],
      ]);
    case "cross":
      return points([
        [-1.1, -0.4],
        [-0.4, -0.4],
        [-0.4, -1.1],
        [0.4, -1.1],
        [0.4, -0.4],
        [1.1, -0.4],
        [1.1, 0.4],
        [0.4, 0.4],
        [0.4, 1.1],
        [-0.4, 1.1],
        [-0.4, 0.4],
        [-1.1, 0.4],
      ]);
    case "star":
      return points(
        [...Array(10).keys()].map((n) => {
          const angle = (n * Math.PI) / 5,
            reach = n % 2 ? 0.55 : 1.35;
          return [Math.sin(angle) * reach, -Math.cos(angle) * reach];
        }),
      );
    case "bar":
      return points([
        [-1.2, -0.45],
        [1.2, -0.45],
        [1.2, 0.45],
        [-1.2, 0.45],
      ]);
    default: {
      const d = (v) => v.toFixed(2);
      return `M${d(x - r)},${d(y)}A${d(r)},${d(r)} 0 1 0 ${d(x + r)},${d(y)}A${d(r)},${d(r)} 0 1 0 ${d(x - r)},${d(y)}Z`;
    }
  }
}
