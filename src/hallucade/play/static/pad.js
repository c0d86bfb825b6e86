// The keys that are down, from keyboard, mouse buttons and touch, and the row of key caps that shows them.

const LABELS = {
  ...{ ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "space", Enter: "enter" },
  ...{ ShiftLeft: "shift", ControlLeft: "ctrl", AltLeft: "alt", PageUp: "page up", PageDown: "page down" },
  ...{ Mouse0: "left click", Mouse1: "wheel click", Mouse2: "right click" },
};
const TURNS = { right: ["left", "right"], left: ["right", "left"], up: ["down", "up"], down: ["up", "down"] }; // - and +

export class Pad {
  // `changed(time)` is called on every change of `pressed`, with the event's time stamp in milliseconds.
  constructor(element, picture, changed) {
    this.element = element;
    this.needsCaughtMouse = () => false; // whether a click on the picture does something else first
    this.changed = changed;
    this.keyboard = new Set(); // and mouse buttons
    this.pointers = new Map(); // pointer id -> key codes
    this.codes = new Set(); // that the game knows
    this.caps = [];
    addEventListener("keydown", (event) => this.#key(event, true));
    addEventListener("keyup", (event) => this.#key(event, false));
    picture.addEventListener("mousedown", (event) => this.#button(event, true));
    addEventListener("mouseup", (event) => this.#button(event, false));
    picture.addEventListener("contextmenu", (event) => this.codes.has("Mouse2") && event.preventDefault());
    addEventListener("blur", (event) => this.releaseAll(event.timeStamp));
    document.addEventListener("visibilitychange", (event) => document.hidden && this.releaseAll(event.timeStamp));
  }

  get pressed() {
    return [...new Set([...this.keyboard, ...[...this.pointers.values()].flat()])].slice(0, 16);
  }

  releaseAll(time) {
    if (this.keyboard.size + this.pointers.size === 0) return;
    this.keyboard.clear();
    this.pointers.clear();
    this.changed(time);
  }

  // `gauges` are the elements that show axes.
  build(controls, gauges) {
    this.codes = new Set(controls.flatMap((c) => c.options.flatMap((o) => o.keys.flatMap((chord) => chord.split("+")))));
    this.caps = [];
    const groups = controls.map((control, column) => (isShown(control) ? this.#group(control, column) : null));
    this.element.replaceChildren(...gauges, ...groups.filter(Boolean));
  }

  // Light up what a frame obeyed: `row` holds one number a control.
  showApplied(row) {
    for (const { cap, matches, column } of this.caps) cap.setAttribute("aria-pressed", matches(row[column]));
  }

  #group(control, column) {
    const group = document.createElement("fieldset");
    group.className = "control";
    group.toggleAttribute("data-view", Boolean(control.axis?.turns)); // there is a finger for that
    const caps = control.options.map((option, index) =>
      control.axis && option.keys.length === 0 ? "" : this.#cap(control, option, index, column));
    if (control.kind !== "button") group.append(control.name);
    group.append(...caps);
    return group;
  }

  #cap(control, option, index, column) {
    const cap = document.createElement("button");
    cap.type = "button";
    cap.className = "cap";
    cap.tabIndex = -1; // the key itself is the keyboard's way
    cap.disabled = option.keys.length === 0;
    const name = document.createElement("span");
    name.textContent = control.axis?.turns ? TURNS[control.axis.turns][index] : option.name;
    cap.append(name, ...option.keys.map(keyLabel));
    if (option.keys.length > 0) this.#listenToPointers(cap, option.keys[0].split("+"));
    this.caps.push({ cap, column, matches: matcher(control, index) });
    return cap;
  }

  #listenToPointers(cap, codes) {
    cap.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      cap.setPointerCapture(event.pointerId);
      cap.dataset.held = "";
      this.pointers.set(event.pointerId, codes);
      this.changed(event.timeStamp);
    });
    cap.addEventListener("lostpointercapture", (event) => {
      delete cap.dataset.held;
      if (this.pointers.delete(event.pointerId)) this.changed(event.timeStamp);
    });
    cap.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #key(event, down) {
    if (!this.codes.has(event.code)) return;
    if (down && (this.#isShortcut(event) || belongsToControl(event))) return;
    if (down) event.preventDefault(); // arrows would scroll the page
    this.#hold(event.code, down, event.timeStamp);
  }

  #button(event, down) {
    const code = `Mouse${event.button}`;
    if (!this.codes.has(code) || (down && (this.needsCaughtMouse() || event.target.closest("button")))) return;
    if (down) event.preventDefault(); // the wheel's button would scroll the page
    this.#hold(code, down, event.timeStamp);
  }

  #hold(code, down, time) {
    if (this.keyboard.has(code) === down) return;
    if (down) this.keyboard.add(code);
    else this.keyboard.delete(code);
    this.changed(time);
  }

  // Of the browser, unless the modifier is one of the game's keys.
  #isShortcut({ ctrlKey, altKey, metaKey }) {
    return metaKey || (ctrlKey && !this.codes.has("ControlLeft")) || (altKey && !this.codes.has("AltLeft"));
  }
}

// Whether a key moves the slider or presses the button that has the focus.
export function belongsToControl(event) {
  const tag = event.target.tagName;
  return tag === "INPUT" || (tag === "BUTTON" && (event.code === "Space" || event.code === "Enter"));
}

// An axis without keys has its gauge only.
function isShown({ axis, options }) {
  return !axis || options.some((option) => option.keys.length > 0);
}

function matcher(control, index) {
  if (control.kind === "choice") return (value) => value === index;
  if (control.kind === "button") return (value) => value > 0;
  return (value) => (index === 0 ? value < control.axis.idle : value > control.axis.idle);
}

function keyLabel(chord) {
  const label = document.createElement("kbd");
  label.textContent = chord.split("+").map((code) => LABELS[code] ?? code.replace(/^(Key|Digit)/, "")).join(" + ");
  return label;
}
