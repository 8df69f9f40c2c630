// Answers one request a line, as the program in Rust sends them, for the system that the argument names.
import { createInterface } from "node:readline";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

// Libraries may print; stdout is for answers.
console.log = console.error;
// A connection that fails in the background is told, but must not end the turns to come.
process.on("uncaughtException", console.error);

const { system } = await import(`./${process.argv[2]}.mjs`);

const WARM_UP = 20;
const LOST_MS = 10_000;
const BYTES = 100;
const ball = (n, bytes) => ({ n, text: "x".repeat(Math.max(0, bytes - 20)) });

// What the handlers saw: calls, and messages among them, each counted once.
class Seen {
  constructor(messages, started = () => {}) {
    this.marks = new Uint8Array(messages);
    this.started = started;
    this.calls = 0;
    this.messages = 0;
  }
  start({ n }) {
    this.started(n);
    this.calls += 1;
    if (n < this.marks.length && this.marks[n] === 0) {
      this.marks[n] = 1;
      this.messages += 1;
    }
  }
}

let running;

async function latency({ url, samples, gap_ms }) {
  let wanted;
  const seen = new Seen(0, (n) => {
    if (wanted?.n === n) wanted.done(performance.now());
  });
  const worker = await system.work(url, "idle", seen);
  const [sender] = await system.senders(url, 1);
  const measured = [];
  try {
    for (let n = 0; n < WARM_UP + samples; n += 1) {
      await sleep(gap_ms);
      const message = ball(n, BYTES);
      let lost;
      const started = new Promise((done, failed) => {
        wanted = { n, done };
        lost = setTimeout(() => failed(new Error(`message ${n} was not handled within ${LOST_MS} ms`)), LOST_MS);
      });
      const begun = performance.now();
      const [at] = await Promise.all([started, system.send(sender, message)]);
      clearTimeout(lost);
      if (n >= WARM_UP) measured.push(Math.max(0, Math.round((at - begun) * 1_000)));
    }
  } finally {
    await system.close([sender]);
    await system.stop(worker);
  }
  return measured;
}

async function fill({ url, messages, bytes, batch, limit_s }) {
  const [sender] = await system.senders(url, 1);
  let sent = 0;
  let milliseconds = 0;
  try {
    while (sent < messages && milliseconds < limit_s * 1_000) {
      const upto = Math.min(messages, sent + batch);
      const balls = Array.from({ length: upto - sent }, (_, i) => ball(sent + i, bytes));
      const begun = performance.now();
      await system.sendMany(sender, balls);
      milliseconds += performance.now() - begun;
      sent = upto;
    }
  } finally {
    await system.close([sender]);
  }
  return { messages: sent, seconds: milliseconds / 1_000 };
}

async function single({ url, connections, seconds }) {
  const seen = new Seen(0);
  const worker = await system.work(url, "enqueue", seen);
  const senders = await system.senders(url, connections);
  try {
    let messages = 0;
    let next = 0;
    const begun = performance.now();
    const elapsed = () => (performance.now() - begun) / 1_000;
    await Promise.all(
      senders.map(async (sender) => {
        while (elapsed() < seconds) {
          await system.send(sender, ball(next++, BYTES));
          messages += 1;
        }
      }),
    );
    return { messages, seconds: elapsed(), handled: Math.min(seen.calls, messages) };
  } finally {
    await system.close(senders);
    await system.stop(worker);
  }
}

const operations = {
  setup: ({ url }) => system.setup(url),
  latency,
  fill,
  single,
  start: async ({ url, messages }) => {
    const seen = new Seen(messages);
    running = { worker: await system.work(url, "drain", seen), seen };
  },
  handled: () => ({ calls: running?.seen.calls ?? 0, messages: running?.seen.messages ?? 0 }),
  stop: async () => {
    const { worker } = running ?? {};
    running = undefined;
    if (worker) await system.stop(worker);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const request = JSON.parse(line);
    answer = { ok: (await operations[request.op](request)) ?? null };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
