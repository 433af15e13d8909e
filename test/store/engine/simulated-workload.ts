/**
 * Random work on a simulated node: many changes on their way at once, in every combination that a
 * cluster may ask for, with checkpoints, cleaning and reads between them, and crashes.
 */
import assert from 'node:assert';
import { crc32 } from '@node-rs/crc32';
import { BlockKind } from '../../../store/engine/store-node.ts';
import { describeError, isDroverError } from '../../../store/runtime/drover-error.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { ModelObject, OBJECT_BLOCKS, type ObjectState, sameVersion } from './crash-model.ts';
import {
  type BlockChange,
  blockBytes,
  contentOf,
  contentRead,
  HOLE,
  ZERO,
} from './sample-blocks.ts';
import { SimulatedNode } from './simulated-node.ts';

const OBJECTS_PER_LAYER = 12;
const LAYERS = 2;
const OPERATIONS_PER_LIFE = 250;
const VOLUME_ID = 7;

export interface WorldOptions {
  /** Of the disk; cleaning and refusals begin when it gets tight. */
  readonly capacityBytes?: number;
}

export class SimulatedWorkload {
  readonly node: SimulatedNode;
  readonly #random: SeededRandom;
  readonly #options: WorldOptions;
  #objects: ModelObject[] = [];
  readonly #removedLayers: number[] = [];
  /** Asked to be removed and not answered: they may be there or not. */
  readonly #doubtfulLayers = new Set<number>();
  #nextLayer = 1;
  #nextFill = 1;
  #epoch = 1;
  #adoptedEpoch = 0;
  #waiting = 0;
  #isClosing = false;
  /** The first thing that must not have happened, met in a callback. */
  #problem: unknown;
  refusals = 0;

  constructor(random: SeededRandom, options: WorldOptions = {}) {
    this.#random = random;
    this.#options = options;
    this.node = new SimulatedNode(random);
    for (let i = 0; i < LAYERS; i += 1) this.#addLayer();
  }

