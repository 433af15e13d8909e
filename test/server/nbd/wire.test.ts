import test from 'ava';
import {
  CHUNK_COOKIE_AT,
  CHUNK_FLAGS_AT,
  CHUNK_LENGTH_AT,
  CHUNK_TYPE_AT,
  OFFSET_HOLE_SIZE_AT,
  REQUEST_BYTES,
  REQUEST_COMMAND_AT,
  REQUEST_COOKIE_AT,
  REQUEST_FLAGS_AT,
  REQUEST_LENGTH_AT,
  REQUEST_OFFSET_AT,
  requestLayout,
  SIMPLE_REPLY_COOKIE_AT,
  SIMPLE_REPLY_ERROR_AT,
} from '../../../server/nbd/wire.ts';
import { request } from './bytes.ts';

test('the data path reads a request at the offsets of the specification', (t) => {
  t.deepEqual(
    [
      REQUEST_FLAGS_AT,
      REQUEST_COMMAND_AT,
      REQUEST_COOKIE_AT,
      REQUEST_OFFSET_AT,
      REQUEST_LENGTH_AT,
      REQUEST_BYTES,
    ],
    [4, 6, 8, 16, 24, 28],
  );
});

test('the data path writes replies at the offsets of the specification', (t) => {
  t.deepEqual([SIMPLE_REPLY_ERROR_AT, SIMPLE_REPLY_COOKIE_AT], [4, 8]);
  t.deepEqual([CHUNK_FLAGS_AT, CHUNK_TYPE_AT, CHUNK_COOKIE_AT, CHUNK_LENGTH_AT], [4, 6, 8, 16]);
  t.is(OFFSET_HOLE_SIZE_AT, 8);
});

test('a request built by hand decodes to its fields', (t) => {
  const bytes = request(6, {
    flags: 0x12,
    cookie: 0x0102030405060708n,
    offset: 2 ** 40,
    length: 9,
  });
  const { flags, command, cookie, offset, lengthBytes } = requestLayout.decode(bytes);
  t.deepEqual([flags, command, offset, lengthBytes], [0x12, 6, 2 ** 40, 9]);
  t.is(cookie.toString('hex'), '0102030405060708');
});
