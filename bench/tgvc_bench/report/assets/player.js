// Videos that show the same frame: one leads, the others follow it; paused, all stand on the middle of a frame.

const SOURCE = "source";
const HURRY = 0.12; // a follower may run so much faster or slower than the leader
const FAR_FRAMES = 3; // a follower that is so far off jumps
const urls = new Map();

const mediaOf = (clip, id, rate) =>
  data.media.find((m) => m.clip === clip && (id === SOURCE ? m.system === null : m.system === id && m.rate === rate)) ??
  null;

/** Where a video can be played from: a file beside the page, or a part of the page. */
function mediaUrl(item) {
  if (item.url) return item.url;
  if (!urls.has(item.data)) {
    const bytes = Uint8Array.from(atob(byId(`media-${item.data}`).textContent), (c) => c.charCodeAt(0));
    urls.set(item.data, URL.createObjectURL(new Blob([bytes], { type: item.type })));
  }
  return urls.get(item.data);
}

/** @param onFrame called with the number of the frame that is shown; @param onState with whether it plays */
function makePlayer(onFrame, onState) {
  let videos = [],
    frames = 1,
    fps = 25,
    frame = 0,
    playing = false,
    speed = 1,
    wanted = 0;
  const clamp = (n) => Math.min(Math.max(Math.round(n), 0), frames - 1);
  const middle = (n) => (n + 0.5) / fps;
  const frameAt = (video) => clamp(Math.floor(video.currentTime * fps + 1e-6));
  const report = (n) => {
    frame = n;
    onFrame(n);
  };

  function seek(n) {
    frame = clamp(n);
    for (const v of videos) v.currentTime = middle(frame);
    report(frame);
  }

  function follow() {
    if (!playing) return;
    const [leader, ...others] = videos;
    for (const v of others) {
      const behind = leader.currentTime - v.currentTime;
      if (Math.abs(behind) > FAR_FRAMES / fps) v.currentTime = leader.currentTime;
      else v.playbackRate = speed * (1 + Math.max(-HURRY, Math.min(HURRY, behind * fps * 0.1)));
    }
    if (leader.ended || (frameAt(leader) >= frames - 1 && leader.currentTime > middle(frames - 1))) return again();
    if (frameAt(leader) !== frame) report(frameAt(leader));
    requestAnimationFrame(follow);
  }

  /** From the end to the beginning. */
  function again() {
    for (const v of videos) v.pause();
    seek(0);
    start();
  }

  async function start() {
    const run = ++wanted;
    await Promise.all(videos.map(settled));
    if (run !== wanted || !videos.length) return;
    playing = true;
    onState(true);
    for (const v of videos) v.playbackRate = speed;
    await Promise.all(videos.map((v) => v.play().catch(() => {})));
    if (playing && run === wanted) requestAnimationFrame(follow);
  }

  function pause() {
    wanted++;
    if (!playing) return;
    playing = false;
    for (const v of videos) v.pause();
    onState(false);
    seek(videos.length ? frameAt(videos[0]) : frame);
  }

  return {
    seek: (n) => {
      pause();
      seek(n);
    },
    step: (n) => {
      pause();
      seek(frame + n);
    },
    toggle: () => {
      if (playing) return pause();
      if (frame === frames - 1) seek(0);
      return start();
    },
    pause,
    get frame() {
      return frame;
    },
    get playing() {
      return playing;
    },
    set speed(value) {
      speed = value;
      for (const v of videos) v.playbackRate = value;
    },
    /** Take other videos of a clip; the frame stays, as far as the clip has it. */
    load(list, clip) {
      pause();
      videos = list;
      ({ frames, fps } = clip);
      frame = clamp(frame);
      for (const v of videos) {
        v.addEventListener(
          "loadedmetadata",
          () => {
            if (videos.includes(v) && !playing) v.currentTime = middle(frame);
          },
          { once: true },
        );
      }
      seek(frame);
    },
  };
}

/** When a video can go on from where it was told to be. */
const settled = (video) =>
  new Promise((done) => {
    const ready = () => !video.seeking && video.readyState >= 3;
    if (ready() || video.error) return done();
    const look = () => {
      if (!ready() && !video.error) return;
      for (const name of ["seeked", "canplay", "error"]) video.removeEventListener(name, look);
      done();
    };
    for (const name of ["seeked", "canplay", "error"]) video.addEventListener(name, look);
    if (video.readyState === 0) video.load();
  });

const TRACK_COLOURS = ["#ff5c5c", "#52ddff", "#ffdd48", "#c484ff", "#70f07a", "#ff9640", "#ff82d6", "#96beff"];

/** Trajectories up to a frame: their way since the key picture as a line, where they are as a dot. */
function drawTracks(canvas, tracks, frame, clip) {
  const scale = Math.min(3, Math.max(1, (canvas.clientWidth * devicePixelRatio) / clip.width));
  canvas.width = Math.round(clip.width * scale);
  canvas.height = Math.round(clip.height * scale);
  const pen = canvas.getContext("2d");
  const segment = tracks?.segments.findLast((s) => s.first <= frame && frame < s.first + s.length);
  canvas.dataset.drawn = segment ? segment.xy.length : 0;
  if (!segment) return;
  const place = ([x, y]) => [(x + 0.5) * scale, (y + 0.5) * scale];
  const now = frame - segment.first,
    unit = (scale * clip.width) / 512;
  pen.lineJoin = pen.lineCap = "round";
  segment.xy.forEach((track, number) => {
    const seen = segment.visible[number],
      colour = TRACK_COLOURS[number % TRACK_COLOURS.length];
    for (const [style, size] of [
      ["rgba(0,0,0,0.55)", 3.4],
      [colour, 1.7],
    ]) {
      pen.strokeStyle = style;
      pen.lineWidth = size * unit;
      pen.beginPath();
      for (let t = 1; t <= now; t++) {
        if (!seen[t] || !seen[t - 1]) continue;
        pen.moveTo(...place(track[t - 1]));
        pen.lineTo(...place(track[t]));
      }
      pen.stroke();
    }
    if (!seen[now]) return;
    for (const [style, size] of [
      ["rgba(0,0,0,0.65)", 3.6],
      [colour, 2.6],
    ]) {
      pen.fillStyle = style;
      pen.beginPath();
      pen.arc(...place(track[now]), size * unit, 0, 2 * Math.PI);
      pen.fill();
    }
  });
}
