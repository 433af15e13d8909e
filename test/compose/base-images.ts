/**
 * The base images of the compose cluster, made from Debian's packages alone.
 *
 * Owns: the three images that `docker/` takes as build arguments, and that no image is left behind.
 * They are built here because a test must not depend on an image registry: Debian by `debootstrap`,
 * Node.js and npm as this machine has them, Prometheus from its Debian package. Each carries a
 * label that whatever is built on it inherits: all images with the label of this run go at its end.
 */
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { run } from '../support/child-process.ts';
import { type TestScope, temporaryFolder } from '../support/temp-folder.ts';

export const CHECKOUT = dirname(dirname(import.meta.dirname));

const CACHE = join(CHECKOUT, 'node_modules', '.cache', 'drover');
const BUILD_LIMIT_MS = 300_000;
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** What Debian's own slim images leave out, too. */
const NOT_SLIM = [
  ...['./usr/share/doc/*', './usr/share/info/*', './usr/share/locale/*', './usr/share/man/*'],
  ...['./var/cache/apt/*', './var/lib/apt/lists/*'],
];

export interface BaseImages {
  readonly debian: string;
  readonly node: string;
  readonly prometheus: string;
}

/** A minimal Debian as a tar file; made once for a checkout. */
async function debianTar(folder: string): Promise<string> {
  const cached = join(CACHE, 'debian-bookworm.tar');
  if (existsSync(cached)) return cached;
  const root = join(folder, 'debian');
  await run(BUILD_LIMIT_MS, 'debootstrap', ['--variant=minbase', 'bookworm', root]);
  await mkdir(CACHE, { recursive: true });
  const unfinished = `${cached}.${process.pid}`;
  const leftOut = NOT_SLIM.map((pattern) => `--exclude=${pattern}`);
  await run(BUILD_LIMIT_MS, 'tar', ['-C', root, ...leftOut, '-cf', unfinished, '.']);
  await rename(unfinished, cached);
  await rm(root, { recursive: true });
  return cached;
}

/** The package of the npm that the PATH leads to. */
async function npmFolder(): Promise<string> {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const folder = folders.find((candidate) => existsSync(join(candidate, 'npm')));
  if (folder === undefined) throw new Error('there is no npm on the PATH');
  const program = await realpath(join(folder, 'npm'));
  return dirname(dirname(program));
}

/** The machine's certificates go along: what it trusts to fetch packages, the image must too. */
async function nodeContext(folder: string): Promise<void> {
  await mkdir(folder);
  await copyFile(process.execPath, join(folder, 'node'));
  await cp(await npmFolder(), join(folder, 'npm'), { recursive: true, dereference: true });
  await run(10_000, 'cp', [CERTIFICATES, join(folder, 'ca-certificates.crt')]);
  await writeFile(
    join(folder, 'Dockerfile'),
    [
      'ARG DEBIAN_IMAGE',
      'FROM $DEBIAN_IMAGE',
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      `COPY ca-certificates.crt ${CERTIFICATES}`,
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
      `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`,
      '',
    ].join('\n'),
  );
}

async function prometheusContext(folder: string): Promise<void> {
  await mkdir(folder);
  await writeFile(
    join(folder, 'Dockerfile'),
    [
      'ARG DEBIAN_IMAGE',
      'FROM $DEBIAN_IMAGE',
      'RUN apt-get update && apt-get install -y --no-install-recommends prometheus',
      '',
    ].join('\n'),
  );
}

/** `runName`: of this run alone, for its images' names and their label. */
export async function buildBaseImages(
  t: TestScope,
  dockerHost: string,
  runName: string,
): Promise<BaseImages> {
  const folder = await temporaryFolder(t);
  const env = { DOCKER_HOST: dockerHost, DOCKER_BUILDKIT: '0' };
  const label = `drover.test=${runName}`;
  t.teardown(async () => {
    const ofThisRun = ['--force', '--filter', `label=${label}`];
    // A step of a build that failed leaves its container.
    await run(BUILD_LIMIT_MS, 'docker', ['container', 'prune', ...ofThisRun], { env });
    await run(BUILD_LIMIT_MS, 'docker', ['image', 'prune', '--all', ...ofThisRun], { env });
  });
  const debian = `${runName}-debian`;
  const importArgs = ['import', '--change', `LABEL ${label}`, await debianTar(folder), debian];
  await run(BUILD_LIMIT_MS, 'docker', importArgs, { env });
  const build = async (name: string, makeContext: (folder: string) => Promise<void>) => {
    const context = join(folder, name);
    await makeContext(context);
    const image = `${runName}-base-${name}`;
    const args = ['build', '--build-arg', `DEBIAN_IMAGE=${debian}`, '--tag', image, context];
    await run(BUILD_LIMIT_MS, 'docker', args, { env });
    return image;
  };
  return {
    debian,
    node: await build('node', nodeContext),
    prometheus: await build('prometheus', prometheusContext),
  };
}
