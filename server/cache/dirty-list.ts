/**
 * The dirty objects of one volume that can be sent, those needed first in front.
 *
 * Owns: the links in `CachedObject`. Does not own: when an object is sent.
 * Invariant: objects that a flush waits for stand before all others; the others stand in the order
 * in which they became dirty. All operations take constant time.
 */
import assert from 'node:assert';
import type { CachedObject } from './cached-object.ts';

export class DirtyList {
  head: CachedObject | undefined = undefined;
  #tail: CachedObject | undefined = undefined;

  pushBack(object: CachedObject): void {
    assert(!object.isListed);
    object.isListed = true;
    object.listPrevious = this.#tail;
    if (this.#tail === undefined) this.head = object;
    else this.#tail.listNext = object;
    this.#tail = object;
  }

  pushFront(object: CachedObject): void {
    assert(!object.isListed);
    object.isListed = true;
    object.listNext = this.head;
    if (this.head === undefined) this.#tail = object;
    else this.head.listPrevious = object;
    this.head = object;
  }

  remove(object: CachedObject): void {
    assert(object.isListed);
    if (object.listPrevious === undefined) this.head = object.listNext;
    else object.listPrevious.listNext = object.listNext;
    if (object.listNext === undefined) this.#tail = object.listPrevious;
    else object.listNext.listPrevious = object.listPrevious;
    object.isListed = false;
    object.listNext = undefined;
    object.listPrevious = undefined;
  }

  *[Symbol.iterator](): Generator<CachedObject> {
    for (let object = this.head; object !== undefined; object = object.listNext) yield object;
  }
}
