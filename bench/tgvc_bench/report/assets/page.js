// The rest of the page, and its beginning.

function buildHead() {
  document.title = `${data.title} · tgvc`;
  byId("title").textContent = data.title;
  const seconds = data.clips.reduce((sum, c) => sum + c.frames / c.fps, 0);
  const failed = data.entries.length - measured.length;
  const rates = data.rates.map((r) => +r.toPrecision(4));
  byId("facts").textContent = [
    `${data.clips.length} ${data.clips.length === 1 ? "clip" : "clips"}, ${whole(seconds)} s of ${sizeNames.join(", ")}`,
    `${data.systems.length} systems`,
    rates.length > 1 ? `${rates[0]} to ${rates.at(-1)} bits per pixel` : `${rates[0] ?? "no"} bits per pixel`,
    `${data.entries.length} measurements${failed ? `, ${failed} of them failed` : ""}`,
  ].join(" · ");
}

function buildAblations(section) {
  const groups = Map.groupBy(data.ablations, (row) => row.name ?? "");
  if (!groups.size) return section.remove();
  const show = (value) => (typeof value === "number" ? minus(String(+value.toPrecision(5))) : value ?? "–");
  for (const [name, rows] of groups) {
    const columns = [...new Set(rows.flatMap(Object.keys))].filter((key) => key !== "name");
    const kind = (row, key) => (typeof row[key] === "string" ? "text" : null);
    const head = columns.map((key) => el("th", { scope: "col", class: kind(rows[0], key), text: metrics.get(key)?.title ?? key.replaceAll("_", " ") }));
    const body = rows.map((row) => el("tr", {}, ...columns.map((key) => el("td", { class: kind(row, key), text: show(row[key]) }))));
    if (name) section.append(el("h3", { text: name }));
    section.append(scroller(name || "Ablations", el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body))));
  }
}

function buildMethod(section) {
  const terms = (rows) => el("dl", {}, ...rows.flatMap(([term, ...parts]) => [el("dt", {}, ...[term].flat()), el("dd", {}, ...parts.filter(Boolean))]));
  const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
  section.append(
    el("h3", { text: "Systems" }),
    terms(data.systems.map((s) => [[badge(s), s.title], s.note || null, Object.keys(s.options).length ? el("code", { text: Object.entries(s.options).map(([k, v]) => `${k}=${plain(v)}`).join("  ") }) : null])),
    el("h3", { text: "Metrics" }),
    terms(data.metrics.map((m) => [m.title, `${m.of}; ${betterText(m)}${m.unit ? `; in ${m.unit}` : ""}`])));
  if (data.command) section.append(el("h3", { text: "Command" }), el("pre", { tabindex: "0", "aria-label": "Command" }, el("code", { text: data.command })));
  const machine = Object.entries(data.machine).map(([k, v]) => [k, v !== null && typeof v === "object" ? Object.entries(v).map(([a, b]) => `${a} ${plain(b)}`).join(", ") : plain(v)]);
  if (machine.length) section.append(el("h3", { text: "Machine" }), terms(machine));
}

function buildNav() {
  for (const section of document.querySelectorAll("main > section")) {
    byId("nav").append(el("li", {}, el("a", { href: `#${section.id}`, text: section.querySelector("h2").textContent })));
  }
}

buildHead();
buildCurves(byId("curves"));
buildMatrix(byId("matrix"));
buildStage(byId("player"));
buildTable(byId("table"));
buildLayers(byId("layers"));
buildAblations(byId("ablations"));
buildPublished(byId("published"));
buildMethod(byId("method"));
buildNav();
document.documentElement.dataset.ready = "yes";
