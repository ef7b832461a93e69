// Values frame by frame: a curve under the players, and a list of the worst frames that leads to them.

const APART_FRAMES = 8; // of the same clip: a bad moment is listed once
const LISTED = 20;

const frameMetrics = [...new Set(data.frames.flatMap((f) => Object.keys(f)))];
const frameTitle = (id) => metrics.get(id)?.title ?? id;
const frameText = (id, value) =>
  metrics.has(id) ? `${metrics.get(id).short} ${scoreText(metrics.get(id), value)}` : `${id} ${fixed(value, 4)}`;
const frameBetter = (id) => metrics.get(id)?.better ?? "higher";
const frameValue = (entry, metric, frame) => data.frames[entry.number]?.[metric]?.[frame] ?? null;

/**
 * Frames of a system at a rate, worst first; of neighbours only the worst.
 * @param against a system whose value of the same frame is taken off, or "" for none
 */
function worstFrames(system, against, metric, rate) {
  const sign = frameBetter(metric) === "higher" ? 1 : -1,
    all = [];
  for (const entry of measured) {
    if (entry.system !== system || entry.rate !== rate) continue;
    const other = against ? entryOf(entry.clip, against, rate) : null;
    (data.frames[entry.number]?.[metric] ?? []).forEach((own, frame) => {
      const theirs = against ? other && frameValue(other, metric, frame) : 0;
      if (own !== null && theirs !== null) all.push({ clip: entry.clip, frame, value: own - theirs });
    });
  }
  all.sort((a, b) => sign * (a.value - b.value));
  const kept = [];
  for (const item of all) {
    if (kept.length === LISTED) break;
    if (!kept.some((k) => k.clip === item.clip && Math.abs(k.frame - item.frame) < APART_FRAMES)) kept.push(item);
  }
  return kept;
}

/** @param stage what the players offer, or null where there are none */
function buildFrames(host, stage) {
  if (!frameMetrics.length) return null;
  const having = data.systems.filter((s) =>
    measured.some((e) => e.system === s.id && Object.keys(data.frames[e.number] ?? {}).length),
  );
  const own = { metric: frameMetrics[0], system: having[0].id, against: "" };
  const list = el("ol", { class: "worst", id: "worst" });
  const plot = el("div", { class: "plot frame-plot", id: "frame-chart" });
  const caption = el("p", { class: "caption" });
  const panel = el(
    "aside",
    { class: "worst-panel", "aria-label": "Worst frames" },
    el("h3", { text: "Worst frames first" }),
    el(
      "div",
      { class: "controls" },
      choice(
        "By",
        frameMetrics.map((m) => [m, frameTitle(m)]),
        own.metric,
        (metric) => {
          own.metric = metric;
          redrawList();
          changed();
          stage?.refresh();
        },
        "worst-metric",
      ),
      choice(
        "Of",
        having.map((s) => [s.id, s.title]),
        own.system,
        (system) => {
          own.system = system;
          redrawList();
        },
        "worst-system",
      ),
      choice(
        "Against",
        [["", "nothing"], ...having.map((s) => [s.id, s.title])],
        own.against,
        (against) => {
          own.against = against;
          redrawList();
        },
        "worst-against",
      ),
    ),
    list,
  );
  if (stage) host.append(el("figure", { class: "frame-figure" }, el("figcaption", {}, caption), plot));
  host.append(panel);

  function redrawList() {
    const items = worstFrames(own.system, own.against, own.metric, state.rate);
    const digits = metrics.get(own.metric)?.digits ?? 4;
    const values = items.map((i) => i.value),
      worst = values[0],
      best = values.at(-1);
    replace(
      list,
      ...items.map((item) => {
        const reach = el("i", { class: "reach" });
        reach.style.width = `${100 - 80 * (worst === best ? 0 : (item.value - worst) / (best - worst))}%`;
        return el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              "data-clip": item.clip,
              "data-frame": item.frame,
              "data-value": item.value,
              onclick: () => stage?.jump(item.clip, own.system, item.frame, own.against),
            },
            el("span", { class: "worst-clip", text: item.clip }),
            el("span", { class: "worst-frame", text: `frame ${item.frame + 1}` }),
            el("span", {
              class: "worst-value",
              text: (own.against && item.value > 0 ? "+" : "") + fixed(item.value, digits),
            }),
            reach,
          ),
        );
      }),
    );
    if (!items.length) replace(list, el("li", { class: "note", text: "No values by frame at this rate." }));
  }

  let scale = null,
    cursor = null;
  function changed() {
    if (!stage) return;
    const clip = clips.get(stage.view.clip);
    const lines = stage.panes
      .filter((p) => p.entry)
      .map((p) => ({ system: systems.get(p.id), values: data.frames[p.entry.number]?.[own.metric] ?? [] }))
      .filter((l) => l.values.length);
    replace(
      caption,
      el("strong", { text: frameTitle(own.metric) }),
      " frame by frame. ",
      ...lines.map((l) => el("span", { class: "key" }, badge(l.system), l.system.title)),
    );
    const width = Math.max(120, plot.clientWidth),
      height = 116;
    const all = lines.flatMap((l) => l.values).filter((v) => v !== null);
    if (!all.length) return void replace(plot);
    const low = Math.min(...all),
      high = Math.max(...all),
      pad = (high - low) * 0.08 || 1;
    scale = linearScale([0, clip.frames - 1], [44, width - 8]);
    const y = linearScale([low - pad, high + pad], [height - 8, 8]);
    const svg = draw("svg", {
      class: "chart",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": `${frameTitle(own.metric)} by frame`,
    });
    const ticks = niceTicks(low, high, 3);
    for (const t of ticks) {
      svg.append(draw("line", { class: "grid", x1: 44, x2: width - 8, y1: y(t), y2: y(t) }));
      svg.append(
        draw("text", {
          class: "tick",
          x: 37,
          y: y(t) + 4,
          "text-anchor": "end",
          text: minus(t.toFixed(tickDigits(ticks))),
        }),
      );
    }
    for (const { system, values } of lines) {
      const points = values.map((v, n) => ({ x: n, y: v })).filter((p) => p.y !== null);
      svg.append(draw("path", { class: `line ${system.colour}`, d: path(points, scale, y), "data-series": system.id }));
    }
    cursor = draw("line", { class: "cursor", y1: 4, y2: height - 4 });
    svg.append(cursor);
    const seek = (event) => {
      if (event.type === "pointermove" && !(event.buttons & 1)) return;
      const box = svg.getBoundingClientRect();
      stage.seek(scale.invert(((event.clientX - box.left) * width) / box.width));
    };
    svg.addEventListener("pointerdown", seek);
    svg.addEventListener("pointermove", seek);
    replace(plot, svg);
    moved(stage.frame);
  }
  function moved(frame) {
    if (!cursor) return;
    cursor.setAttribute("x1", scale(frame));
    cursor.setAttribute("x2", scale(frame));
  }

  watch(["rate"], redrawList);
  if (stage) onWidth(plot, changed);
  return {
    changed,
    moved,
    get metric() {
      return own.metric;
    },
  };
}
