// In place of the WebSocket: the game runs in a worker of the page, and says what the server would say.

export class Connection {
  constructor(onMessage, onClose) {
    this.onMessage = onMessage;
    this.onClose = onClose;
    this.taken = Promise.resolve(); // messages are taken one after the other
    this.open();
  }

  open() {
    this.worker?.terminate();
    this.worker = new Worker(new URL("game.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data: { header, blobs } }) => {
      if (header.type === "failed") this.onClose(header.message);
      else this.taken = this.taken.then(() => this.onMessage(header, blobs)).catch(console.error);
    };
    this.worker.onerror = ({ message }) => this.onClose(message);
  }

  send(type, content = {}) {
    this.worker.postMessage({ type, ...content });
  }
}
