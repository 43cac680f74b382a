/** The postage of a letter, by its weight. */

/** The price in cents of a letter up to so many grams. */
export const TARIFF = new Map([
  [20, 85],
  [50, 100],
  [100, 180],
  [500, 275],
  [1000, 440],
]);

/** A letter that cannot be sent. */
export class PostageError extends Error {
  name = "PostageError";
}

/**
 * The price in cents of a letter.
 *
 * @param {number} grams its weight
 * @param {Map<number, number>} tariff the prices by the greatest weight they are for
 */
export function postage(grams, tariff = TARIFF) {
  if (!Number.isFinite(grams) || grams <= 0) {
    throw new PostageError(`a letter weighs more than nothing, not ${grams} g`);
  }
  const limits = [...tariff.keys()].sort();
  const limit = limits.find((most) => grams <= most);
  if (limit === undefined) {
    throw new PostageError(`a letter of ${grams} g is too heavy`);
  }
  return tariff.get(limit);
}
