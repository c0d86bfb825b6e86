// What a game's axes are to a page: the view that a mouse turns, a pad for two that belong together, and sliders.

const KEYS = { left: ["ArrowLeft", "KeyA"], right: ["ArrowRight", "KeyD"], up: ["ArrowUp", "KeyW"], down: ["ArrowDown", "KeyS"] };

// Returns { view: { x, y }, pad: { x, y } or null, sliders: [...] }. Each axis is the server's description with its
// `name`, `column`, `keys`, and in `view` and `pad` the `sign` of what moves it to the right (x) or upward (y).
export function arrange(controls) {
  const axes = controls.flatMap(({ name, options, axis }, column) => {
    const [negative, positive] = options.map((option) => option.keys);
    return axis ? [{ ...axis, name, column, negative, positive, keys: [...negative, ...positive] }] : [];
  });
  const view = { x: first(axes, turning("right", "left")), y: first(axes, turning("up", "down")) };
  const free = axes.filter((axis) => axis.name !== view.x?.name && axis.name !== view.y?.name);
  const [across, upward] = [only(free, pointing("left", "right", "x")), only(free, pointing("down", "up", "y"))];
  const pad = across && upward && across.name !== upward.name ? { x: across, y: upward } : null;
  return { view, pad, sliders: pad ? free.filter((axis) => axis.name !== pad.x.name && axis.name !== pad.y.name) : free };
}

function turning(positive, negative) {
  return ({ kind, turns }) => (kind === "delta" ? Number(turns === positive) - Number(turns === negative) : 0);
}

// By the keys that move it; without keys, by its name: "x", "hand.x" or "move_x".
function pointing(low, high, letter) {
  return ({ negative, positive, keys, name }) => {
    if (keys.length === 0) return Number(new RegExp(`(^|[^a-z])${letter}$`, "i").test(name));
    const has = (side, direction) => side.some((key) => KEYS[direction].includes(key));
    return Number(has(negative, low) && has(positive, high)) - Number(has(negative, high) && has(positive, low));
  };
}

function signed(axes, sign) {
  return axes.map((axis) => ({ ...axis, sign: sign(axis) })).filter((axis) => axis.sign !== 0);
}

function first(axes, sign) {
  return signed(axes, sign)[0] ?? null;
}

function only(axes, sign) {
  const found = signed(axes, sign);
  return found.length === 1 ? found[0] : null;
}
