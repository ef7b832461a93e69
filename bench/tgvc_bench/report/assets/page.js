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
  const groups = new Map();
  for (const row of data.ablations) {
    if (row === null || typeof row !== "object" || Array.isArray(row)) continue;
    const flat = Object.fromEntries(Object.entries(row).flatMap(([k, v]) => (v !== null && typeof v === "object" && !Array.isArray(v) ? Object.entries(v) : [[k, v]]))
      .filter(([, v]) => v === null || typeof v !== "object"));
    const name = flat.title ?? flat.name ?? "";
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(flat);
  }
  if (!groups.size) return section.remove();
  for (const [name, rows] of groups) {
    const keys = [...new Set(rows.flatMap((r) => Object.keys(r)))].filter((k) => k !== "title" && (k !== "name" || rows[0].title === undefined && false));
    const head = el("tr", {}, ...keys.map((k) => el("th", { scope: "col", class: typeof rows[0][k] === "string" ? "text" : null, text: k.replaceAll("_", " ") })));
    const body = rows.map((r) => el("tr", {}, ...keys.map((k) => el("td", { class: typeof r[k] === "string" ? "text" : null, text: typeof r[k] === "number" ? minus(String(+r[k].toPrecision(5))) : r[k] ?? "–" }))));
    section.append(name ? el("h3", { text: name }) : "", scroller(name || "Ablations", el("table", {}, el("thead", {}, head), el("tbody", {}, ...body))));
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
