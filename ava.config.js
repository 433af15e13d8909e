/** Some folders run only when asked for: `npm run test:long`, `test:compose`, `test:speed`. */
const wanted = {
  'test/long': process.env.DROVER_TEST_LONG !== undefined,
  'test/compose': process.env.DROVER_TEST_COMPOSE !== undefined,
  'test/speed': process.env.DROVER_TEST_SPEED !== undefined,
};
const unwanted = Object.keys(wanted).filter((folder) => !wanted[folder]);

export default {
  extensions: { ts: 'module' },
  files: ['test/**/*.test.ts', ...unwanted.map((folder) => `!${folder}/**`)],
  concurrency: 2,
  // Nothing is heard for so long: building the images of the compose cluster takes its time.
  timeout: wanted['test/compose'] ? '20m' : '5m',
  workerThreads: false,
};
