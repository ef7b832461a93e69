// The rest of the page, and its beginning.

function buildHead() {
  document.title = `${data.title} · tgvc`;
  byId("title").textContent = data.title;
  const seconds = data.clips.reduce((sum, c) => sum + c.frames / c.fps, 0);
  const failed = data.entries.length - measured.length;
  const rates = data.rates.map((r) => +r.toPrecision(4));
  byId("facts").textContent = [
    `${data.clips.length} ${data.clips.length === 1 ? "clip" : "clips"}, ${whole(seconds)} s of ${sizeNames.join(", ")}${data.crop ? `, the middle ${data.crop}` : ""}`,
    `${data.systems.length} systems`,
    `${rates.length > 1 ? `${rates[0]} to ${rates.at(-1)}` : (rates[0] ?? "no")} ${data.unit.title}`,
    `${data.entries.length} measurements${failed ? `, ${failed} of them failed` : ""}`,
  ].join(" · ");
}

/** FID and the like: of all frames of all clips at once, so no clip has them. */
function buildSets(section) {
  if (!data.sets.length) return section.remove();
  const keys = [...new Set(data.sets.flatMap((row) => Object.keys(row.scores)))];
  const head = ["system", `asked ${data.unit.short}`, "frames", ...keys].map((text, n) =>
    el("th", {
      scope: "col",
      class: n ? null : "text",
      text: metrics.get(text)?.title ?? text.replace(/^[fk]id$/, (t) => t.toUpperCase()),
    }),
  );
  const body = data.sets.map((row) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", class: "text" }, badge(systems.get(row.system)), systems.get(row.system).title),
      el("td", { text: String(row.rate) }),
      el("td", { text: whole(row.frames) }),
      ...keys.map((k) =>
        el("td", { text: row.scores[k] === undefined ? "–" : minus(String(+row.scores[k].toPrecision(5))) }),
      ),
    ),
  );
  section.append(
    scroller("All frames together", el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body))),
  );
}

function buildAblations(section) {
  const groups = Map.groupBy(data.ablations, (row) => row.title ?? "");
  if (!groups.size) return section.remove();
  const show = (value) =>
    typeof value === "number" ? minus(String(+value.toPrecision(5))) : (systems.get(value)?.title ?? value ?? "–");
  for (const [name, rows] of groups) {
    const columns = [...new Set(rows.flatMap(Object.keys))].filter((key) => key !== "title");
    const kind = (row, key) => (typeof row[key] === "string" ? "text" : null);
    const head = columns.map((key) =>
      el("th", { scope: "col", class: kind(rows[0], key), text: metrics.get(key)?.title ?? key.replaceAll("_", " ") }),
    );
    const body = rows.map((row) =>
      el("tr", {}, ...columns.map((key) => el("td", { class: kind(row, key), text: show(row[key]) }))),
    );
    if (name) section.append(el("h3", { text: name }));
    section.append(
      scroller(name || "Ablations", el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body))),
    );
  }
}

function buildMethod(section) {
  const terms = (rows) =>
    el(
      "dl",
      {},
      ...rows.flatMap(([term, ...parts]) => [el("dt", {}, ...[term].flat()), el("dd", {}, ...parts.filter(Boolean))]),
    );
  const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
  section.append(
    el("h3", { text: "Systems" }),
    terms(
      data.systems.map((s) => [
        [badge(s), s.title],
        s.note || null,
        Object.keys(s.options).length
          ? el("code", {
              text: Object.entries(s.options)
                .map(([k, v]) => `${k}=${plain(v)}`)
                .join("  "),
            })
          : null,
      ]),
    ),
    el("h3", { text: "Metrics" }),
    terms(data.metrics.map((m) => [m.title, `${m.of}; ${betterText(m)}${m.unit ? `; ${m.unit}` : ""}`])),
  );
  if (data.command)
    section.append(
      el("h3", { text: "Command" }),
      el("pre", { tabindex: "0", "aria-label": "Command" }, el("code", { text: data.command })),
    );
  const rows = (values) =>
    Object.entries(values).map(([k, v]) => [
      k,
      v !== null && typeof v === "object"
        ? Object.entries(v)
            .map(([a, b]) => `${a} ${plain(b)}`)
            .join(", ")
        : plain(v),
    ]);
  for (const [title, values] of [
    ["Machine", data.machine],
    ["Weights", data.weights],
    ["Clips that could not be read", data.failed_clips],
  ]) {
    if (Object.keys(values).length) section.append(el("h3", { text: title }), terms(rows(values)));
  }
}

function buildNav() {
  for (const section of document.querySelectorAll("main > section")) {
    byId("nav").append(
      el("li", {}, el("a", { href: `#${section.id}`, text: section.querySelector("h2").textContent })),
    );
  }
}

buildHead();
buildCurves(byId("curves"));
buildMatrix(byId("matrix"));
buildStage(byId("player"));
buildTable(byId("table"));
buildLayers(byId("layers"));
buildSets(byId("sets"));
buildAblations(byId("ablations"));
buildPublished(byId("published"));
buildMethod(byId("method"));
buildNav();
document.documentElement.dataset.ready = "yes";
