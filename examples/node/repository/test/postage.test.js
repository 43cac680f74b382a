import assert from "node:assert/strict";
import { test } from "node:test";

import { PostageError, postage } from "../src/postage.js";

const TWO = new Map([
  [20, 85],
  [50, 100],
]);

test("a light letter has the lowest price", () => {
  assert.equal(postage(1, TWO), 85);
  assert.equal(postage(20, TWO), 85);
  assert.equal(postage(21, TWO), 100);
});

test("every letter has the price of the smallest limit that holds it", () => {
  const prices = [20, 50, 90, 100, 101, 500, 1000].map((grams) => postage(grams));
  assert.deepEqual(prices, [85, 100, 180, 180, 275, 275, 440]);
});

test("a letter that is too heavy is refused", () => {
  assert.throws(() => postage(51, TWO), new PostageError("a letter of 51 g is too heavy"));
});

test("a letter that weighs nothing is refused", () => {
  for (const grams of [0, -1, NaN, Infinity]) {
    assert.throws(() => postage(grams), PostageError);
  }
});
