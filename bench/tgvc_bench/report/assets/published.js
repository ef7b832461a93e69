// What others published, each with its source and with what separates it from this record. Nothing here is ranked.

function buildPublished(section) {
  if (!data.published.length) return section.remove();
  section.append(
    el("p", {
      class: "caption",
      text:
        "As their authors published them, for orientation. Other content, other metrics and often other picture " +
        "sizes: no order between these numbers and the measurements above follows from them.",
    }),
  );
  for (const document of data.published) section.append(publishedArticle(document));
}

function publishedArticle(document) {
  const keys = Object.keys(document.metrics);
  const sets = [...new Set(document.points.map((p) => p.set))];
  const own = { metric: keys[0] };
  const grid = el("div", { class: "sets" });
  const series = Object.entries(document.systems).map(([id, s], n) => ({
    id,
    title: s.title,
    dashed: !s.own,
    colour: s.own ? "cited" : `other-${n % COLOURS}`,
    mark: s.own ? "diamond" : MARKS[n % MARKS.length],
  }));
  const legend = el(
    "p",
    { class: "legend" },
    ...series.map((s) => el("span", { class: "chip still" }, badge(s), el("span", { text: s.title }))),
  );
  const picker = segments(
    "Metric",
    keys.map((k) => [k, document.metrics[k].title]),
    own.metric,
    (metric) => {
      own.metric = metric;
      redraw();
    },
  );
  const plots = sets.map((set) => {
    const plot = el("div", { class: "plot" });
    grid.append(el("figure", { "data-set": set }, el("figcaption", { text: set }), plot));
    return [set, plot];
  });
  const redraw = () => {
    picker.show(own.metric);
    const facts = document.metrics[own.metric];
    for (const [set, plot] of plots) {
      const drawn = series.map((s) => ({
        ...s,
        points: document.points
          .filter((p) => p.set === set && p.system === s.id && own.metric in p.scores)
          .map((p) => ({ x: p.bpp, y: p.scores[own.metric], read: p.read }))
          .sort((a, b) => a.x - b.x),
      }));
      drawChart(plot, {
        label: `${facts.title} on ${set}, ${document.title}`,
        rates: "bits per pixel",
        series: drawn,
        height: 230,
        read: (p, s) => [
          s.title,
          `${facts.title} ${+p.y.toPrecision(4)} at ${bppText(p.x)}`,
          p.read === "table" ? "printed" : "read from a figure",
        ],
      });
    }
  };
  onWidth(grid, redraw);
  return el(
    "article",
    { class: "document", "data-document": document.id },
    el("h3", {}, document.title, el("span", { class: "size", text: document.size })),
    el("div", { class: "controls" }, picker, legend),
    grid,
    el("h4", { text: "Not the protocol of this record" }),
    el("ul", { class: "differences" }, ...document.differences.map((text) => el("li", { text }))),
    el(
      "p",
      { class: "note" },
      `Source: ${document.source}. `,
      ...Object.values(document.reading ?? {}).map((text) => `Values ${text}. `),
      ...(document.notes ?? []).map((text) => `${text} `),
    ),
  );
}
