// The browser's half of docs/play-protocol.md: one socket, texts as objects, frames as typed arrays.

export const CODEC_JPEG = 1;
export const FLAG = { real: 1, prompt: 2, late: 4 };
const VERSION = 1;
const HEADER_BYTES = 44;

export function connect(handlers) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/play`);
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  const send = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
  socket.binaryType = "arraybuffer";
  socket.onopen = () => send({ type: "hello", protocol: VERSION, token });
  socket.onclose = (event) => handlers.closed(event.code, event.reason);
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      handlers[message.type](message);
    } else {
      const frame = readFrame(data);
      send({ type: "ack", frame: frame.number });
      handlers.frame(frame);
    }
  };
  return { send, close: () => socket.close() };
}

export function readFrame(buffer) {
  const view = new DataView(buffer);
  const controls = view.getUint8(3);
  const flags = view.getUint8(1);
  const frame = {
    flags,
    codec: view.getUint8(2),
    width: view.getUint16(4, true),
    height: view.getUint16(6, true),
    number: view.getUint32(8, true),
    index: view.getUint32(12, true),
    inputSeq: view.getUint32(16, true),
    modelMs: (view.getUint32(32, true) + view.getUint32(36, true)) / 1000,
    row: Array.from({ length: controls }, (_, i) => view.getFloat32(HEADER_BYTES + 4 * i, true)),
    pictures: [],
  };
  let offset = HEADER_BYTES + 4 * controls;
  for (let i = 0; i < (flags & FLAG.real ? 2 : 1); i++) {
    const length = view.getUint32(offset, true);
    frame.pictures.push(new Uint8Array(buffer, offset + 4, length));
    offset += 4 + length;
  }
  return frame;
}
