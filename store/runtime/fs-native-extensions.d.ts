/** The one function used of `fs-native-extensions`, which ships no types. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive lock of the open file description; false if another one holds it. */
  export function tryLock(fd: number): boolean;
}
