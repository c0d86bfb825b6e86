// A canvas that shows pictures as they come, never an older one after a newer one.

import { CODEC_JPEG } from "./protocol.js";

const WHOLE = 3; // from this scale on, all pixels of the picture get the same size; below, scaling is smooth

export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.shown = 0; // number of the newest frame on the canvas
    this.room = canvas.closest(".room");
    new ResizeObserver(() => this.#fit()).observe(this.room);
  }

  // Resolves to whether the picture was drawn.
  async show(frame, bytes) {
    if (frame.codec === CODEC_JPEG) {
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      const newer = this.#accept(frame);
      if (newer) this.context.drawImage(bitmap, 0, 0);
      bitmap.close();
      return newer;
    }
    if (this.#accept(frame)) this.context.putImageData(this.#withAlpha(frame, bytes), 0, 0);
    return true;
  }

  #accept(frame) {
    if (frame.number < this.shown) return false;
    this.shown = frame.number;
    if (this.canvas.width !== frame.width || this.canvas.height !== frame.height) {
      this.canvas.width = frame.width;
      this.canvas.height = frame.height;
      this.image = this.context.createImageData(frame.width, frame.height);
      this.#fit();
    }
    return true;
  }

  #fit() {
    const glass = getComputedStyle(this.canvas.parentElement);
    const frame = parseFloat(glass.paddingLeft) + parseFloat(glass.borderLeftWidth);
    const room = Math.max(0, this.room.clientWidth - 2 * frame);
    const scale = (room * devicePixelRatio) / this.canvas.width;
    const whole = scale >= WHOLE;
    this.canvas.style.width = `${whole ? (Math.floor(scale) * this.canvas.width) / devicePixelRatio : room}px`;
    this.canvas.toggleAttribute("data-smooth", !whole);
  }

  #withAlpha(frame, rgb) {
    const rgba = this.image.data;
    for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
      rgba[to] = rgb[from];
      rgba[to + 1] = rgb[from + 1];
      rgba[to + 2] = rgb[from + 2];
      rgba[to + 3] = 255;
    }
    return this.image;
  }
}
