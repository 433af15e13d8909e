/**
 * Everything at once, with crashes at any moment, against a plain model.
 */
import test from 'ava';
import { randomForTest, SeededRandom } from '../../support/seeded-random.ts';
import { SimulatedWorkload } from './simulated-workload.ts';

const WORLDS = 15;
const LIVES = 6;

test('after any crash each object is at its last acknowledged state or a later one asked for', async (t) => {
  const seeds = randomForTest(t);
  for (let i = 0; i < WORLDS; i += 1) {
    const seed = seeds.uint32();
    try {
      await new SimulatedWorkload(new SeededRandom(seed)).live(LIVES);
    } catch (error) {
      t.log(`world seed ${seed}`);
      throw error;
    }
  }
  t.pass();
});

test('the same on a disk that fills up', async (t) => {
  const seeds = randomForTest(t);
  let refused = 0;
  for (let i = 0; i < WORLDS; i += 1) {
    const seed = seeds.uint32();
    try {
      const world = new SimulatedWorkload(new SeededRandom(seed), { capacityBytes: 1536 * 1024 });
      await world.live(LIVES);
      refused += world.refusals;
    } catch (error) {
      t.log(`world seed ${seed}`);
      throw error;
    }
  }
  t.true(refused > 0, 'the disk never filled up');
});
