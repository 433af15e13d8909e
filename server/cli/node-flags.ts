/**
 * The flags with which Node runs a Drover server.
 *
 * V8 lets its young generation grow to 128 MiB under load; nothing on the data path needs that, and
 * memory is promised to stay within bounds. It can only be said on the command line: the first line
 * of `main.ts` and the scripts of `package.json` spell it out, a test compares them with this.
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=8'];
