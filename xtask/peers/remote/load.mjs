// What both contenders share: a load of runs, so many at once, and what it cost.

import { readFileSync } from 'node:fs';
import http from 'node:http';

/** A pool of connections to one address, and JSON in and out. */
export class Client {
  constructor(base, headers = {}) {
    this.base = new URL(base);
    this.headers = headers;
    this.agent = new http.Agent({ keepAlive: true });
  }

  ask(method, path, body) {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = { ...this.headers, 'Content-Length': Buffer.byteLength(text) };
    if (text) headers['Content-Type'] = 'application/json';
    return new Promise((resolve, reject) => {
      const options = { method, path, headers, agent: this.agent };
      const request = http.request(this.base, options, (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('error', reject);
        answer.on('end', () => {
          const said = Buffer.concat(parts).toString();
          if (answer.statusCode >= 300) reject(new Error(`${path}: ${answer.statusCode} ${said}`));
          else resolve(said ? JSON.parse(said) : undefined);
        });
      });
      request.on('error', reject);
      request.end(text);
    });
  }
}

/** Processor time of a process in seconds: fields 14 and 15 of proc_pid_stat(5). */
function processor(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** What a process has resident, in bytes. */
function resident(pid) {
  const line = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line[1]) * 1024;
}

/** Asks until there is an answer that is not an error, for half a minute. */
export async function until(ask) {
  const end = Date.now() + 30_000;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Runs so many, so many at once, each to its end; prints what it cost the server. */
export async function load(pid, atOnce, runs, one) {
  for (let i = 0; i < Math.min(runs, 200); i++) await one(i);
  const idle = processor(pid);
  const rested = 3;
  await new Promise((resolve) => setTimeout(resolve, rested * 1000));
  const before = processor(pid);
  const begun = process.hrtime.bigint();
  const times = [];
  let next = 0;
  const lane = async () => {
    while (next < runs) {
      const number = next++;
      const from = process.hrtime.bigint();
      await one(number);
      times.push(Number(process.hrtime.bigint() - from) / 1000);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  const cost = processor(pid) - before;
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
  return {
    steps: runs,
    seconds,
    processor: cost,
    p50: at(0.5),
    p99: at(0.99),
    longest: times.at(-1),
    resident: resident(pid),
    idle: (before - idle) / rested,
  };
}
