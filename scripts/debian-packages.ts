/**
 * What the tests need from Debian, and its installation.
 *
 * Owns the lists of packages. A package that is missing is installed when we are root, and
 * otherwise named in one line: a test that lacks its tool would prove nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';

export const TEST_PACKAGES: readonly string[] = [
  // NBD clients, and the servers that Drover is compared with.
  'fio',
  'libnbd-bin', // nbdinfo, nbdcopy, nbdfuse
  'nbd-client',
  'nbdkit',
  'python3-libnbd',
  'qemu-utils',
  // Filesystems, loop devices, namespaces.
  'e2fsprogs',
  'iproute2',
  'mount',
  'socat',
  'util-linux',
  'util-linux-extra', // fincore
  'xfsprogs',
  // A small machine with the Linux kernel's own NBD driver.
  'busybox-static',
  'cpio',
  'kmod',
  'qemu-system-x86',
  // The control plane, and the judge of /metrics.
  'etcd-client',
  'etcd-server',
  'prometheus',
];

/** For the cluster in containers: `npm run test:compose`. */
export const CONTAINER_PACKAGES: readonly string[] = [
  'ca-certificates',
  'debootstrap',
  'docker-compose',
  'docker.io',
  'iptables',
];

const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Those of the packages that are not installed; `undefined` where there is no dpkg. */
function missingPackages(packages: readonly string[]): string[] | undefined {
  const format = ['-W', `-f=\${Package} \${db:Status-Status}\n`];
  const query = spawnSync('dpkg-query', [...format, ...packages], { encoding: 'utf8' });
  if (query.error !== undefined) return undefined;
  const installed = new Set(
    query.stdout
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]!),
  );
  return packages.filter((name) => !installed.has(name));
}

function aptGet(...args: string[]): boolean {
  const result = spawnSync('apt-get', args, {
    stdio: 'inherit',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return result.status === 0;
}

/** Runs `install` while Debian's packages may not start the services they bring. */
function withoutServices(install: () => boolean): boolean {
  if (existsSync(POLICY_FILE)) return install();
  writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return install();
  } finally {
    rmSync(POLICY_FILE);
  }
}

/** Sees to it that every package is installed; resolves to what is wrong, in one line. */
export function provideTestPackages(packages: readonly string[]): string | undefined {
  const missing = missingPackages(packages);
  if (missing === undefined) {
    return `The tests need Debian with these packages: ${packages.join(' ')}`;
  }
  if (missing.length === 0) return undefined;
  const command = `apt-get update && apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0) return `The tests need more from Debian. As root: ${command}`;
  const options = ['--yes', '--quiet', '--no-install-recommends'];
  const installed =
    aptGet('--quiet', 'update') && withoutServices(() => aptGet('install', ...options, ...missing));
  return installed ? undefined : `Debian's packages could not be installed: ${command}`;
}
