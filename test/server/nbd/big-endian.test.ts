import test from 'ava';
import fc from 'fast-check';
import {
  readI32,
  readU16,
  readU32,
  readU64,
  writeU16,
  writeU32,
  writeU64,
} from '../../../server/nbd/big-endian.ts';

test('numbers are read as Buffer reads them', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (array) => {
      const bytes = Buffer.from(array);
      t.is(readU16(bytes, 1), bytes.readUInt16BE(1));
      t.is(readI32(bytes, 1), bytes.readInt32BE(1));
      t.is(readU32(bytes, 1), bytes.readUInt32BE(1));
      t.is(readU64(bytes, 0), Number(bytes.readBigUInt64BE(0)));
    }),
  );
});

test('numbers are written as they are read', (t) => {
  fc.assert(
    fc.property(fc.nat(0xffff), fc.nat(0xffff_ffff), fc.maxSafeNat(), (short, long, longer) => {
      const bytes = Buffer.alloc(16);
      writeU16(bytes, 1, short);
      writeU32(bytes, 3, long);
      writeU64(bytes, 8, longer);
      t.is(bytes.readUInt16BE(1), short);
      t.is(bytes.readUInt32BE(3), long);
      t.is(bytes.readBigUInt64BE(8), BigInt(longer));
    }),
  );
});

test('an opaque half survives as a signed number', (t) => {
  const bytes = Buffer.alloc(4);
  writeU32(bytes, 0, readI32(Buffer.from('fedcba98', 'hex'), 0));
  t.is(bytes.toString('hex'), 'fedcba98');
});
