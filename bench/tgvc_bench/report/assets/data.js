// What is shown, and what the reader chose. Sections register what they draw from; `choose` redraws only those.

const data = JSON.parse(byId("record").textContent);
const clips = new Map(data.clips.map((c) => [c.name, c]));
const metrics = new Map(data.metrics.map((m) => [m.id, m]));
const systems = new Map(data.systems.map((s) => [s.id, s]));

// In headings a title is as short as it can be without being another's.
for (const metric of data.metrics) {
  const short = (m) => m.title.split(/[,:(]/)[0].trim();
  metric.short = data.metrics.some((m) => m !== metric && short(m) === short(metric)) ? metric.title : short(metric);
}

// Colour tells systems of a family apart, the dash tells families apart, the mark does both without colour.
const COLOURS = 6;
const MARKS = ["circle", "square", "triangle", "diamond", "wedge", "cross", "star", "bar"];
{
  const counts = {};
  data.systems.forEach((system, order) => {
    const number = (counts[system.family] = (counts[system.family] ?? -1) + 1);
    system.colour = `${system.family === "tgvc" ? "ours" : "other"}-${number % COLOURS}`;
    system.mark = MARKS[order % MARKS.length];
    system.dashed = system.family !== "tgvc";
  });
}

const measured = data.entries.map((entry, number) => ({ ...entry, number })).filter((e) => !e.error);
const entryOf = (clip, system, rate) =>
  measured.find((e) => e.clip === clip && e.system === system && e.rate === rate) ?? null;
/** What an entry, a mean or a file of a sweep takes, in the unit of the record. */
const spent = (p) => p[data.unit.id];
const sizeNames = Object.keys(data.sizes);
const meanKey = (size) => `mean ${size}`;
const isMean = (place) => place.startsWith("mean ") && !clips.has(place);

/** The middle one of the rates at which something can be played; of all, where nothing can. */
function middleRate() {
  const played = data.rates.filter((rate) => data.media.some((m) => m.rate === rate));
  const rates = played.length ? played : data.rates;
  return rates[Math.floor((rates.length - 1) / 2)];
}

const state = {
  metric: (metrics.get("ms_ssim") ?? data.metrics[0])?.id,
  place: meanKey(sizeNames[0] ?? ""), // a clip, or the mean over those of one size
  rate: middleRate(),
  hidden: new Set(),
  bands: true,
};
const listeners = [];

/** Call `redraw` now and whenever one of the named choices changes. */
function watch(names, redraw) {
  listeners.push([names, redraw]);
  redraw();
}

function choose(changes) {
  const changed = Object.keys(changes).filter((name) => state[name] !== changes[name]);
  Object.assign(state, changes);
  for (const [names, redraw] of listeners) if (names.some((name) => changed.includes(name))) redraw();
}

/** Points of a system's curve at a place: means, or a clip's best entry at every rate. */
function curvePoints(system, place, metric) {
  if (isMean(place)) {
    const size = place.slice(5);
    return (data.means[metric] ?? [])
      .filter((p) => p.system === system && p.size === size)
      .map((p) => ({ ...p, x: spent(p), y: p.value, of: data.sizes[size].length }));
  }
  const sign = metrics.get(metric).better === "higher" ? 1 : -1;
  const best = new Map();
  for (const entry of measured) {
    const value = entry.scores[metric];
    if (entry.clip !== place || entry.system !== system || value === null || value === undefined) continue;
    const other = best.get(entry.rate);
    if (!other || sign * value > sign * other.y)
      best.set(entry.rate, { ...entry, x: spent(entry), y: value, whole: true });
  }
  return [...best.values()].sort((a, b) => a.x - b.x);
}

/** The sign of a system: its mark in its colour. */
function badge(system) {
  const path = markPath(system.mark, 7, 7, 4.5);
  return draw(
    "svg",
    { class: `badge ${system.colour}`, viewBox: "0 0 14 14", "aria-hidden": "true" },
    draw("path", { d: path }),
  );
}
