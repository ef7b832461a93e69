// BD-rates: a matrix of systems and metrics, and for one metric how far the clips agree.

const FULL_TINT = 40; // per cent of bits at which a cell has its full colour

function buildMatrix(section) {
  const shown = data.metrics.filter((m) => data.bd_rate[m.id]);
  if (!shown.length) return section.remove();
  const anchors = [...new Set(shown.map((m) => data.bd_rate[m.id].anchor))];
  const methods = [...new Set(shown.map((m) => data.bd_rate[m.id].method))];
  const title = (id) => systems.get(id)?.title ?? id;
  section.append(
    el(
      "div",
      { class: "caption" },
      `BD-rate against ${anchors.map(title).join(", ")}: how many bits a system needs more (+) or less (−) ` +
        "for the same value. Small: 95 % of the mean over clips.",
      el("details", {}, el("summary", { text: "Method" }), `${methods.join("; ")}.`),
    ),
  );
  let chosen = shown.some((m) => m.id === state.metric) ? state.metric : shown[0].id;

  const kinds = el("tr", { class: "kinds" }, el("th"));
  const head = el("tr", {}, el("th", { scope: "col", text: "system" }));
  for (const kind of new Set(shown.map((m) => m.of))) {
    kinds.append(el("th", { scope: "colgroup", colspan: shown.filter((m) => m.of === kind).length, text: kind }));
  }
  for (const m of shown) {
    head.append(
      el(
        "th",
        { scope: "col" },
        el(
          "button",
          {
            type: "button",
            "data-metric": m.id,
            title: `${m.title}: show its clips`,
            onclick: () => {
              chosen = m.id;
              redraw();
            },
          },
          el("span", { text: m.short }),
        ),
      ),
    );
  }
  const body = el("tbody");
  for (const system of data.systems) {
    const cells = shown.map((m) => matrixCell(data.bd_rate[m.id], system.id));
    if (cells.every((c) => c.dataset.state === "none")) continue;
    body.append(
      el(
        "tr",
        { "data-system": system.id },
        el("th", { scope: "row" }, badge(system), el("span", { text: system.title })),
        ...cells,
      ),
    );
  }
  const forest = el("div", { class: "plot", id: "forest" });
  const caption = el("p", { class: "caption" });
  section.append(
    scroller("BD-rate by system and metric", el("table", { class: "matrix" }, el("thead", {}, kinds, head), body)),
    el("figure", {}, el("figcaption", {}, caption), forest),
  );

  const redraw = () => {
    for (const b of head.querySelectorAll("button")) b.setAttribute("aria-pressed", b.dataset.metric === chosen);
    replace(
      caption,
      el("strong", { text: metrics.get(chosen).title }),
      " clip by clip: dots are clips, the bar is 95 % of their mean.",
    );
    drawForest(forest, data.bd_rate[chosen]);
  };
  redraw();
  onWidth(forest, redraw);
}

function matrixCell(rates, system) {
  const found = rates.systems[system];
  if (rates.anchor === system) return el("td", { class: "anchor", "data-state": "anchor", text: "anchor" });
  if (!found || found.mean === null || found.mean === undefined) {
    return el("td", {
      class: "none",
      "data-state": "none",
      text: "–",
      title: "the curves have no common range of values",
    });
  }
  const cell = el(
    "td",
    { class: found.mean <= 0 ? "fewer" : "more", "data-state": "value", "data-value": found.mean },
    el("span", { text: percent(found.mean) }),
  );
  cell.style.setProperty("--tint", Math.min(1, Math.abs(found.mean) / FULL_TINT).toFixed(3));
  if (found.low !== null && found.low !== undefined)
    cell.append(el("small", { text: `${fixed(found.low, 1)} to ${fixed(found.high, 1)}` }));
  return cell;
}

function drawForest(host, rates) {
  const rows = data.systems
    .filter((s) => rates.systems[s.id] && s.id !== rates.anchor)
    .map((s) => ({
      s,
      r: rates.systems[s.id],
      dots: Object.entries(rates.systems[s.id].clips ?? {}).filter(([, v]) => v !== null),
    }))
    .filter((row) => row.dots.length);
  if (!rows.length) return replace(host);
  const width = Math.max(200, host.clientWidth),
    narrow = width < 520,
    line = narrow ? 46 : 34;
  const left = narrow ? 10 : Math.min(220, 30 + 6.6 * Math.max(...rows.map((r) => r.s.title.length)));
  const height = rows.length * line + 40,
    bottom = height - 34;
  const all = [0, ...rows.flatMap((r) => [...r.dots.map(([, v]) => v), r.r.low ?? 0, r.r.high ?? 0])];
  const pad = (Math.max(...all) - Math.min(...all)) * 0.06 || 1;
  const x = linearScale([Math.min(...all) - pad, Math.max(...all) + pad], [left, width - 14]);
  const svg = draw("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-label": "BD-rate of every clip",
  });
  for (const t of niceTicks(x.invert(left), x.invert(width - 14), Math.max(4, Math.floor((width - left) / 90)))) {
    svg.append(draw("line", { class: t === 0 ? "axis" : "grid", x1: x(t), x2: x(t), y1: 0, y2: bottom }));
    svg.append(
      draw("text", {
        class: "tick",
        x: x(t),
        y: bottom + 18,
        "text-anchor": "middle",
        text: `${t > 0 ? "+" : ""}${minus(String(t))} %`,
      }),
    );
  }
  rows.forEach(({ s, r, dots }, n) => {
    const y = n * line + (narrow ? 30 : line / 2);
    svg.append(
      draw("text", {
        class: `name ${s.colour}`,
        x: narrow ? left : left - 12,
        y: narrow ? y - 14 : y + 4,
        "text-anchor": narrow ? "start" : "end",
        text: s.title,
      }),
    );
    if (r.low !== null && r.low !== undefined) {
      svg.append(draw("line", { class: `interval ${s.colour}`, x1: x(r.low), x2: x(r.high), y1: y, y2: y }));
    }
    for (const [clip, value] of dots) {
      svg.append(
        draw(
          "circle",
          { class: `dot ${s.colour}`, cx: x(value), cy: y, r: 3.6, "data-clip": clip },
          draw("title", { text: `${clip}: ${percent(value)}` }),
        ),
      );
    }
    svg.append(
      draw(
        "path",
        { class: `mark ${s.colour}`, d: markPath("diamond", x(r.mean), y, 6) },
        draw("title", { text: `mean ${percent(r.mean)}` }),
      ),
    );
  });
  replace(host, svg);
}
