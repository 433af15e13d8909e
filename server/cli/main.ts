#!/usr/bin/env -S node --max-semi-space-size=8
/**
 * The command `drover`.
 *
 * Owns: refusing a Node that is too old, before anything is loaded that it would stumble over.
 */
const NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  console.error(`drover needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version}`);
  process.exitCode = 1;
} else {
  const { runCommandLine } = await import('./command-line.ts');
  process.exitCode = await runCommandLine(process.argv);
}

export {};
