// Runs of three steps on Matrix, whose steps a Node process of its own does.
//
//     node matrix_runs.mjs PROGRAM FOLDER AT_ONCE RUNS

import { execFileSync, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import path from 'node:path';

import { Client, load, until } from './load.mjs';

const [program, folder, atOnce, runs] = process.argv.slice(2);
const here = import.meta.dirname;
const log = openSync(path.join(folder, 'log'), 'a');
const stdio = ['ignore', log, log];
const url = 'http://127.0.0.1:7431';
const env = {
  ...process.env,
  MATRIX_DATA_DIR: path.join(folder, 'data'),
  MATRIX_LISTEN: '127.0.0.1:7431',
};
const server = spawn(program, ['serve'], { stdio, env });
let worker;
try {
  await until(() => new Client(url).ask('GET', '/health'));
  const add = (name, role) => {
    const said = execFileSync(program, ['user', 'add', name, '--role', role], { env });
    return /mtx_\S+/.exec(said.toString())[0];
  };
  const token = add('bench-worker', 'worker');
  worker = spawn(process.execPath, [path.join(here, 'matrix_worker.mjs'), url], {
    stdio,
    env: { ...env, MATRIX_TOKEN: token },
  });
  const client = new Client(url, { Authorization: `Bearer ${add('bench', 'submitter')}` });
  const result = await load(server.pid, Number(atOnce), Number(runs), async (number) => {
    const steps = [0, 1, 2].map((step) => ({
      name: 'add',
      id: `step${step}`,
      effect: 'idempotent',
      input: { number, step },
    }));
    const { run } = await client.ask('POST', '/api/v1/tasks', { steps });
    const { state, result } = await client.ask('GET', `/api/v1/runs/${run}?wait_ms=30000`);
    const sum = Object.values(result ?? {}).reduce((sum, number) => sum + number, 0);
    if (sum !== 3 * number + 3) throw new Error(`${run} of ${number}: ${state} ${sum}`);
  });
  console.log(JSON.stringify(result));
} finally {
  worker?.kill();
  server.kill();
}
