/**
 * The version of this program, from the package it belongs to.
 */
import { createRequire, findPackageJSON } from 'node:module';
import { z } from 'zod';

const packageSchema = z.object({ version: z.string() });

function readVersion(): string {
  // The package's root is at another distance in a checkout than in what is compiled from it.
  const path = findPackageJSON(import.meta.url);
  if (path === undefined) throw new Error('this program is not part of a package');
  return packageSchema.parse(createRequire(import.meta.url)(path)).version;
}

export const DROVER_VERSION = readVersion();
