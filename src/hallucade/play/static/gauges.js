// Axes on the page: dials and sliders show what a frame obeyed; all but the view's hold a value while they are dragged.

export class Gauges {
  // `changed(time)` is called on every change of `values`, with the event's time stamp in milliseconds.
  constructor(changed) {
    this.changed = changed;
    this.build({ view: {}, pad: null, sliders: [] });
  }

  // Returns one element a gauge.
  build({ view, pad, sliders }) {
    const pair = pad ? [pad.x, pad.y] : [];
    this.axes = [...sliders, ...pair];
    this.values = {}; // of the axes that are held, in their own units
    this.held = new Set(); // names of the axes under a finger
    this.staying = new Set(this.axes.filter((axis) => stays(axis, pair)).map((axis) => axis.name));
    this.gauges = sliders.map((axis) => new Slider(axis, this));
    if (pad) this.gauges.unshift(new Dial(pad, this));
    if (view.x || view.y) this.gauges.unshift(new Dial(view, null));
    return this.gauges.map((gauge) => gauge.element);
  }

  showApplied(row) {
    for (const gauge of this.gauges) gauge.showApplied(row);
  }

  hold(axis, value, time) {
    this.values[axis.name] = Number(value.toPrecision(6));
    this.held.add(axis.name);
    this.changed(time);
  }

  letGo(axes, time) {
    for (const { name } of axes) {
      this.held.delete(name);
      if (!this.staying.has(name)) delete this.values[name];
    }
    this.changed(time);
  }

  // Keys take over what stayed.
  yieldTo(pressed) {
    for (const { name, keys } of this.axes) {
      if (!this.held.has(name) && keys.some((chord) => chord.split("+").every((key) => pressed.includes(key)))) {
        delete this.values[name];
      }
    }
  }

  releaseAll(time) {
    const axes = this.axes.filter((axis) => this.held.has(axis.name));
    if (axes.length > 0) this.letGo(axes, time);
  }
}

// A stick springs back when it is let go. What no key moves stays, as a robot's joint does, and so does a place in a
// picture: a pair whose ranges begin at 0.
function stays(axis, pair) {
  const isPlace = pair.includes(axis) && pair.every(({ low }) => low >= 0);
  return axis.kind === "value" && (axis.keys.length === 0 || isPlace);
}

class Slider {
  constructor(axis, gauges) {
    this.axis = axis;
    this.gauges = gauges;
    this.element = create("label", "gauge");
    this.output = create("output");
    this.input = create("input");
    Object.assign(this.input, { type: "range", step: "any", min: axis.low, max: axis.high });
    this.input.value = axis.idle;
    this.element.append(create("span", "", axis.name), this.output, this.input);
    this.input.addEventListener("input", (event) => gauges.hold(axis, Number(this.input.value), event.timeStamp));
    this.input.addEventListener("pointerup", () => this.input.blur()); // the game keys are next
    this.input.addEventListener("blur", (event) => gauges.letGo([axis], event.timeStamp));
  }

  showApplied(row) {
    const value = row[this.axis.column];
    this.output.textContent = figure(value);
    if (!this.gauges.held.has(this.axis.name)) this.input.value = value;
  }
}

// Two axes at once, or one of them: a dot on a crosshair. Without `gauges` it only shows.
class Dial {
  constructor({ x, y }, gauges) {
    this.x = x ?? null;
    this.y = y ?? null;
    this.axes = [x, y].filter(Boolean);
    this.gauges = gauges;
    this.element = create("div", "gauge");
    this.face = create("div", gauges ? "dial steerable" : "dial");
    this.dot = create("i", "dot");
    this.needle = create("i", "needle");
    this.face.append(this.needle, this.dot);
    this.outputs = this.axes.map(() => create("output"));
    const names = this.axes.map((axis, i) => {
      const line = create("span", "", `${axis.name} `);
      line.append(this.outputs[i]);
      return line;
    });
    const words = create("div", "words");
    words.append(...names);
    this.element.append(this.face, words);
    if (gauges) this.#listen();
  }

  showApplied(row) {
    this.axes.forEach((axis, i) => (this.outputs[i].textContent = figure(row[axis.column])));
    const [x, y] = [this.#share(this.x, row), this.#share(this.y, row)];
    this.dot.style.left = `${50 + 50 * x}%`;
    this.dot.style.top = `${50 - 50 * y}%`;
    this.needle.style.width = `${50 * Math.hypot(x, y)}%`;
    this.needle.style.rotate = `${-Math.atan2(y, x)}rad`;
  }

  // Where a value is between the dial's left and right, or bottom and top: -1 to 1.
  #share(axis, row) {
    if (!axis) return 0;
    const value = row[axis.column];
    if (this.gauges) return axis.sign * ((2 * (value - axis.low)) / (axis.high - axis.low) - 1);
    // A mouse mostly turns by a small part of what it can: the root makes that visible.
    return axis.sign * Math.sign(value) * Math.sqrt(Math.abs(value) / Math.max(-axis.low, axis.high));
  }

  #listen() {
    this.face.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.face.setPointerCapture(event.pointerId);
      this.#point(event);
    });
    this.face.addEventListener("pointermove", (event) => {
      if (this.face.hasPointerCapture(event.pointerId)) this.#point(event);
    });
    this.face.addEventListener("lostpointercapture", (event) => this.gauges.letGo(this.axes, event.timeStamp));
  }

  #point(event) {
    const box = this.face.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const upward = (box.bottom - event.clientY) / box.height;
    this.#holdAt(this.x, across, event.timeStamp);
    this.#holdAt(this.y, upward, event.timeStamp);
  }

  #holdAt(axis, share, time) {
    const along = Math.min(1, Math.max(0, axis.sign > 0 ? share : 1 - share));
    this.gauges.hold(axis, axis.low + along * (axis.high - axis.low), time);
  }
}

function create(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function figure(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
