// The keys that are down, from keyboard and touch, and the row of key caps that shows them.

const LABELS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "space", Enter: "enter" };

export class Pad {
  // `changed(time)` is called on every change of `pressed`, with the event's time stamp in milliseconds.
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.keyboard = new Set();
    this.pointers = new Map(); // pointer id -> key codes
    this.codes = new Set(); // that the game knows
    this.caps = [];
    addEventListener("keydown", (event) => this.#key(event, true));
    addEventListener("keyup", (event) => this.#key(event, false));
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

  build(controls) {
    this.codes = new Set(controls.flatMap((c) => c.options.flatMap((o) => o.keys.flatMap((chord) => chord.split("+")))));
    this.caps = [];
    this.element.replaceChildren(...controls.map((control, column) => this.#group(control, column)));
  }

  // Light up what a frame obeyed: `row` holds one number a control.
  showApplied(row) {
    for (const { cap, matches, column } of this.caps) cap.setAttribute("aria-pressed", matches(row[column]));
  }

  #group(control, column) {
    const group = document.createElement("fieldset");
    group.className = "control";
    const name = document.createElement("span");
    name.textContent = control.name;
    group.append(name, ...control.options.map((option, index) => this.#cap(control, option, index, column)));
    return group;
  }

  #cap(control, option, index, column) {
    const cap = document.createElement("button");
    cap.type = "button";
    cap.className = "cap";
    cap.tabIndex = -1; // the key itself is the keyboard's way
    cap.disabled = option.keys.length === 0;
    const name = document.createElement("span");
    name.textContent = option.name;
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
    if (down && (event.ctrlKey || event.metaKey || event.altKey || belongsToControl(event))) return;
    if (down) event.preventDefault(); // arrows would scroll the page
    if (this.keyboard.has(event.code) === down) return;
    if (down) this.keyboard.add(event.code);
    else this.keyboard.delete(event.code);
    this.changed(event.timeStamp);
  }
}

// Whether a key moves the slider or presses the button that has the focus.
export function belongsToControl(event) {
  const tag = event.target.tagName;
  return tag === "INPUT" || (tag === "BUTTON" && (event.code === "Space" || event.code === "Enter"));
}

function matcher(control, index) {
  if (control.kind === "choice") return (value) => value === index;
  if (control.kind === "button") return (value) => value > 0;
  return (value) => (index === 0 ? value < 0 : value > 0);
}

function keyLabel(chord) {
  const label = document.createElement("kbd");
  label.textContent = chord.split("+").map((code) => LABELS[code] ?? code.replace(/^(Key|Digit)/, "")).join(" + ");
  return label;
}
