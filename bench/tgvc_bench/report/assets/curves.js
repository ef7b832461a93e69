// Rate against quality: one large chart of the mean or of a clip, and a small one of every clip to choose from.

function buildCurves(section) {
  if (!data.metrics.length) return section.remove();
  const places = [
    ...sizeNames.map((size) => [meanKey(size), `mean of ${data.sizes[size].length} clips of ${size}`]),
    ...data.clips.map((c) => [c.name, c.name]),
  ];
  const controls = el(
    "div",
    { class: "controls" },
    choice(
      "Metric",
      data.metrics.map((m) => [m.id, m.title]),
      state.metric,
      (metric) => choose({ metric }),
      "metric",
    ),
    choice("Clips", places, state.place, (place) => choose({ place }), "place"),
  );
  const bands = el(
    "label",
    { class: "check" },
    el("input", { type: "checkbox", id: "bands", checked: true, onchange: (e) => choose({ bands: e.target.checked }) }),
    el("span", { text: "95 % bands" }),
  );
  controls.append(bands);
  const legend = el("div", { class: "legend", role: "group", "aria-label": "Systems that are drawn" });
  for (const system of data.systems) {
    legend.append(
      el(
        "button",
        {
          type: "button",
          class: "chip",
          "data-system": system.id,
          "aria-pressed": "true",
          title: system.note || null,
          onclick: () => {
            const hidden = new Set(state.hidden);
            if (!hidden.delete(system.id)) hidden.add(system.id);
            choose({ hidden });
          },
        },
        badge(system),
        el("span", { text: system.title }),
      ),
    );
  }
  const caption = el("p", { class: "caption", id: "curve-caption" });
  const host = el("div", { class: "plot", id: "curve-chart" });
  const note = el("p", { class: "note", id: "curve-note" });
  const grid = el("div", { class: "multiples", role: "group", "aria-label": "Clips" });
  section.append(controls, legend, el("figure", {}, el("figcaption", {}, caption), host), note, grid);

  const minis = data.clips.map((clip) => {
    const plot = el("span", { class: "mini" });
    const button = el(
      "button",
      {
        type: "button",
        "data-clip": clip.name,
        onclick: () => choose({ place: clip.name === state.place ? meanKey(sizeNames[0]) : clip.name }),
      },
      plot,
      el("span", { class: "mini-name", text: clip.name }),
    );
    grid.append(button);
    return { clip, plot, button };
  });
  if (data.clips.length < 2) grid.hidden = true;

  const redraw = () => {
    const metric = metrics.get(state.metric),
      mean = isMean(state.place);
    byId("metric").value = state.metric;
    byId("place").value = state.place;
    for (const chip of legend.children) chip.setAttribute("aria-pressed", !state.hidden.has(chip.dataset.system));
    bands.hidden = !mean;
    replace(
      caption,
      el("strong", { text: metric.title + (metric.unit ? `, ${metric.unit}` : "") }),
      ` ${metric.better === "higher" ? "↑" : "↓"} ${betterText(metric)}`,
    );
    const references = mean
      ? (data.marks[state.metric]?.[state.place.slice(5)] ?? []).map((m) => ({ ...m, x: m.bpp, y: m.value }))
      : [];
    const series = seriesAt(state.place);
    const sweep = mean ? [] : sweepAt(state.place, state.metric, series);
    drawChart(host, {
      label: `${metric.title} over ${data.unit.title}, ${places.find(([key]) => key === state.place)[1]}`,
      series,
      references,
      sweep,
      height: host.clientWidth < 520 ? 300 : 400,
      bands: mean && state.bands,
      labels: true,
      read: (p, s) => (s ? readPoint(p, s, metric) : readReference(p, metric)),
    });
    replace(note, ...curveNotes(series, references, sweep, mean));
  };
  const redrawMinis = () => {
    for (const { clip, plot, button } of minis) {
      button.setAttribute("aria-pressed", clip.name === state.place);
      drawChart(plot, { series: seriesAt(clip.name), height: 84, small: true, label: clip.name });
    }
  };
  onWidth(host, redraw);
  onWidth(grid, redrawMinis);
  watch(["metric", "place", "hidden", "bands"], redraw);
  watch(["metric", "place", "hidden"], redrawMinis);
}

const seriesAt = (place) =>
  data.systems
    .filter((s) => !state.hidden.has(s.id))
    .map((s) => ({ ...s, points: curvePoints(s.id, place, state.metric) }))
    .filter((s) => s.points.length);

function readPoint(p, s, metric) {
  const lines = [s.title, `${scoreText(metric, p.y)} at ${spentText(p.x)}`];
  if (p.low !== null && p.low !== undefined)
    lines.push(`95 %: ${fixed(p.low, metric.digits)} to ${fixed(p.high, metric.digits)}`);
  if (p.of) lines.push(p.whole ? `asked ${rateText(p.rate)}, ${p.of} clips` : `only ${p.clips} of ${p.of} clips`);
  if (p.bytes) lines.push([`${whole(p.bytes)} bytes`, ...otherRate(p)].join(", "));
  if (p.size) lines.push(`coded at ${p.size.join("x")}`);
  return lines;
}

/** What a measurement takes in the unit that is not the record's. */
const otherRate = (p) =>
  data.unit.id === "kbps" ? [bppText(p.bpp)] : p.kbps ? [`${fixed(p.kbps, 1)} kbit/s`] : [];

const readReference = (p, metric) => [
  `${p.title}, published`,
  `${fixed(p.value, metric.digits)} at ${spentText(p.bpp)}`,
  `mean over ${p.set}`,
  "another protocol: see Published numbers",
];

/** Every file that a conventional encoder was tried with, about the rates that are drawn. */
function sweepAt(place, metric, series) {
  const rates = series.flatMap((s) => s.points.map((p) => p.x));
  const near = (p) => spent(p) > Math.min(...rates) / 1.5 && spent(p) < Math.max(...rates) * 1.5;
  return series.flatMap((s) =>
    (data.points[place]?.[s.id] ?? [])
      .filter((p) => typeof p.scores[metric] === "number" && near(p))
      .map((p) => ({ x: spent(p), y: p.scores[metric], colour: s.colour })),
  );
}

function curveNotes(series, references, sweep, mean) {
  const notes = [];
  if (mean && state.bands && series.some((s) => s.points.some((p) => p.low !== null && p.low !== undefined))) {
    notes.push(
      "Bands: where 95 % of means fall when the clips are drawn anew; what a clip does to all systems alike is taken out. ",
    );
  }
  if (mean && series.some((s) => s.points.some((p) => p.whole === false))) {
    notes.push(
      "Hollow: the system could not code every clip at this rate; a mean over other clips is not comparable. ",
    );
  }
  if (sweep.length) notes.push("Small dots: other files of the same encoder, of other sizes and qualities. ");
  if (references.length)
    notes.push(
      "Grey diamonds: published by others under another protocol, shown for orientation, ranked with nothing. ",
    );
  if (mean && sizeNames.length > 1) notes.push("Clips of different sizes are never averaged together.");
  return notes;
}
