// A worker that leases steps, adds, and reports what it did with the next lease.
//
//     MATRIX_TOKEN=... node matrix_worker.mjs URL

import { Client } from './load.mjs';

const client = new Client(process.argv[2], {
  Authorization: `Bearer ${process.env.MATRIX_TOKEN}`,
  'Matrix-Worker-Protocol': '1',
});

/** Leases, and carries the reports that are there along, until the program is ended. */
async function lane(worker) {
  let reports = [];
  for (;;) {
    const wanted = { worker, names: ['add'], max: 64, wait_ms: 30_000, reports };
    const { tasks } = await client.ask('POST', '/api/v1/worker/lease', wanted);
    reports = tasks.map(({ task, lease, input }) => ({
      task,
      lease,
      result: input.number + input.step,
    }));
  }
}

await Promise.all([lane('bench-1'), lane('bench-2')]);
