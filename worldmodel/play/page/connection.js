// The WebSocket to the game: messages go out as JSON, come in as a JSON header with blobs behind it.

export class Connection {
  constructor(onMessage, onClose) {
    this.onMessage = onMessage;
    this.onClose = onClose;
    this.taken = Promise.resolve(); // messages are taken one after the other, also while a picture is being decoded
    this.open();
  }

  open() {
    this.socket = new WebSocket(`ws://${location.host}${location.pathname}play`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      this.taken = this.taken.then(() => this.onMessage(...unpack(data))).catch(console.error);
    };
    this.socket.onclose = ({ reason }) => this.onClose(reason);
  }

  send(type, content = {}) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...content }));
  }
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const blobs = [];
  let start = 4 + length;
  for (const size of header.bytes) {
    blobs.push(new Uint8Array(buffer, start, size));
    start += size;
  }
  return [header, blobs];
}
