// Runs of three steps on a Restate server, whose service is a Node process of its own.
//
//     node restate_runs.mjs FOLDER AT_ONCE RUNS

import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { Client, load, until } from './load.mjs';

const [folder, atOnce, runs] = process.argv.slice(2);
const here = import.meta.dirname;
const log = openSync(path.join(folder, 'log'), 'a');
const from = createRequire(import.meta.url).resolve('@restatedev/restate-server/package.json');
const platform = `../restate-server-${process.platform}-${process.arch}/bin/restate-server`;
const program = path.join(path.dirname(from), platform);
const stdio = ['ignore', log, log];
const service = spawn(process.execPath, [path.join(here, 'restate_service.mjs'), '9080'], { stdio });
const server = spawn(program, ['--base-dir', path.join(folder, 'data'), '--no-logo'], {
  stdio,
  env: { ...process.env, RUST_LOG: 'warn', DO_NOT_TRACK: '1' },
});
try {
  const admin = new Client('http://127.0.0.1:9070');
  await until(() => admin.ask('POST', '/deployments', { uri: 'http://127.0.0.1:9080' }));
  const ingress = new Client('http://127.0.0.1:8080');
  await until(() => ingress.ask('POST', '/bench/three', 1));
  const result = await load(server.pid, Number(atOnce), Number(runs), async (number) => {
    const sum = await ingress.ask('POST', '/bench/three', number);
    if (sum !== 3 * number + 3) throw new Error(`${number} gave ${sum}`);
  });
  console.log(JSON.stringify(result));
} finally {
  server.kill();
  service.kill();
}