  async live(lives: number): Promise<void> {
    const capacity = this.#options.capacityBytes;
    if (capacity !== undefined) this.node.disk.capacityBytes = capacity;
    for (let life = 0; life < lives; life += 1) {
      await this.node.open();
      await this.#settleAll();
      await this.#work();
      if (this.#random.chance(0.3)) {
        this.#isClosing = true;
        await this.node.run(this.node.engine.close());
        this.#isClosing = false;
        this.#checkProblem();
        assert.equal(this.#waiting, 0, 'closing left a change unanswered');
      } else {
        this.node.crash(this.#random.chance(0.4));
        this.#waiting = 0;
      }
      await this.#checkStableReopen();
    }
  }

  /** What was read once after a crash is read again after the next one. */
  async #checkStableReopen(): Promise<void> {
    await this.node.open();
    await this.#settleAll();
    if (this.#random.chance(0.5)) await this.node.scheduler.steps(this.#random.below(30));
    this.node.crash(this.#random.chance(0.5));
  }

  async #work(): Promise<void> {
    const operations = this.#random.below(OPERATIONS_PER_LIFE);
    this.#epoch += this.#random.below(2);
    for (const layerId of this.#doubtfulLayers) this.#askRemoval(layerId);
    for (let i = 0; i < operations; i += 1) {
      this.#operate();
      await this.node.scheduler.steps(this.#random.below(6));
      this.#checkProblem();
      if (this.#waiting > 40) await this.#quieten();
    }
    if (this.#random.chance(0.5)) await this.#quieten();
  }

  async #quieten(): Promise<void> {
    while (this.#waiting > 0) {
      assert(await this.node.scheduler.step(), 'deadlock');
      this.#checkProblem();
    }
  }

  #checkProblem(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  #check(isRight: boolean, what: string): void {
    if (!isRight) this.#problem ??= new Error(what);
  }

  #operate(): void {
    const roll = this.#random.fraction();
    const object = this.#objects[this.#random.below(this.#objects.length)]!;
    if (roll < 0.62) this.#write(object);
    else if (roll < 0.72) this.#checkRead(object);
    else if (roll < 0.77) this.#install(object);
    else if (roll < 0.8) this.#remove(object);
    else if (roll < 0.84) this.#repair(object);
    else if (roll < 0.88) this.#inBackground(this.node.engine.checkpoint());
    else if (roll < 0.92) this.#inBackground(this.node.engine.cleanOne());
    else if (roll < 0.95) this.#inBackground(this.node.engine.clean());
    else if (roll < 0.97) this.#adoptEpoch();
    else if (roll < 0.98) this.#removeLayer();
    else this.#checkStaleWrite(object);
  }

  #write(object: ModelObject): void {
    const { version: base } = object.newest;
    const target = object.nextVersion(this.#epoch);
    const changes = this.#changes();
    const state = object.write(target, changes);
    const request = { ...this.#keyOf(object), base, target, ...contentOf(changes) };
    this.#follow(object, state, this.node.engine.write(request));
    if (this.#random.chance(0.1)) {
      this.#follow(object, state, this.node.engine.write(request));
    }
  }

  #install(object: ModelObject): void {
    const target = object.nextVersion(this.#epoch);
    const blocks = Array.from({ length: OBJECT_BLOCKS }, () => this.#content());
    const state = object.replace(target, blocks);
    const data = blocks.filter((content) => content > 0).map(blockBytes);
    const kinds = Uint8Array.from(blocks, (content) =>
      content === HOLE ? BlockKind.hole : content === ZERO ? BlockKind.zero : BlockKind.data,
    );
    const blockCrcs = Uint32Array.from(blocks, (content) =>
      content > 0 ? crc32(blockBytes(content)) : 0,
    );
    const request = {
      ...{ ...this.#keyOf(object), version: target, kinds, blockCrcs, payload: data },
    };
    this.#follow(object, state, this.node.engine.install(request));
  }

  #remove(object: ModelObject): void {
    const state = object.remove();
    this.#follow(object, state, this.node.engine.removeObject(this.#keyOf(object)));
  }

  /** Writes a block that is there already once more, without a change of version. */
  #repair(object: ModelObject): void {
    const { version, blocks } = object.newest;
    const startBlock = blocks.findIndex((content) => content > 0);
    if (startBlock < 0) return;
    const { payload, blockCrcs } = contentOf([{ block: startBlock, content: blocks[startBlock]! }]);
    const request = { ...this.#keyOf(object), version, startBlock, blockCrcs, payload };
    this.#inBackground(this.node.engine.repair(request));
  }

  #adoptEpoch(): void {
    const epoch = ++this.#epoch;
    const adopting = this.node.engine.adoptEpoch(VOLUME_ID, epoch);
    this.#waiting += 1;
    adopting.then(
      () => {
        this.#waiting -= 1;
        this.#adoptedEpoch = Math.max(this.#adoptedEpoch, epoch);
      },
      (error: unknown) => this.#afterRefusal(error),
    );
  }

  /** A layer goes and a new one takes its place, because ids are never used again. */
  #removeLayer(): void {
    const layerId = this.#objects[this.#random.below(this.#objects.length)]!.layerId;
    if (this.#objects.some((object) => object.layerId === layerId && object.pending.length > 0)) {
      return;
    }
    this.#objects = this.#objects.filter((object) => object.layerId !== layerId);
    this.#addLayer();
    this.#doubtfulLayers.add(layerId);
    this.#askRemoval(layerId);
  }

  #askRemoval(layerId: number): void {
    this.#waiting += 1;
    this.node.engine.removeLayer(layerId).then(
      () => {
        this.#waiting -= 1;
        this.#doubtfulLayers.delete(layerId);
        this.#removedLayers.push(layerId);
      },
      (error: unknown) => this.#afterRefusal(error),
    );
  }

  #checkStaleWrite(object: ModelObject): void {
    if (this.#adoptedEpoch < 2) return;
    const stale = { ...this.#keyOf(object), epoch: this.#adoptedEpoch - 1 };
    const request = {
      ...{ ...stale, base: object.newest.version, target: { epoch: this.#epoch, seq: 1_000_000 } },
      ...contentOf(this.#changes()),
    };
    this.#waiting += 1;
    this.node.engine.write(request).then(
      () => this.#check(false, 'a deposed writer was answered'),
      (error: unknown) => {
        this.#waiting -= 1;
        this.#check(isDroverError(error, 'fenced'), String(error));
      },
    );
  }

  /** A read of the newest certain state succeeds with exactly its bytes, or is told of a newer one. */
  #checkRead(object: ModelObject): void {
    const { version: expected, blocks } = object.certain;
    const { layerId, objectIndex } = object;
    const into = Buffer.alloc(OBJECT_BLOCKS * 4096);
    const request = { layerId, objectIndex, expected, startBlock: 0, blockCount: OBJECT_BLOCKS };
    this.#waiting += 1;
    this.node.engine.read(request, [into.subarray(0, 4096 * 5), into.subarray(4096 * 5)]).then(
      ({ kinds, blockCrcs }) => {
        this.#waiting -= 1;
        const found = contentRead(kinds, blockCrcs, into);
        this.#check(String(found) === String(blocks), `read [${found}], not [${blocks}]`);
      },
      (error: unknown) => {
        this.#waiting -= 1;
        this.#check(isDroverError(error, 'conflict'), String(error));
      },
    );
  }

  #follow(object: ModelObject, state: ObjectState, change: Promise<void>): void {
    this.#waiting += 1;
    change.then(
      () => {
        this.#waiting -= 1;
        object.acknowledge(state);
      },
      (error: unknown) => {
        this.#afterRefusal(error);
        object.refuse(state);
      },
    );
  }

  #inBackground(promise: Promise<unknown>): void {
    this.#waiting += 1;
    promise.then(
      () => {
        this.#waiting -= 1;
      },
      (error: unknown) => this.#afterRefusal(error),
    );
  }

  #afterRefusal(error: unknown): void {
    this.#waiting -= 1;
    this.refusals += 1;
    // A change whose predecessor was refused for want of room conflicts.
    const isExpected =
      isDroverError(error, 'outOfSpace') ||
      isDroverError(error, 'conflict') ||
      (this.#isClosing && isDroverError(error, 'unavailable'));
    this.#check(isExpected && this.#options.capacityBytes !== undefined, describeError(error));
  }

  async #settleAll(): Promise<void> {
    for (const object of this.#objects) {
      const { layerId, objectIndex } = object;
      const version = await this.node.versionOf(layerId, objectIndex);
      const blocks = await this.node.contentOf(layerId, objectIndex, version, OBJECT_BLOCKS);
      object.settle(version, blocks);
    }
    await this.#checkListing();
    const scrubbed = await this.node.run(this.node.engine.scrubOnce());
    assert.equal(scrubbed.badBlocks, 0);
  }

  async #checkListing(): Promise<void> {
    for (const layerId of this.#removedLayers) {
      const page = await this.node.run(this.node.engine.listVersions(layerId, 0, 100));
      assert.equal(page.count, 0, `removed layer ${layerId} is back`);
    }
    for (const layerId of new Set(this.#objects.map((object) => object.layerId))) {
      const page = await this.node.run(this.node.engine.listVersions(layerId, 0, 100));
      const existing = this.#objects.filter(
        (object) =>
          object.layerId === layerId && !sameVersion(object.certain.version, { epoch: 0, seq: 0 }),
      );
      assert.deepEqual(
        [...page.objectIndexes],
        existing.map((object) => object.objectIndex),
      );
      assert.deepEqual(
        [...page.seqs],
        existing.map((object) => object.certain.version.seq),
      );
    }
    if (this.#doubtfulLayers.size === 0 && this.#random.chance(0.3)) await this.#checkCounts();
  }

  /** After a checkpoint nothing of removed layers is left, and counts are exact. */
  async #checkCounts(): Promise<void> {
    await this.node.run(this.node.engine.checkpoint());
    const { liveBytes, objectCount } = await this.node.run(this.node.engine.space());
    const states = this.#objects.map((object) => object.certain);
    const live = states.flatMap(({ blocks }) => blocks).filter((content) => content > 0).length;
    assert.equal(liveBytes, live * 4096);
    assert.equal(objectCount, states.filter(({ version }) => version.seq > 0).length);
  }

  #keyOf(object: ModelObject): {
    layerId: number;
    objectIndex: number;
    volumeId: number;
    epoch: number;
  } {
    const { layerId, objectIndex } = object;
    return { layerId, objectIndex, volumeId: VOLUME_ID, epoch: this.#epoch };
  }

  #changes(): BlockChange[] {
    const changes: BlockChange[] = [];
    for (let block = 0; block < OBJECT_BLOCKS; block += 1) {
      if (this.#random.chance(0.3)) changes.push({ block, content: this.#content() });
    }
    return changes.length > 0 ? changes : [{ block: 0, content: this.#content() }];
  }

  #content(): number {
    if (this.#random.chance(0.15)) return HOLE;
    return this.#random.chance(0.15) ? ZERO : this.#nextFill++;
  }

  #addLayer(): void {
    const layerId = this.#nextLayer++;
    for (let i = 0; i < OBJECTS_PER_LAYER; i += 1) {
      this.#objects.push(new ModelObject(layerId, i * 20));
    }
  }
}
