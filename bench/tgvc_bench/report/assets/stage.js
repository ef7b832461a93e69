// Two or more systems on the same frames of a clip, one beside the other or one over the other.

const MOST_PANES = 4;
const SPEEDS = [
  ["1", "1×"],
  ["0.5", "½×"],
  ["0.25", "¼×"],
  ["0.1", "⅒×"],
];
const ICONS = {
  play: "M5,3L13,8L5,13Z",
  pause: "M4,3H7V13H4ZM9,3H12V13H9Z",
  back: "M11,3L5,8L11,13Z",
  next: "M5,3L11,8L5,13Z",
};
const icon = (name) =>
  draw("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));

function buildStage(section) {
  if (!data.media.length) {
    section.append(el("p", { class: "note", text: "No videos lie beside the record, so there is nothing to play." }));
    return buildFrames(section, null);
  }
  const shownClips = data.clips.filter((c) => data.media.some((m) => m.clip === c.name));
  const view = { clip: shownClips[0].name, panes: [], mode: "wipe", wipe: 50, tracks: data.tracks.length > 0 };
  const players = el("div", { class: "panes" });
  const wipe = el("input", {
    type: "range",
    class: "wipe",
    min: 0,
    max: 100,
    step: 0.1,
    value: 50,
    "aria-label": "Where the right picture begins, per cent of the width",
  });
  const divider = el("div", { class: "divider" });
  const dividerTrack = el("div", { class: "divider-track", "aria-hidden": "true" }, divider);
  const stage = el(
    "div",
    { class: "stage", id: "stage", tabindex: "0", role: "group", "aria-label": "Player: space plays, arrow keys step" },
    players,
  );

  const scrub = el("input", {
    type: "range",
    class: "scrub",
    min: 0,
    step: 1,
    value: 0,
    "aria-label": "Frame",
    oninput: () => player.seek(Number(scrub.value)),
  });
  const button = (name, label, onclick) =>
    el(
      "button",
      { type: "button", class: "round", "data-do": name, "aria-label": label, title: label, onclick },
      icon(name),
    );
  const playButton = button("play", "Play", () => player.toggle());
  const time = el("output", { class: "time", id: "frame-time" });
  const speed = choice("Speed", SPEEDS, "1", (v) => {
    player.speed = Number(v);
  });
  const transport = el(
    "div",
    { class: "transport" },
    button("back", "One frame back", () => player.step(-1)),
    playButton,
    button("next", "One frame on", () => player.step(1)),
    scrub,
    time,
    speed,
  );

  const clipField = choice(
    "Clip",
    shownClips.map((c) => [c.name, c.name]),
    view.clip,
    (clip) => show({ clip }),
    "play-clip",
  );
  const rateField = choice(
    unitTitle(),
    data.rates.map((r) => [String(r), String(+r.toPrecision(4))]),
    String(state.rate),
    (r) => choose({ rate: Number(r) }),
    "play-rate",
  );
  const modes = segments(
    "Arrangement",
    [
      ["wipe", "Wipe"],
      ["side", "Side by side"],
    ],
    view.mode,
    (mode) => show({ mode }),
  );
  const tracksBox = el("input", {
    type: "checkbox",
    id: "tracks",
    onchange: (e) => show({ tracks: e.target.checked }),
  });
  tracksBox.checked = view.tracks;
  const tracksField = el(
    "label",
    { class: "check", title: "Of the stream itself, else of the first that has some" },
    tracksBox,
    el("span", { text: "Trajectories" }),
  );
  const more = el("button", {
    type: "button",
    class: "plain",
    id: "more",
    text: "Add a picture",
    onclick: () => {
      view.panes.push(freeId());
      show({ mode: "side" });
    },
  });
  const theatre = el("div", { class: "theatre" }, stage, transport);
  section.append(el("div", { class: "controls" }, clipField, rateField, modes, tracksField, more), theatre);
  if (!data.tracks.length) tracksField.hidden = true;

  const player = makePlayer(
    (frame) => redrawFrame(frame),
    (playing) => {
      replace(playButton, icon(playing ? "pause" : "play"));
      playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
      playButton.title = playing ? "Pause" : "Play";
      stage.dataset.playing = playing;
    },
  );

  const available = (clip = view.clip) => [
    ...(mediaOf(clip, SOURCE) ? [[SOURCE, "source"]] : []),
    ...data.systems.filter((s) => mediaOf(clip, s.id, state.rate)).map((s) => [s.id, s.title]),
  ];
  const freeId = () =>
    available()
      .map(([id]) => id)
      .find((id) => !view.panes.includes(id)) ?? available()[0]?.[0];
  const tracksFor = (id) =>
    data.tracks.find((t) => t.clip === view.clip && t.rate === state.rate && t.system === id) ??
    data.tracks.find((t) => t.clip === view.clip && t.rate === state.rate);

  /** A codec of others on the left, ours on the right, as far as there are such. */
  function choosePanes() {
    const ids = available().map(([id]) => id);
    view.panes = view.panes.filter((id) => ids.includes(id));
    const family = (name) => ids.find((id) => systems.get(id)?.family === name);
    for (const id of [family("conventional"), family("tgvc"), ...ids]) {
      if (view.panes.length >= 2) break;
      if (id && !view.panes.includes(id)) view.panes.push(id);
    }
  }

  let drawn = [];
  function show(changes) {
    Object.assign(view, changes);
    choosePanes();
    const clip = clips.get(view.clip);
    const inUse = view.mode === "wipe" ? view.panes.slice(0, 2) : view.panes;
    drawn = inUse.map((id, place) => pane(id, place, clip));
    stage.dataset.mode = inUse.length < 2 ? "side" : view.mode;
    stage.style.setProperty("--ratio", clip.width / clip.height);
    stage.style.setProperty("--panes", drawn.length);
    replace(players, ...drawn.map((p) => p.figure), ...(stage.dataset.mode === "wipe" ? [wipe, dividerTrack] : []));
    if (!drawn.length)
      replace(players, el("p", { class: "note", text: "There is no video of this clip at this rate." }));
    scrub.max = clip.frames - 1;
    clipField.querySelector("select").value = view.clip;
    rateField.querySelector("select").value = String(state.rate);
    modes.show(view.mode);
    more.hidden = view.panes.length >= Math.min(MOST_PANES, available().length);
    setWipe(view.wipe);
    player.load(
      drawn.map((p) => p.video),
      clip,
    );
    frameChart?.changed();
  }

  function pane(id, place, clip) {
    const item = mediaOf(view.clip, id, state.rate),
      entry = id === SOURCE ? null : entryOf(view.clip, id, state.rate);
    const select = el("select", {
      "aria-label": `Picture ${place + 1}`,
      onchange: () => {
        view.panes[place] = select.value;
        show({});
      },
    });
    for (const [key, text] of available()) select.append(el("option", { value: key, text }));
    select.value = id;
    const facts = el("p", { class: "facts" });
    const video = el("video", {
      src: mediaUrl(item),
      muted: true,
      playsinline: true,
      preload: "auto",
      disablepictureinpicture: true,
      tabindex: "-1",
    });
    video.muted = true;
    const canvas = el("canvas", { "aria-hidden": "true" });
    const box = el("div", { class: "pane-box" }, video, canvas);
    video.addEventListener("error", () =>
      box.append(
        el("p", {
          class: "unplayed",
          text: `This browser does not play ${item.url ? decodeURI(item.url) : item.type}.`,
        }),
      ),
    );
    const head = el(
      "figcaption",
      { class: "pane-head" },
      select,
      view.mode === "side" && view.panes.length > 2
        ? el("button", {
            type: "button",
            class: "plain",
            "aria-label": `Remove ${select.selectedOptions[0].text}`,
            text: "×",
            onclick: () => {
              view.panes.splice(place, 1);
              show({});
            },
          })
        : null,
      facts,
    );
    return { id, entry, video, canvas, facts, figure: el("figure", { class: "pane", "data-system": id }, head, box) };
  }

  function redrawFrame(frame) {
    const clip = clips.get(view.clip);
    stage.dataset.frame = frame;
    scrub.value = frame;
    scrub.setAttribute("aria-valuetext", `frame ${frame + 1} of ${clip.frames}`);
    time.textContent = `frame ${frame + 1} of ${clip.frames} · ${(frame / clip.fps).toFixed(2)} s`;
    for (const p of drawn) {
      drawTracks(p.canvas, view.tracks ? tracksFor(p.id) : null, frame, clip);
      const parts = p.entry
        ? [spentText(spent(p.entry)), `${whole(p.entry.bytes)} bytes`]
        : [`${clip.width}x${clip.height}`];
      const value = p.entry && frameChart ? frameValue(p.entry, frameChart.metric, frame) : null;
      if (value !== null) parts.push(frameText(frameChart.metric, value));
      p.facts.textContent = parts.join(" · ");
    }
    frameChart?.moved(frame);
  }

  function setWipe(value) {
    view.wipe = Math.min(100, Math.max(0, value));
    wipe.value = view.wipe;
    divider.style.left = `${view.wipe}%`;
    if (stage.dataset.mode === "wipe")
      drawn[1].figure.querySelector(".pane-box").style.clipPath = `inset(0 0 0 ${view.wipe}%)`;
  }
  wipe.addEventListener("input", () => setWipe(Number(wipe.value)));
  const drag = (event) => {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const box = wipe.getBoundingClientRect();
    setWipe((100 * (event.clientX - box.left)) / box.width);
  };
  wipe.addEventListener("pointerdown", drag);
  wipe.addEventListener("pointermove", drag);
  stage.addEventListener("keydown", (event) => {
    if (event.target !== stage) return;
    const act = {
      " ": () => player.toggle(),
      ArrowLeft: () => player.step(-1),
      ArrowRight: () => player.step(1),
      Home: () => player.seek(0),
      End: () => player.seek(clips.get(view.clip).frames - 1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  let frameChart = null;
  frameChart = buildFrames(theatre, {
    get view() {
      return view;
    },
    get panes() {
      return drawn;
    },
    get frame() {
      return player.frame;
    },
    seek: (frame) => player.seek(frame),
    refresh: () => redrawFrame(player.frame),
    jump(clip, system, frame, against) {
      const shown = view.panes.slice(0, 2);
      if (against && against !== system) [view.panes[0], view.panes[1]] = [against, system];
      else if (!shown.includes(system)) view.panes[1] = system;
      show({ clip });
      player.seek(frame);
      stage.scrollIntoView({ block: "nearest" });
    },
  });
  watch(["rate"], () => show({}));
  onWidth(stage, () => redrawFrame(player.frame));
}
