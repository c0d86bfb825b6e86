// Wires socket, screens, pad and measurements together; all state is what the server last said.

import { arrange } from "./axes.js";
import { Gauges } from "./gauges.js";
import { Hud } from "./hud.js";
import { Look } from "./look.js";
import { Pad, belongsToControl } from "./pad.js";
import { connect } from "./protocol.js";
import { Screen } from "./screen.js";

const HEARTBEAT_MS = 100;
const RETRY_MS = 2000;
const MOVE_MS = 8; // between messages while something moves; a mouse may have a thousand events a second
const WAIT_TEXT = { loading: "Loading the model", "warming up": "Warming up", ready: "Starting" };
const byId = (id) => document.getElementById(id);

const dream = new Screen(byId("dream"));
const real = new Screen(byId("real"));
const hud = new Hud(document);
const look = new Look(byId("glass"), byId("hint"), inputMoved);
const gauges = new Gauges(inputMoved);
const pad = new Pad(byId("pad"), byId("glass"), inputChanged);

let connection = null;
let opened = false; // whether this socket has a game
let playing = null; // the server's last word on the game: prompt, seed, steps, fps, paused, real
let prompts = 1;
let seq = 1; // of the last input; the first says that no key is down
let sentAt = 0; // milliseconds, of the last change
let waiting = null; // timer of a movement that waits to be sent
let hiddenPause = false; // paused because nobody could see it

const handlers = {
  status({ phase }) {
    showStatus(phase, phase);
    showOverlay(WAIT_TEXT[phase], { busy: true });
  },
  welcome(world) {
    prompts = world.prompts;
    document.title = world.game ? `${world.game} · hallucade` : "hallucade";
    byId("game").textContent = world.game ?? "";
    byId("game").hidden = !world.game;
    buildControls(world.controls);
    document.documentElement.style.setProperty("--aspect", world.width / world.height);
    byId("steps").dataset.fixed = world.steps === null;
    open();
  },
  playing(game) {
    if (!playing || game.paused !== playing.paused || game.prompt !== playing.prompt) hud.restart();
    playing = game;
    opened = true;
    showGame(game);
  },
  stats({ dropped }) {
    hud.cells.dropped.textContent = dropped;
  },
  error({ code, detail }) {
    announce(detail);
    if (code === "refused" && !opened) {
      playing = null; // the server came back with another model, which lacks what was played before
      open();
    }
  },
  async frame(frame) {
    const [dreamed, simulated] = frame.pictures;
    const drawn = await Promise.all([dream.show(frame, dreamed), simulated && real.show(frame, simulated)]);
    if (!drawn[0]) return;
    pad.showApplied(frame.row);
    gauges.showApplied(frame.row);
    hud.drawn(frame);
  },
  closed(code, reason) {
    showStatus("closed", "disconnected");
    setEnabled(false);
    look.free();
    if (code === 1006 || code === 1012) {
      showOverlay("The server is away. Trying again", { busy: true });
      setTimeout(start, RETRY_MS);
    } else {
      showOverlay(reason ? `Disconnected: ${reason}` : "Disconnected", { button: "Play again", action: start });
    }
  },
};

function start() {
  seq = 1;
  opened = false;
  dream.shown = real.shown = 0;
  buildControls([]); // axes may only be named after the welcome
  showOverlay("Connecting", { busy: true });
  connection = connect(handlers);
}

// Open the game as it was before the connection broke, or a new one.
function open() {
  const { prompt = 0, seed = 0, steps = null, fps = null } = playing ?? {};
  connection.send({ type: "open", prompt, seed, steps, fps, paused: document.hidden });
  hiddenPause = document.hidden;
}

function buildControls(controls) {
  const axes = arrange(controls);
  pad.build(controls, gauges.build(axes));
  look.build(axes.view);
  pad.needsCaughtMouse = () => look.possible && !look.caught;
  byId("mouse").hidden = !look.possible;
}

function inputChanged(time) {
  clearTimeout(waiting);
  waiting = null;
  sentAt = performance.now();
  gauges.yieldTo(pad.pressed);
  seq += 1;
  hud.pressed(seq, time);
  sendInput(time);
}

function inputMoved(time) {
  const early = sentAt + MOVE_MS - performance.now();
  if (early <= 0) inputChanged(time);
  else waiting ??= setTimeout(inputChanged, early, time);
}

