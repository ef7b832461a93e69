// Every entry as a row, sortable by every column.

/** A table may be wider than the page: it scrolls inside, by keyboard too. */
const scroller = (label, table) =>
  el("div", { class: "scroller", role: "region", "aria-label": label, tabindex: "0" }, table);

function tableColumns() {
  const columns = [
    { id: "clip", title: "clip", text: true, value: (e) => e.clip, show: (v) => v },
    { id: "system", title: "system", text: true, value: (e) => systems.get(e.system).title, show: (v) => v },
    { id: "bpp", title: "bpp", value: (e) => e.bpp, show: (v) => fixed(v, 5) },
    { id: "kbps", title: "kbit/s", value: (e) => e.kbps, show: (v) => fixed(v, 2) },
    { id: "bytes", title: "bytes", value: (e) => e.bytes, show: (v) => (v === undefined ? "–" : whole(v)) },
  ];
  for (const m of data.metrics) {
    columns.push({
      id: m.id,
      title: m.short,
      metric: m,
      value: (e) => e.scores?.[m.id],
      show: (v) => fixed(v, m.digits),
    });
  }
  const some = (test) => measured.some(test);
  if (some((e) => e.size))
    columns.push({
      id: "size",
      title: "coded at",
      value: (e) => e.size?.[0],
      show: (v, e) => e.size?.join("x") ?? "–",
    });
  for (const verb of ["encode", "decode"]) {
    if (some((e) => e.seconds?.[verb] !== undefined)) {
      columns.push({
        id: verb,
        title: `${verb} s`,
        value: (e) => e.seconds?.[verb],
        show: (v) => fixed(v, v < 10 ? 2 : 1),
      });
    }
  }
  return columns;
}

function buildTable(section) {
  if (!data.entries.length) return section.remove();
  const columns = tableColumns();
  const order = { column: columns[0], down: false };
  const rates = rateSegments();
  const head = el("tr"),
    body = el("tbody");
  for (const column of columns) {
    const cell = el(
      "th",
      { scope: "col", class: column.text ? "text" : null, "data-column": column.id },
      el(
        "button",
        {
          type: "button",
          title: column.metric ? `${column.metric.title}: ${betterText(column.metric)}` : null,
          onclick: () => {
            if (order.column === column) order.down = !order.down;
            else Object.assign(order, { column, down: column.metric?.better === "higher" });
            redraw();
          },
        },
        el("span", { text: column.title }),
      ),
    );
    head.append(cell);
  }
  section.append(
    el("p", {
      class: "caption",
      text: "Bold: the best of a clip at this rate. A heading sorts; a second press turns the order round.",
    }),
    el("div", { class: "controls" }, rates.field),
    scroller("Entries", el("table", { class: "entries", id: "entries" }, el("thead", {}, head), body)),
  );

  const redraw = () => {
    rates.show(state.rate);
    for (const cell of head.children) {
      const active = order.column.id === cell.dataset.column;
      cell.setAttribute("aria-sort", active ? (order.down ? "descending" : "ascending") : "none");
    }
    const rows = data.entries.filter((e) => e.rate === state.rate && !state.hidden.has(e.system));
    const best = bestOf(rows);
    rows.sort((a, b) => compareRows(order.column.value(a), order.column.value(b), order.down));
    replace(body, ...rows.map((entry) => tableRow(entry, columns, best)));
  };
  watch(["rate", "hidden"], redraw);
}

/** By clip and metric the best value; only entries of one clip at one asked rate are ever compared. */
function bestOf(rows) {
  const best = new Map();
  for (const entry of rows) {
    for (const m of entry.error ? [] : data.metrics) {
      const value = entry.scores[m.id],
        key = JSON.stringify([entry.clip, m.id]);
      if (value === null || value === undefined) continue;
      const other = best.get(key);
      if (other === undefined || (m.better === "higher" ? value > other : value < other)) best.set(key, value);
    }
  }
  return best;
}

/** Missing values stand last, whatever the order. */
function compareRows(a, b, down) {
  if (a === undefined || a === null) return b === undefined || b === null ? 0 : 1;
  if (b === undefined || b === null) return -1;
  const less = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return down ? -less : less;
}

function tableRow(entry, columns, best) {
  const system = systems.get(entry.system);
  const row = el("tr", { "data-clip": entry.clip, "data-system": entry.system });
  for (const column of columns) {
    const value = column.value(entry);
    if (column.id === "clip") row.append(el("th", { scope: "row", class: "text", text: value }));
    else if (column.id === "system")
      row.append(el("td", { class: "text" }, badge(system), el("span", { text: value })));
    else if (entry.error) {
      row.append(el("td", { class: "text failed", colspan: columns.length - 2, text: entry.error }));
      break;
    } else {
      const top = column.metric && value !== undefined && best.get(JSON.stringify([entry.clip, column.id])) === value;
      row.append(el("td", {}, el(top ? "strong" : "span", { text: column.show(value, entry) })));
    }
  }
  return row;
}
