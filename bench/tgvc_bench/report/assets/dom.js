// Elements and numbers. Text always goes in as text: a name that looks like markup is shown, not obeyed.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

const el = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);
const draw = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);
const byId = (id) => document.getElementById(id);

function replace(node, ...children) {
  node.replaceChildren(...children);
  return node;
}

/** A labelled select; `options` are [value, text]. */
function choice(label, options, value, onChange, id) {
  const select = el("select", { id, onchange: () => onChange(select.value) });
  for (const [key, text] of options) select.append(el("option", { value: key, text }));
  select.value = value;
  return el("label", { class: "field" }, el("span", { text: label }), select);
}

/** Buttons of which one is pressed; returns the group, which has a method `show(value)`. */
function segments(label, options, value, onChange) {
  const group = el("div", { class: "segments", role: "group", "aria-label": label });
  for (const [key, text] of options) {
    group.append(el("button", { type: "button", "data-value": key, text, onclick: () => onChange(key) }));
  }
  group.show = (chosen) => {
    for (const b of group.children) b.setAttribute("aria-pressed", b.dataset.value === String(chosen));
  };
  group.show(value);
  return group;
}

/** The rates to choose from; what they are stands before them. */
function rateSegments() {
  const group = segments(
    unitTitle(),
    data.rates.map((r) => [String(r), String(+r.toPrecision(4))]),
    state.rate,
    (r) => choose({ rate: Number(r) }),
  );
  return { field: el("div", { class: "choices" }, el("span", { text: data.unit.title }), group), show: group.show };
}

const minus = (text) => text.replace("-", "−");
const fixed = (value, digits) =>
  value === null || value === undefined ? "–" : minus(Number(value.toFixed(digits)).toFixed(digits)); // no −0
const percent = (value, digits = 1) => (value > 0 ? "+" : "") + fixed(value, digits) + " %";
const whole = (value) => Math.round(value).toLocaleString("en");
const unitTitle = () => data.unit.title[0].toUpperCase() + data.unit.title.slice(1);
const rateText = (value) => `${+value.toPrecision(4)} ${data.unit.short}`;
const spentText = (value) => `${value.toPrecision(3)} ${data.unit.short}`;
const bppText = (value) => `${value.toPrecision(3)} bpp`;
const scoreText = (metric, value) =>
  fixed(value, metric.digits) + (metric.unit && value !== null ? ` ${metric.unit}` : "");
const betterText = (metric) => (metric.better === "higher" ? "higher is better" : "lower is better");
