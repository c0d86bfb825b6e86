// Looking around: a mouse that the picture has caught, or a finger that drags it.

const DRAG = 2; // a finger has less way to go than a mouse

export class Look {
  // `moved(time)` is called on every change of `totals`, with the event's time stamp in milliseconds.
  constructor(picture, hint, moved) {
    this.picture = picture;
    this.hint = hint;
    this.moved = moved;
    this.degrees = 0.15; // a pixel
    this.totals = {}; // how far each axis has come since the socket opened, in degrees
    this.build(null);
    picture.addEventListener("click", (event) => this.#catchMouse(event));
    picture.addEventListener("pointerdown", (event) => this.#startDrag(event));
    picture.addEventListener("pointermove", (event) => this.#drag(event));
    document.addEventListener("mousemove", (event) => {
      if (this.caught) this.#turn(event.movementX, event.movementY, event.timeStamp);
    });
    document.addEventListener("pointerlockchange", () => this.#showHint());
  }

  // `view` holds the axes that turn it, see axes.js; null while there is no game.
  build(view) {
    this.view = view;
    this.totals = {};
    this.#showHint();
  }

  get possible() {
    return Boolean(this.view?.x || this.view?.y);
  }

  get caught() {
    return document.pointerLockElement === this.picture;
  }

  free() {
    if (this.caught) document.exitPointerLock();
  }

  #catchMouse(event) {
    const byFinger = event.pointerType && event.pointerType !== "mouse";
    if (!this.possible || this.caught || byFinger || event.target.closest(".overlay")) return;
    // Refused on devices without a mouse, and within a second of Esc: then there is still dragging.
    Promise.resolve(this.picture.requestPointerLock?.()).catch(() => {});
  }

  #startDrag(event) {
    if (!this.possible || this.caught || event.target.closest("button")) return;
    this.picture.setPointerCapture(event.pointerId);
    this.last = { id: event.pointerId, x: event.clientX, y: event.clientY };
  }

  #drag(event) {
    if (this.caught || this.last?.id !== event.pointerId || !this.picture.hasPointerCapture(event.pointerId)) return;
    const { x, y } = this.last;
    this.last = { id: event.pointerId, x: event.clientX, y: event.clientY };
    this.#turn(DRAG * (event.clientX - x), DRAG * (event.clientY - y), event.timeStamp);
  }

  // Pixels to the right and down; an axis's sign is of right and up.
  #turn(right, down, time) {
    if (!this.possible || (right === 0 && down === 0)) return;
    this.#add(this.view.x, right);
    this.#add(this.view.y, -down);
    this.moved(time);
  }

  #add(axis, pixels) {
    if (axis) this.totals[axis.name] = (this.totals[axis.name] ?? 0) + axis.sign * pixels * this.degrees;
  }

  #showHint() {
    this.hint.hidden = !this.possible;
    this.picture.toggleAttribute("data-look", this.possible);
    this.picture.toggleAttribute("data-caught", this.caught);
    const coarse = matchMedia("(pointer: coarse)").matches;
    this.hint.textContent = this.caught ? "Esc frees the mouse" : coarse ? "Drag to look around" : "Click to look around";
  }
}
