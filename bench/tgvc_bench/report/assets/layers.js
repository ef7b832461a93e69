// Bits by layer of every stream that says so.

const LAYER_NAMES = { pictures: "key pictures", motion: "motion", overhead: "container" };

function buildLayers(section) {
  const layered = measured.filter((e) => e.layers && data.layers.some((l) => e.layers[l] > 0));
  if (!layered.length) return section.remove();
  const rates = rateSegments();
  const key = el(
    "ul",
    { class: "layer-key" },
    ...data.layers.map((l) => el("li", {}, el("i", { class: `swatch layer-${l}` }), LAYER_NAMES[l] ?? l)),
  );
  const host = el("div", { class: "bars", id: "layer-bars" });
  section.append(el("div", { class: "controls" }, rates.field, key), host);
  const redraw = () => {
    rates.show(state.rate);
    const rows = mergeStreams(layered.filter((e) => e.rate === state.rate && !state.hidden.has(e.system)));
    if (!rows.length)
      return replace(host, el("p", { class: "note", text: "No stream at this rate says what its bits are for." }));
    const most = Math.max(...rows.map((r) => spent(r.entry)));
    const names = new Set(rows.map((r) => r.names));
    replace(host, ...rows.map((r) => layerRow(r, most, names.size > 1)));
  };
  watch(["rate", "hidden"], redraw);
}

/** Decoders of the same stream share a bar. */
function mergeStreams(entries) {
  const rows = new Map();
  for (const entry of entries) {
    const key = JSON.stringify([entry.clip, entry.bytes, entry.layers]);
    const title = systems.get(entry.system).title;
    if (rows.has(key)) rows.get(key).names += `, ${title}`;
    else rows.set(key, { entry, names: title });
  }
  return [...rows.values()];
}

function layerRow({ entry, names }, most, named) {
  const total = data.layers.reduce((sum, l) => sum + (entry.layers[l] ?? 0), 0);
  const bar = el("div", {
    class: "bar",
    role: "img",
    "aria-label": data.layers.map((l) => `${LAYER_NAMES[l]} ${entry.layers[l] ?? 0} bytes`).join(", "),
  });
  bar.style.width = `${(100 * spent(entry)) / most}%`;
  for (const layer of data.layers) {
    const share = (entry.layers[layer] ?? 0) / total;
    const part = el(
      "span",
      {
        class: `part layer-${layer}`,
        "data-layer": layer,
        "data-share": share.toFixed(4),
        title: `${LAYER_NAMES[layer]}: ${whole(entry.layers[layer] ?? 0)} bytes`,
      },
      share > 0.09 ? `${(100 * share).toFixed(0)} %` : "",
    );
    part.style.width = `${100 * share}%`;
    bar.append(part);
  }
  return el(
    "div",
    { class: "bar-row", "data-clip": entry.clip },
    el("div", { class: "bar-name" }, entry.clip, named ? el("small", { text: names }) : null),
    el("div", { class: "bar-track" }, bar),
    el("div", { class: "bar-value", text: `${whole(entry.bytes)} bytes` }),
  );
}
