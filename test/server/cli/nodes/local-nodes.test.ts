import test from 'ava';
import { nameNodes } from '../../../../server/cli/nodes/local-nodes.ts';

const KNOWN = [
  { name: 'node1', path: '/a', directoryId: 'A' },
  { name: 'node2', path: '/b', directoryId: 'B' },
  { name: 'node3', path: '/c', directoryId: 'C' },
];

test('new directories are named in their order', (t) => {
  const directories = [
    { path: '/a', directoryId: 'A' },
    { path: '/b', directoryId: undefined },
  ];
  t.deepEqual(nameNodes(directories, []), ['node1', 'node2']);
});

test('a directory keeps its name wherever it lies, and in any order', (t) => {
  const directories = [
    { path: '/c', directoryId: 'A' },
    { path: '/x', directoryId: 'C' },
    { path: '/a', directoryId: 'B' },
  ];
  t.deepEqual(nameNodes(directories, KNOWN), ['node1', 'node3', 'node2']);
});

test('one that cannot be opened, or lost its content, is known by its path', (t) => {
  const directories = [
    { path: '/a', directoryId: undefined },
    { path: '/b', directoryId: 'new' },
    { path: '/c', directoryId: 'C' },
  ];
  t.deepEqual(nameNodes(directories, KNOWN), ['node1', 'node2', 'node3']);
});

test('a new directory takes the place of one that is not given any more', (t) => {
  const directories = [
    { path: '/a', directoryId: 'A' },
    { path: '/new', directoryId: 'N' },
    { path: '/c', directoryId: 'C' },
  ];
  t.deepEqual(nameNodes(directories, KNOWN), ['node1', 'node2', 'node3']);
});

test('one more directory gets a name that was never given', (t) => {
  const directories = [...KNOWN, { path: '/d', directoryId: 'D' }];
  t.deepEqual(nameNodes(directories, KNOWN), ['node1', 'node2', 'node3', 'node4']);
});
