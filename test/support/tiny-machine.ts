/**
 * A Linux machine of a test's own: Debian's cloud kernel in QEMU without KVM, with an initramfs
 * that holds busybox, a few programs of this machine and the modules for virtio networking and nbd.
 *
 * Owns: the unpacked kernel (kept in node_modules/.cache/drover from run to run, because it is a
 * download), the initramfs and the machine, both for one test. The guest reaches the loopback of
 * this machine at 10.0.2.2.
 */
import { chmod, copyFile, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type RunningProgram, run, runToEnd, startProgram } from './child-process.ts';
import { type TestScope, temporaryFolder } from './temp-folder.ts';

export const HOST_ADDRESS = '10.0.2.2';

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/drover', import.meta.url));
const DOWNLOAD_LIMIT_MS = 180_000;
const LIMIT_MS = 60_000;

/** Those that some kernels have built in are not found and not needed. */
const MODULES = [
  'virtio',
  'virtio_ring',
  'virtio_pci_modern_dev',
  'virtio_pci_legacy_dev',
  'virtio_pci',
  'failover',
  'net_failover',
  'virtio_net',
  'nbd',
  'crc16',
  'mbcache',
  'jbd2',
  'crc32c_generic',
  'libcrc32c',
  'ext4',
];

/** Programs that busybox lacks, copied with their libraries. */
const PROGRAMS = ['nbd-client', 'mkfs.ext4'];

const INIT_HEAD = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /mnt /usr/bin /usr/sbin
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
# A module that another one lacks comes in on a later pass.
for pass in 1 2 3; do
  for module in /modules/*.ko; do insmod $module 2>/dev/null; done
done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
set -e
# Whatever fails ends the machine; the reader of the console sees the last command.
trap 'echo GUEST-EXIT $?; poweroff -f' EXIT
set -x
`;

async function exists(path: string): Promise<boolean> {
  return (await runToEnd(LIMIT_MS, 'test', ['-e', path])).code === 0;
}

/** The folder of an unpacked `linux-image-…-cloud-amd64`. */
async function kernelFolder(): Promise<string> {
  const depends = async (): Promise<string | undefined> => {
    const text = await run(LIMIT_MS, 'apt-cache', ['depends', 'linux-image-cloud-amd64']);
    return text.match(/Depends: (linux-image-\S+)/)?.[1];
  };
  const kept = join(CACHE, 'kernel');
  if (await exists(join(kept, 'boot'))) return kept;
  await mkdir(CACHE, { recursive: true });
  const work = `${kept}.${process.pid}`;
  await mkdir(work);
  const download = async () => {
    const name = await depends();
    if (name === undefined) throw new Error('apt knows no linux-image-cloud-amd64');
    await run(DOWNLOAD_LIMIT_MS, 'apt-get', ['download', name], { cwd: work });
  };
  try {
    await download().catch(async () => {
      // The lists of this machine may be missing or older than the archive.
      await run(DOWNLOAD_LIMIT_MS, 'apt-get', ['update']);
      await download();
    });
    const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
    await run(LIMIT_MS, 'dpkg', ['-x', join(work, archive!), join(work, 'unpacked')]);
    await rename(join(work, 'unpacked'), kept);
  } catch (error) {
    // Another run may have been faster; what it keeps is as good.
    if (!(await exists(join(kept, 'boot')))) throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return kept;
}

/** Copies a program and the libraries it is linked with to the same places under `root`. */
async function copyProgram(name: string, root: string): Promise<void> {
  const path = (
    await run(LIMIT_MS, 'sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${name}`])
  ).trim();
  const linked = await run(LIMIT_MS, 'ldd', [path]);
  const libraries = [...linked.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
  for (const file of [path, ...libraries]) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await copyFile(file, join(root, file));
  }
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile(path, join(root, 'bin', name));
  await chmod(join(root, 'bin', name), 0o755);
}

async function buildInitramfs(kernel: string, folder: string, script: string): Promise<string> {
  const root = join(folder, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  await mkdir(join(root, 'modules'));
  await copyFile('/bin/busybox', join(root, 'bin', 'busybox'));
  for (const program of PROGRAMS) await copyProgram(program, root);
  const wanted = MODULES.flatMap((name, index) => [
    ...(index > 0 ? ['-o'] : []),
    '-name',
    `${name}.ko`,
  ]);
  const found = await run(LIMIT_MS, 'find', [join(kernel, 'lib'), '(', ...wanted, ')']);
  for (const file of found.trim().split('\n')) {
    await copyFile(file, join(root, 'modules', basename(file)));
  }
  await writeFile(join(root, 'init'), INIT_HEAD + script, { mode: 0o755 });
  const image = join(folder, 'initramfs');
  await run(LIMIT_MS, 'sh', [
    '-c',
    'cd "$1" && find . | cpio --quiet -o -H newc | gzip -1 > "$2"',
    'sh',
    root,
    image,
  ]);
  return image;
}

/**
 * Boots a machine that runs `script` (busybox shell, `set -ex`) and powers off.
 * Its console is the program's stdout; `GUEST-EXIT 0` there means that the script came to its end.
 */
export async function bootMachine(t: TestScope, script: string): Promise<RunningProgram> {
  const kernel = await kernelFolder();
  const initramfs = await buildInitramfs(kernel, await temporaryFolder(t), script);
  const image = (await readdir(join(kernel, 'boot'))).find((name) => name.startsWith('vmlinuz'));
  return startProgram(t, 'qemu-system-x86_64', [
    ...['-m', '512', '-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio'],
    ...['-kernel', join(kernel, 'boot', image!), '-initrd', initramfs],
    ...['-append', 'console=ttyS0 loglevel=4 panic=-1'],
    ...['-netdev', 'user,id=n0', '-device', 'virtio-net-pci,netdev=n0'],
  ]);
}
