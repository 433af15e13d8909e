import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import { Append } from '../../../store/engine/append.ts';
import { RecordType } from '../../../store/engine/log-record.ts';

test('records stay objects with fixed fields, also when the first ones are gone', (t) => {
  setFlagsFromString('--expose-gc');
  setFlagsFromString('--allow-natives-syntax');
  const collectGarbage: () => void = runInNewContext('gc');
  const hasFixedFields: (record: Append) => boolean = runInNewContext(
    '(record) => %HasFastProperties(record)',
  );
  for (let made = 0; made < 20; made += 1) {
    t.true(hasFixedFields(new Append(RecordType.write, undefined)), `record ${made}`);
    collectGarbage();
  }
});
