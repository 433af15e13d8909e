/**
 * An expected failure of a command: its message is all there is to say, and the exit status is 1.
 */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}
