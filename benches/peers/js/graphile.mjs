// Graphile Worker.
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import pg from "pg";

const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

const idle = { concurrentJobs: 4, maxPoolSize: 10 };
const drain = { concurrentJobs: 100, maxPoolSize: 20, localQueue: { size: 2_000 }, completeJobBatchDelay: 5 };

export const system = {
  async setup(url) {
    await runMigrations({ connectionString: url, logger });
  },

  // One pool with as many connections as there are producers.
  async senders(url, number) {
    const pool = new pg.Pool({ connectionString: url, max: number, min: number });
    pool.on("error", console.error);
    pool.on("connect", (client) => client.on("error", console.error));
    const open = await Promise.all(Array.from({ length: number }, () => pool.connect()));
    open.forEach((client) => client.release());
    const utils = await makeWorkerUtils({ pgPool: pool, logger });
    return Array.from({ length: number }, () => ({ pool, utils }));
  },

  async send({ utils }, ball) {
    await utils.addJob("ball", ball);
  },

  async sendMany({ utils }, balls) {
    await utils.addJobs(balls.map((payload) => ({ identifier: "ball", payload })));
  },

  async close([{ pool, utils }]) {
    await utils.release();
    await pool.end();
  },

  async work(url, load, seen) {
    return run({
      preset: { worker: { connectionString: url, logger, ...(load === "drain" ? drain : idle) } },
      noHandleSignals: true,
      taskList: { ball: async (payload) => seen.start(payload) },
    });
  },

  async stop(runner) {
    await runner.stop();
  },
};
