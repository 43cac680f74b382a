// A worker for Matrix, with nothing but Node 20.
//
// It leases steps of runs, does them side by side, shows that it lives, and reports. The protocol
// is described in docs/reference/worker-protocol.md, the use of this file in
// docs/how-to/remote-workers.md.
//
//     MATRIX_TOKEN=mtx_... node worker.mjs --url http://127.0.0.1:7420 --queue default

import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { appendFile, open, readFile, rename } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

// ---- What this worker can do ------------------------------------------------------------------
//
// A task is a function of its input and of `job`: `job.key`, the same for every attempt;
// `job.attempt`; `job.signal`, aborted when the run is cancelled or the lease is lost;
// `job.progress`, which may be set to anything small; `job.log(line)`, for people.

/** An error with a code. `nothing_done` promises that nothing in the world has changed. */
class Failed extends Error {
  constructor(code, message, { retry = true, nothing_done = false } = {}) {
    super(message);
    this.error = { code, message, retry, nothing_done };
  }
}

const tasks = {
  /** The SHA-256 of a file (a read). */
  async hash_file({ path }, job) {
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      for await (const chunk of createReadStream(path)) {
        hash.update(chunk);
        bytes += chunk.length;
        job.progress = { bytes };
      }
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
      throw new Failed('no_such_file', error.message, { retry: false, nothing_done: true });
    }
    job.log(`${bytes} bytes read from ${path}`);
    return { sha256: hash.digest('hex'), bytes };
  },

  /** How often each word is in a text (a read). */
  count_words({ text }) {
    const counts = {};
    for (const word of text.toLowerCase().split(/\s+/).filter(Boolean)) {
      counts[word] = (counts[word] ?? 0) + 1;
    }
    return counts;
  },

  /** Writes a file as a whole (idempotent: the same key writes the same bytes). */
  async write_file({ path, text }, job) {
    const content = typeof text === 'string' ? text : JSON.stringify(text);
    const part = `${path}.${job.key.slice(0, 8)}`;
    const file = await open(part, 'w');
    await file.writeFile(content);
    await file.sync();
    await file.close();
    await rename(part, path);
    return { bytes: Buffer.byteLength(content) };
  },

  /** Adds a line to a file (external: done twice, it is there twice). */
  async append_line({ path, line }) {
    await appendFile(path, `${line}\n`);
    return {};
  },

  /** Waits until a file is there and gives its text (a read). Adds a line to `started` first. */
  async wait_for_file({ path, started }, job) {
    if (started) await appendFile(started, `attempt ${job.attempt}\n`);
    for (;;) {
      try {
        return await readFile(path, 'utf8');
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
      job.progress = { 'waits for': path };
      if (job.signal.aborted) {
        throw new Failed('stopped', 'it was told to stop', { retry: false, nothing_done: true });
      }
      await pause(20);
    }
  },
};

// ---- The protocol -----------------------------------------------------------------------------

const { values: options } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:7420' },
    queue: { type: 'string', multiple: true, default: ['default'] },
    name: { type: 'string', default: `node-${randomUUID().slice(0, 8)}` },
    slots: { type: 'string', default: '64' },
  },
});
const slots = Number(options.slots);
const token = process.env.MATRIX_TOKEN;
if (!token) {
  console.error("set MATRIX_TOKEN to the worker's token");
  process.exit(1);
}

const base = new URL(options.url);
const client = base.protocol === 'https:' ? https : http;
const agent = new client.Agent({ keepAlive: true });

function once(verb, body) {
  const path = `${base.pathname.replace(/\/$/, '')}/api/v1/worker/${verb}`;
  const headers = {
    Authorization: `Bearer ${token}`,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'Matrix-Worker-Protocol': '1',
  };
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', path, headers, agent, timeout: 60_000 };
    const request = client.request(base, options, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', reject);
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString();
        resolve({ status: answer.statusCode, text });
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(body);
  });
}

/**
 * Asks until there is an answer. Every request may be made again: a report that was taken is
 * answered with `already`, a task whose lease nobody heard of is offered again.
 */
async function ask(verb, body) {
  const text = JSON.stringify(body);
  for (let wait = 50; ; wait = Math.min(2 * wait, 5_000)) {
    try {
      const answer = await once(verb, text);
      if (answer.status === 200) return JSON.parse(answer.text);
      if (answer.status >= 400 && answer.status < 500 && ![408, 429].includes(answer.status)) {
        console.error(answer.text);
        process.exit(1);
      }
      throw new Error(`the server answered ${answer.status}`);
    } catch (error) {
      console.error(`${verb}: ${error.message}; trying again`);
      await pause(wait);
    }
  }
}

/** The tasks at work, by their ids. */
const jobs = new Map();
/** What is to be reported; `reporting` while a request is under way. */
let [outbox, reporting] = [[], false];
/** Ends a wait for a free slot. */
let freed = () => {};

async function report() {
  if (reporting) return;
  reporting = true;
  while (outbox.length > 0) {
    const reports = outbox.splice(0, 256);
    const answer = await ask('report', { reports });
    for (const { task, state } of answer.reports) console.log(task, state);
  }
  reporting = false;
}

async function sendLines(job) {
  const lines = job.lines.splice(0);
  if (lines.length > 0) await ask('log', { task: job.id, lease: job.lease, lines });
}

async function work(task) {
  const stop = new AbortController();
  const { task: id, lease, key, attempt, lease_ms } = task;
  const job = { id, lease, key, attempt, lease_ms, stop, signal: stop.signal, progress: null };
  job.lines = [];
  job.log = (line) => job.lines.push(line);
  jobs.set(id, job);
  const told = { task: id, lease };
  try {
    told.result = (await tasks[task.name](task.input, job)) ?? null;
  } catch (error) {
    told.error = error.error ?? { code: error.name, message: error.message || String(error) };
  }
  jobs.delete(id);
  await sendLines(job);
  outbox.push(told);
  freed();
  report();
}

async function beat() {
  for (;;) {
    const shortest = Math.min(3_000, ...[...jobs.values()].map((job) => job.lease_ms / 3));
    await pause(jobs.size > 0 ? shortest : 100);
    if (jobs.size === 0) continue;
    for (const job of jobs.values()) await sendLines(job);
    const beats = [...jobs.values()].slice(0, 256).map(({ id, lease, progress }) => {
      return { task: id, lease, progress };
    });
    const answer = await ask('heartbeat', { tasks: beats });
    for (const { task, state } of answer.tasks) {
      if (state === 'held') continue;
      console.log(task, state);
      jobs.get(task)?.stop.abort();
    }
  }
}

beat();
for (;;) {
  while (jobs.size >= slots) {
    await new Promise((resolve) => {
      freed = resolve;
    });
  }
  const asked = {
    worker: options.name,
    queues: options.queue,
    names: Object.keys(tasks),
    max: Math.min(slots - jobs.size, 256),
    wait_ms: 30_000,
  };
  const answer = await ask('lease', asked);
  for (const task of answer.tasks) {
    console.log(task.task, 'leased', task.name);
    work(task);
  }
}
