import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { service } from "../src/service.js";

const server = service();
let base;

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${server.address().port}`;
});

after(() => server.close());

test("the service says that it is ready", async () => {
  const response = await fetch(`${base}/health`);
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { status: "ready" });
});

test("the service quotes a price", async () => {
  const response = await fetch(`${base}/quote?grams=1000`);
  assert.deepEqual(await response.json(), { grams: 1000, cents: 440 });
});

test("the service explains what it refuses", async () => {
  const response = await fetch(`${base}/quote?grams=feather`);
  assert.equal(response.status, 400);
  assert.match((await response.json()).error, /NaN g/);
});
