// What a visitor may download, in KB (1000 bytes) of brotli, and how many requests a first page may make in all.

/** What we promise. */
export const budgets = { css: 14, js: 12, first: 230, further: 25, fonts: 53, requests: 8 };

/**
 * What the check holds us to: the same, but for what differs between machines (the wasm of one source by about 0.4 %). A page
 * that is over its budget is told, and lost weight is owed.
 */
export const ceilings = { ...budgets, first: 231, further: 25.2 };
