/**
 * The record by which a gateway asks the holder of a volume's lease to give it back.
 *
 * Owns the key. Each gateway that asks has a record of its own, bound to its session: a wish ends
 * with whoever has it. A holder that has clients lets a wish wait.
 */
export const WISHES_PREFIX = 'wishes/';

export function wishKey(volumeId: number, holderId: string): string {
  return `${WISHES_PREFIX}${volumeId}/${holderId}`;
}

/** Whose wish for which volume; `undefined` for a key that is not one. */
export function wishOf(
  key: string,
): { readonly volumeId: number; readonly holderId: string } | undefined {
  const parts = /^wishes\/(\d+)\/(.+)$/.exec(key);
  return parts === null ? undefined : { volumeId: Number(parts[1]), holderId: parts[2]! };
}
