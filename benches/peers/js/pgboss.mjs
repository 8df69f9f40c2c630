// pg-boss.
import { PgBoss } from "pg-boss";

const QUEUE = "bench";

async function start(url, options) {
  const boss = new PgBoss({ connectionString: url, schedule: false, ...options });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  return boss;
}

async function end(boss) {
  await boss.stop({ graceful: true, timeout: 10_000 });
}

const idle = { localConcurrency: 4, batchSize: 1 };
const enqueue = { localConcurrency: 4, batchSize: 1, pollingIntervalSeconds: 0.5 };
const drain = { localConcurrency: 2, batchSize: 1_000, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };

export const system = {
  async setup(url) {
    const boss = await start(url, { max: 2 });
    await boss.createQueue(QUEUE, { notify: true });
    await end(boss);
  },

  // One pool with as many connections as there are producers.
  async senders(url, number) {
    const boss = await start(url, { max: number, supervise: false });
    return Array.from({ length: number }, () => boss);
  },

  async send(boss, ball) {
    await boss.send(QUEUE, ball);
  },

  async sendMany(boss, balls) {
    await boss.insert(QUEUE, balls.map((data) => ({ data })));
  },

  async close([boss]) {
    await end(boss);
  },

  async work(url, load, seen) {
    const boss = await start(url, { max: 10, useListenNotify: load === "idle" });
    // A notification in every transaction would take the server's one lock of them.
    if (load === "enqueue") await boss.updateQueue(QUEUE, { notify: false });
    await boss.work(QUEUE, { idle, enqueue, drain }[load], async (jobs) => {
      for (const job of jobs) seen.start(job.data);
    });
    return boss;
  },

  async stop(boss) {
    await end(boss);
  },
};
