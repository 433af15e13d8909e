/**
 * The Linux kernel's own nbd driver, in a small machine.
 */
import { join } from 'node:path';
import test from 'ava';
import { DroverServer } from '../support/drover-server.ts';
import { temporaryFolder } from '../support/temp-folder.ts';
import { bootMachine, HOST_ADDRESS } from '../support/tiny-machine.ts';

/** The script's lines are echoed on the console, so a marker is put together where it is printed. */
function useDisk(port: number): string {
  return `
attach() { nbd-client ${HOST_ADDRESS} ${port} /dev/nbd0 -N disk0 -C 2 -b 4096 -persist; }
attach
mkfs.ext4 -q -E nodiscard /dev/nbd0
mount -o discard /dev/nbd0 /mnt
dd if=/dev/urandom of=/mnt/large bs=64k count=320 conv=fsync 2>/dev/null
mkdir /mnt/many
set +x
i=0
while [ $i -lt 200 ]; do head -c $((i * 37)) /mnt/large > /mnt/many/$i; i=$((i + 1)); done
set -x
cp /mnt/large /mnt/removed
sync
rm /mnt/removed
fstrim /mnt
cd /mnt && find . -type f | sort | xargs sha256sum > /sums && cd /
umount /mnt
nbd-client -d /dev/nbd0
attach
mount /dev/nbd0 /mnt
echo 3 > /proc/sys/vm/drop_caches
cd /mnt && sha256sum -c /sums > /checked && cd /
echo "sums-equal: $(grep -c OK /checked)"
umount /mnt
nbd-client -d /dev/nbd0
`;
}

test('the kernel makes ext4 over two connections, and sums are equal after reconnecting', async (t) => {
  t.timeout(280_000);
  const folder = await temporaryFolder(t);
  const server = await DroverServer.start(t, {
    dataDirectory: join(folder, 'data'),
    socketPath: join(folder, 's'),
    volumes: ['disk0=512M'],
    cache: '64M',
  });
  const machine = await bootMachine(t, useDisk(server.tcpPort));
  const status = await machine.ended(180_000);
  t.is(status.code, 0, machine.failure('the machine did not end by itself').message);
  t.regex(machine.stdout, /sums-equal: 201\r?\n/);
  t.regex(machine.stdout, /GUEST-EXIT 0/);
  t.notRegex(machine.stdout, /I\/O error|nbd0: (?!detected)[^\n]*(error|timed out)/i);
  await server.stop();
});
