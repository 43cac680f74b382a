// Jobs of pg-boss without work: created before, then fetched and completed by so many workers.
//
//     node pgboss_jobs.mjs FOLDER ADDRESS WORKERS JOBS

import PgBoss from 'pg-boss';

const [, address, workers, jobs] = process.argv.slice(2);
const boss = new PgBoss({
  connectionString: address,
  max: Number(workers),
  supervise: false,
  schedule: false,
});
boss.on('error', (error) => {
  throw error;
});
await boss.start();
await boss.createQueue('bench');
for (let made = 0; made < Number(jobs); made += 1000) {
  const count = Math.min(1000, Number(jobs) - made);
  await boss.insert(Array.from({ length: count }, () => ({ name: 'bench', data: {} })));
}
const before = process.cpuUsage();
const begun = process.hrtime.bigint();
let done = 0;
const work = async () => {
  for (;;) {
    const [job] = await boss.fetch('bench', { batchSize: 1 });
    if (!job) return;
    await boss.complete('bench', job.id);
    done++;
  }
};
await Promise.all(Array.from({ length: Number(workers) }, work));
const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
const used = process.cpuUsage(before);
if (done !== Number(jobs)) throw new Error(`${done} of ${jobs} jobs`);
console.log(JSON.stringify({ steps: done, seconds, processor: (used.user + used.system) / 1e6 }));
await boss.stop({ graceful: false });
process.exit(0);
