// The page's side of the worker: one Python, started when it is first needed, and anew when it is stopped.

export class Python {
  /** `hear` takes each of the worker's messages; what they are stands in worker.js. */
  constructor(base, hear) {
    this.base = base;
    this.hear = hear;
    this.worker = null;
  }

  start() {
    if (this.worker) return;
    // From a blob, so that this page's policy binds the worker too.
    const blob = new Blob([`import ${JSON.stringify(new URL("worker.js", this.base).href)};`], { type: "text/javascript" });
    const address = URL.createObjectURL(blob);
    const worker = new Worker(address, { type: "module" });
    const hear = (message) => worker === this.worker && this.hear(message); // not a worker's that is gone
    worker.onmessage = ({ data }) => hear(data);
    worker.onerror = (event) => hear({ type: "crashed", message: event.message ?? "it could not be loaded" });
    this.worker = worker;
    this.send({ type: "start", base: this.base.href });
  }

  send(message) {
    this.start();
    this.worker.postMessage(message);
  }

  /** End whatever runs. */
  stop() {
    this.worker?.terminate();
    this.worker = null;
  }
}
