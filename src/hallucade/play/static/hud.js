// What the player feels, measured where it is felt: frames drawn, and the time from an input to the frame that obeys it.

const PRESSES = 200; // keys and movements that percentiles are taken over
const INTERVALS = 120; // that the sparkline shows

export class Hud {
  constructor(root) {
    this.cells = Object.fromEntries(["fps", "p50", "p95", "model", "dropped"].map((n) => [n, root.getElementById(`hud-${n}`)]));
    this.sparkline = root.getElementById("sparkline");
    this.waiting = []; // presses without a frame yet: { seq, time }
    this.latencies = [];
    this.times = []; // when the last frames were drawn, milliseconds
    this.model = 0; // milliseconds a frame, smoothed
    this.fps = 30;
    setInterval(() => this.#refresh(), 250);
  }

  pressed(seq, time) {
    this.waiting.push({ seq, time });
  }

  // To be called when a frame is on the canvas; it is seen at the next animation frame.
  drawn(frame) {
    this.times.push(performance.now());
    if (this.times.length > INTERVALS + 1) this.times.shift();
    this.model += (frame.modelMs - this.model) * (this.model ? 0.1 : 1);
    const obeyed = this.waiting.filter((press) => press.seq <= frame.inputSeq);
    if (obeyed.length === 0) return;
    this.waiting = this.waiting.filter((press) => press.seq > frame.inputSeq);
    requestAnimationFrame(() => {
      for (const press of obeyed) this.latencies.push(performance.now() - press.time);
      this.latencies.splice(0, this.latencies.length - PRESSES);
    });
  }

  // After a pause or a reset, old intervals and unanswered presses say nothing.
  restart() {
    this.times = [];
    this.waiting = [];
  }

  #refresh() {
    const recent = this.times.filter((time) => time > performance.now() - 1000);
    const elapsed = (recent.at(-1) - recent[0]) / 1000;
    this.cells.fps.textContent = recent.length > 1 ? ((recent.length - 1) / elapsed).toFixed(1) : "–";
    this.cells.p50.textContent = milliseconds(quantile(this.latencies, 0.5));
    this.cells.p95.textContent = milliseconds(quantile(this.latencies, 0.95));
    this.cells.model.textContent = milliseconds(this.model || undefined);
    this.#draw();
  }

  #draw() {
    const { width, height } = this.sparkline;
    const context = this.sparkline.getContext("2d");
    const target = 1000 / this.fps;
    const scale = height / (target * 3);
    context.clearRect(0, 0, width, height);
    context.fillStyle = "#312c44";
    context.fillRect(0, height - target * scale, width, 1);
    for (let i = 1; i < this.times.length; i++) {
      const interval = this.times[i] - this.times[i - 1];
      const bar = Math.min(height, interval * scale);
      context.fillStyle = interval > target * 1.5 ? "#ffc66d" : "#c4a7ff";
      context.fillRect((i - 1) * (width / INTERVALS), height - bar, width / INTERVALS - 0.5, bar);
    }
  }
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function milliseconds(value) {
  return value === undefined ? "–" : `${value.toFixed(1)} ms`;
}
