import test from 'ava';
import { StampedDiskModel, stampedBytes, stampOf } from './stamped-disk-model.ts';

function modelWithFlushedBlock(): StampedDiskModel {
  const model = new StampedDiskModel(8);
  model.answered(model.submitWrite(3, 1), false);
  model.flushAnswered(model.flushSubmitted());
  return model;
}

test('a block at its last flushed value is right', (t) => {
  const model = modelWithFlushedBlock();
  t.false(model.readAfterCrash(3, stampedBytes(3, 1, 1)));
});

test('a later value is right, answered or not', (t) => {
  const answered = modelWithFlushedBlock();
  answered.answered(answered.submitWrite(3, 1), false);
  t.false(answered.readAfterCrash(3, stampedBytes(3, 1, 2)));
  const unanswered = modelWithFlushedBlock();
  unanswered.submitWrite(3, 1);
  unanswered.crashed();
  t.false(unanswered.readAfterCrash(3, stampedBytes(3, 1, 2)));
});

test('an unflushed write may be missing and is counted', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  t.true(model.readAfterCrash(3, stampedBytes(3, 1, 1)));
});

test('a lost flush is caught', (t) => {
  const model = modelWithFlushedBlock();
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 0)), { message: /older than/ });
});

test('a stale block is caught', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  model.flushAnswered(model.flushSubmitted());
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 1)), { message: /older than/ });
});

test('a lost FUA write is caught without a flush', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), true);
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 1)), { message: /older than/ });
});

test('a flush covers nothing that was answered after it was submitted', (t) => {
  const model = modelWithFlushedBlock();
  const flush = model.flushSubmitted();
  model.answered(model.submitWrite(3, 1), false);
  model.flushAnswered(flush);
  t.true(model.readAfterCrash(3, stampedBytes(3, 1, 1)));
});

test('a block that changes back after it was read is caught', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  model.readAfterCrash(3, stampedBytes(3, 1, 2));
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 1)), { message: /older than/ });
});

test('a lost write that appears after it was read as missing is caught', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  model.readAfterCrash(3, stampedBytes(3, 1, 1));
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 2)), { message: /older than/ });
});

test('a value that was never written is caught', (t) => {
  const model = modelWithFlushedBlock();
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 9)), { message: /older than/ });
});

test('a trim that was flushed and came undone is caught', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitZero(3, 1), false);
  model.flushAnswered(model.flushSubmitted());
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 1)), { message: /older than/ });
});

test('what a clean stop answered is durable', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  model.stoppedCleanly();
  t.throws(() => model.readAfterCrash(3, stampedBytes(3, 1, 1)), { message: /older than/ });
});

test('forgetting what was replaced changes no judgement', (t) => {
  const model = modelWithFlushedBlock();
  model.answered(model.submitWrite(3, 1), false);
  model.forgetReplaced();
  t.true(model.readAfterCrash(3, stampedBytes(3, 1, 1)));
  t.throws(() => modelWithFlushedBlock().readAfterCrash(3, stampedBytes(3, 1, 0)));
});

test('a torn block and a misplaced block are caught', (t) => {
  const torn = stampedBytes(5, 1, 1);
  stampedBytes(5, 1, 2).copy(torn, 0, 0, 512);
  t.throws(() => stampOf(5, torn), { message: /torn/ });
  t.throws(() => stampOf(4, stampedBytes(5, 1, 1)), { message: /holds block 5/ });
});
