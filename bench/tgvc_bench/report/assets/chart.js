// One chart of curves over a logarithmic rate: grid, bands, lines, marks, a readout for pointer and keyboard.

const NEAR_PX = 44; // a pointer farther from every mark reads nothing

/**
 * @param host element that the chart fills in width
 * @param spec {label, metric, rates: what the rates are, if not those of the record, series: [{id, title, colour, mark, dashed, points: [{x, y, low, high, whole}]}],
 *   references: [{x, y, title}], sweep: [{x, y, colour}], height, bands, labels, small, read(point, series) -> [lines]}
 */
function drawChart(host, spec) {
  const width = Math.max(120, host.clientWidth),
    height = spec.height;
  const shown = spec.series.filter((s) => s.points.length);
  const everything = [...shown.flatMap((s) => s.points), ...(spec.references ?? []), ...(spec.sweep ?? [])];
  if (!everything.length) return replace(host, el("p", { class: "note", text: "Nothing was measured here." }));
  const labels = spec.labels && width > 620;
  const right = labels ? Math.min(170, 22 + 6.4 * Math.max(...shown.map((s) => s.title.length))) : 14;
  const edge = spec.small ? { top: 6, right: 6, bottom: 6, left: 6 } : { top: 12, right, bottom: 44, left: 58 };
  const ys = everything.flatMap((p) =>
    spec.bands && p.low !== null && p.low !== undefined ? [p.y, p.low, p.high] : [p.y],
  );
  const spread = Math.max(...ys) - Math.min(...ys) || Math.abs(ys[0]) || 1;
  const x = logScale(
    [Math.min(...everything.map((p) => p.x)) / 1.12, Math.max(...everything.map((p) => p.x)) * 1.12],
    [edge.left, width - edge.right],
  );
  const y = linearScale(
    [Math.min(...ys) - spread * 0.07, Math.max(...ys) + spread * 0.07],
    [height - edge.bottom, edge.top],
  );
  const svg = draw("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height });
  if (!spec.small) drawAxes(svg, spec, x, y, width, height, edge);
  if (spec.bands) for (const s of shown) drawBand(svg, s, x, y);
  for (const p of spec.sweep ?? []) {
    svg.append(draw("circle", { class: `sweep ${p.colour}`, cx: x(p.x), cy: y(p.y), r: 2.6 }));
  }
  const marks = draw("g", { class: "marks" });
  for (const s of shown) {
    const solid = s.points.filter((p) => p.whole !== false); // a mean over other clips belongs to no curve
    const line = draw("path", {
      d: path(solid, x, y),
      class: `line ${s.colour}${s.dashed ? " dashed" : ""}`,
      "data-series": s.id,
    });
    svg.append(line);
    for (const p of s.points) {
      marks.append(
        draw("path", {
          d: markPath(s.mark, x(p.x), y(p.y), spec.small ? 2.2 : 4.4),
          class: `mark ${s.colour}${p.whole === false ? " partial" : ""}`,
          "data-series": s.id,
          "data-x": p.x,
          "data-y": p.y,
        }),
      );
    }
  }
  for (const r of spec.references ?? []) {
    marks.append(
      draw("path", { d: markPath("diamond", x(r.x), y(r.y), 4.6), class: "reference", "data-x": r.x, "data-y": r.y }),
    );
  }
  svg.append(marks);
  if (labels) drawLabels(svg, shown, x, y, width - edge.right, edge.top, height - edge.bottom);
  replace(host, svg);
  if (spec.read) readout(host, svg, spec, shown, x, y, width);
  return svg;
}

const path = (points, x, y) =>
  points.map((p, n) => `${n ? "L" : "M"}${x(p.x).toFixed(2)},${y(p.y).toFixed(2)}`).join("");

function drawAxes(svg, spec, x, y, width, height, edge) {
  const bottom = height - edge.bottom,
    inner = width - edge.right - edge.left;
  const ticks = niceTicks(y.invert(bottom), y.invert(edge.top), Math.max(4, Math.round((bottom - edge.top) / 52)));
  const digits = tickDigits(ticks);
  for (const t of ticks) {
    svg.append(draw("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(t), y2: y(t) }));
    svg.append(
      draw("text", {
        class: "tick",
        x: edge.left - 9,
        y: y(t) + 4,
        "text-anchor": "end",
        text: minus(t.toFixed(digits)),
      }),
    );
  }
  for (const t of logTicks(x.invert(edge.left), x.invert(width - edge.right), Math.max(2, Math.floor(inner / 58)))) {
    svg.append(draw("line", { class: "stub", x1: x(t), x2: x(t), y1: bottom, y2: bottom + 5 }));
    svg.append(draw("text", { class: "tick", x: x(t), y: bottom + 19, "text-anchor": "middle", text: String(t) }));
  }
  svg.append(draw("line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: bottom, y2: bottom }));
  svg.append(
    draw("text", {
      class: "tick",
      x: edge.left + inner / 2,
      y: height - 5,
      "text-anchor": "middle",
      text: spec.rates ?? data.unit.title,
    }),
  );
}

function drawBand(svg, series, x, y) {
  const points = series.points.filter((p) => p.low !== null && p.low !== undefined);
  if (points.length < 2) return;
  const upper = points.map((p) => `${x(p.x).toFixed(2)},${y(p.high).toFixed(2)}`);
  const lower = points.map((p) => `${x(p.x).toFixed(2)},${y(p.low).toFixed(2)}`).reverse();
  svg.append(
    draw("path", {
      class: `band ${series.colour}`,
      d: `M${[...upper, ...lower].join("L")}Z`,
      "data-series": series.id,
    }),
  );
}

/** Names at the ends of the curves, pushed apart until none covers another. */
function drawLabels(svg, series, x, y, left, top, bottom) {
  const placed = series.map((s) => ({ s, at: y(s.points.at(-1).y) })).sort((a, b) => a.at - b.at);
  for (let round = 0; round < 60; round++) {
    for (let n = 1; n < placed.length; n++) {
      const lack = 17 - (placed[n].at - placed[n - 1].at);
      if (lack > 0) {
        placed[n - 1].at -= lack / 2;
        placed[n].at += lack / 2;
      }
    }
    for (const p of placed) p.at = Math.min(bottom - 4, Math.max(top + 6, p.at));
  }
  for (const { s, at } of placed) {
    const end = s.points.at(-1);
    svg.append(draw("path", { class: `leader ${s.colour}`, d: `M${x(end.x) + 7},${y(end.y)}L${left + 6},${at}` }));
    svg.append(draw("text", { class: `name ${s.colour}`, x: left + 10, y: at + 4, text: s.title }));
  }
}

/** What the nearest mark says: under the pointer, or moved to with the arrow keys. */
function readout(host, svg, spec, series, x, y, width) {
  const tip = el("div", { class: "tip", role: "status", hidden: true });
  const ring = draw("circle", { class: "ring", r: 8, hidden: true });
  svg.append(ring);
  host.append(tip);
  const targets = series.flatMap((s) => s.points.map((p) => ({ s, p, px: x(p.x), py: y(p.y) })));
  for (const r of spec.references ?? []) targets.push({ s: null, p: r, px: x(r.x), py: y(r.y) });
  let current = null;
  const show = (target) => {
    current = target;
    tip.hidden = !target;
    ring.toggleAttribute("hidden", !target);
    if (!target) return;
    ring.setAttribute("cx", target.px);
    ring.setAttribute("cy", target.py);
    const lines = spec.read(target.p, target.s);
    replace(tip, ...lines.map((text, n) => el(n ? "span" : "strong", { text })));
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(Math.max(target.px, half + 2), width - half - 2)}px`;
    const above = target.py - tip.offsetHeight - 14;
    tip.style.top = `${above > 0 ? above : target.py + 16}px`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(),
      scale = width / box.width;
    const px = (event.clientX - box.left) * scale,
      py = (event.clientY - box.top) * scale;
    let best = null,
      least = NEAR_PX;
    for (const t of targets) {
      const far = Math.hypot(t.px - px, t.py - py);
      if (far < least) [best, least] = [t, far];
    }
    show(best);
  });
  svg.addEventListener("pointerleave", () => show(null));
  svg.addEventListener("blur", () => show(null));
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "application");
  svg.setAttribute("aria-label", `${spec.label}. Arrow keys read the points.`);
  svg.addEventListener("keydown", (event) => {
    const lines = series.map((s) => targets.filter((t) => t.s === s));
    if (!lines.length) return;
    let line = Math.max(
      0,
      lines.findIndex((l) => l.includes(current)),
    );
    let place = Math.max(0, lines[line].indexOf(current));
    if (event.key === "Escape") return show(null);
    if (event.key === "ArrowRight") place += current ? 1 : 0;
    else if (event.key === "ArrowLeft") place -= 1;
    else if (event.key === "ArrowUp") line += lines.length - 1;
    else if (event.key === "ArrowDown") line += current ? 1 : 0;
    else return;
    event.preventDefault();
    const chosen = lines[line % lines.length];
    show(chosen[Math.min(Math.max(place, 0), chosen.length - 1)]);
  });
}

/** Draw now and again whenever the width of the host changes. */
function onWidth(host, redraw) {
  let width = -1;
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    redraw();
  }).observe(host);
}