function sendInput(time) {
  connection.send({ type: "input", seq, time, keys: pad.pressed, values: gauges.values, moved: look.totals });
}

function showGame(game) {
  byId("start").textContent = `start ${game.prompt + 1} of ${prompts}, seed ${game.seed}`;
  byId("real-screen").hidden = !game.real;
  byId("pause").setAttribute("aria-pressed", game.paused);
  byId("pause").firstElementChild.textContent = game.paused ? "Resume" : "Pause";
  showSlider("fps", game.fps);
  showSlider("steps", game.steps);
  hud.fps = game.fps;
  setEnabled(true);
  if (game.paused) look.free(); // for the buttons
  const phase = game.paused ? "paused" : "playing";
  showStatus(phase, phase);
  if (game.paused) showOverlay("Paused", { paused: true });
  else byId("overlay").hidden = true;
}

function showSlider(name, value) {
  byId(`${name}-value`).textContent = value ?? "fixed";
  if (value !== null && document.activeElement !== byId(name)) byId(name).value = value;
}

function setEnabled(enabled) {
  for (const name of ["pause", "step", "again", "next", "fps", "steps"]) byId(name).disabled = !enabled;
  if (byId("steps").dataset.fixed === "true") byId("steps").disabled = true;
}

function showStatus(phase, text) {
  byId("status").dataset.phase = phase;
  byId("status").textContent = text;
}

function showOverlay(text, { busy = false, paused = false, button = "", action = null } = {}) {
  const overlay = byId("overlay");
  overlay.hidden = false;
  overlay.toggleAttribute("data-busy", busy);
  overlay.toggleAttribute("data-paused", paused);
  byId("overlay-text").textContent = text;
  byId("overlay-button").hidden = !button;
  byId("overlay-button").textContent = button;
  byId("overlay-button").onclick = action;
}

function announce(text) {
  byId("announcer").textContent = text;
}

function setSensitivity(degrees) {
  byId("sensitivity").value = degrees;
  look.degrees = Number(byId("sensitivity").value);
  byId("sensitivity-value").textContent = `${look.degrees.toFixed(2)}°/px`;
}

const commands = {
  pause: () => connection.send({ type: "pause", paused: !playing.paused }),
  step: () => connection.send({ type: "step", count: 1 }),
  again: () => connection.send({ type: "reset", prompt: playing.prompt, seed: playing.seed }),
  next: () => connection.send({ type: "reset", prompt: null, seed: null }),
};
const shortcuts = { KeyP: "pause", Period: "step", KeyR: "again", KeyN: "next" };

for (const [name, command] of Object.entries(commands)) {
  byId(name).addEventListener("click", (event) => {
    command();
    if (event.detail > 0) byId(name).blur(); // clicked, not typed: the game keys are next
  });
}
for (const name of ["steps", "fps"]) {
  byId(name).addEventListener("input", ({ target }) => {
    byId(`${name}-value`).textContent = target.value;
    connection.send({ type: "set", [name]: Number(target.value) });
  });
}
byId("sensitivity").addEventListener("input", ({ target }) => {
  localStorage.setItem("sensitivity", target.value);
  setSensitivity(target.value);
});
for (const name of ["steps", "fps", "sensitivity"]) {
  byId(name).addEventListener("pointerup", () => byId(name).blur()); // dragged: the arrow keys are the game's again
}
addEventListener("keydown", (event) => {
  const name = shortcuts[event.code];
  const free = name && !pad.codes.has(event.code) && !event.ctrlKey && !event.metaKey && !event.altKey;
  if (free && !event.repeat && !belongsToControl(event)) byId(name).click();
  if (event.code === "Escape") document.activeElement.blur();
});
document.addEventListener("visibilitychange", () => {
  if (!playing) return;
  if (document.hidden && !playing.paused) {
    hiddenPause = true;
    connection.send({ type: "pause", paused: true });
  } else if (!document.hidden && hiddenPause) {
    hiddenPause = false;
    connection.send({ type: "pause", paused: false });
  }
});
addEventListener("blur", (event) => gauges.releaseAll(event.timeStamp));
addEventListener("beforeunload", (event) => {
  if (look.caught) event.preventDefault(); // Control and W, held in a game, would close the page
});
setInterval(() => sendInput(performance.now()), HEARTBEAT_MS);
setSensitivity(localStorage.getItem("sensitivity") ?? look.degrees);
start();
