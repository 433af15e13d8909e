/** What is used of `buffer-layout`, which ships no types. */
declare module 'buffer-layout' {
  export interface Layout<T> {
    /** Bytes the layout takes; negative if that depends on the content. */
    readonly span: number;
    readonly property: string;
    /** `offset` is 0 if left out. */
    decode(bytes: Buffer, offset?: number): T;
    /** Returns the bytes written. */
    encode(value: T, bytes: Buffer, offset?: number): number;
  }

  export interface Structure<T> extends Layout<T> {
    /** The byte offset of a field within the structure; `undefined` if there is no such field. */
    offsetOf(property: string): number | undefined;
  }

  /** Fields of `T`, in the order of the wire; a field without a name is padding. */
  export function struct<T>(fields: readonly Layout<unknown>[], property?: string): Structure<T>;
  export function seq<T>(element: Layout<T>, count: number, property?: string): Layout<T[]>;
  /** Decodes to a view of the bytes, not a copy. */
  export function blob(length: number, property?: string): Layout<Buffer>;

  export function u8(property?: string): Layout<number>;
  export function u16(property?: string): Layout<number>;
  export function u32(property?: string): Layout<number>;
  export function u48(property?: string): Layout<number>;
  /** Rounds above 2^53. */
  export function nu64(property?: string): Layout<number>;
  export function u16be(property?: string): Layout<number>;
  export function u32be(property?: string): Layout<number>;
  export function u48be(property?: string): Layout<number>;
  /** Rounds above 2^53. */
  export function nu64be(property?: string): Layout<number>;
}
