/**
 * `npm test` is quick. What finds more the longer it looks, and what asks much twice, does all of it with THOROUGH=1, which
 * .ci/run sets.
 */
export const isThorough = process.env.THOROUGH === '1';

/** The one for a quick run, the other for a thorough one. */
export const quickOr = <T>(quick: T, thorough: T): T => (isThorough ? thorough : quick);
