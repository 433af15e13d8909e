/**
 * What a server tells a person once it serves: what there is, and how to attach it.
 */
import {
  formatTcpAddress,
  type ListenAddress,
  reachableAddress,
  type TcpAddress,
} from './listen-address.ts';
import { formatSize } from './size.ts';

export interface ReadyFacts {
  readonly version: string;
  /** Where the data is: directories, or a cluster. */
  readonly source: string;
  readonly cacheBytes: number;
  readonly nbd: readonly ListenAddress[];
  readonly http: TcpAddress;
  readonly volumes: readonly { readonly name: string; readonly sizeBytes: number }[];
}

/** The last line of the text; scripts wait for it. */
export const READY_LINE = 'drover is ready';

/** An export as every NBD tool takes it. */
export function exportUri(address: ListenAddress, name: string): string {
  if ('path' in address) return `nbd+unix:///${name}?socket=${encodeURI(address.path)}`;
  return `nbd://${formatTcpAddress(reachableAddress(address))}/${name}`;
}

function nbdClientCommand(address: ListenAddress, name: string): string {
  if ('path' in address) return `nbd-client -unix ${address.path} /dev/nbd0 -N ${name}`;
  const { host, port } = reachableAddress(address);
  return `nbd-client ${host} ${port} /dev/nbd0 -N ${name} -C 4`;
}

function attachLines(address: ListenAddress, name: string): string[] {
  const uri = exportUri(address, name);
  return [
    `  kernel  modprobe nbd && ${nbdClientCommand(address, name)}`,
    `  qemu    qemu-system-x86_64 -drive 'file=${uri},format=raw,if=virtio'`,
    `  look    nbdinfo '${uri}'`,
    `  copy    nbdcopy IMAGE '${uri}'`,
    `  python  nbdsh --uri '${uri}' -c 'print(h.get_size())'`,
  ];
}

/** More than these are a matter for `drover volume ls`. */
const VOLUME_LINES_MAX = 10;

function volumeLines(volumes: ReadyFacts['volumes']): string[] {
  const shown = volumes.slice(0, VOLUME_LINES_MAX);
  const more = volumes.length - shown.length;
  return [
    ...shown.map(({ name, sizeBytes }) => `  ${name}  ${formatSize(sizeBytes)}`),
    ...(more > 0 ? [`  and ${more} more: drover volume ls`] : []),
  ];
}

export function readyText(facts: ReadyFacts): string {
  const { version, source, cacheBytes, nbd, volumes } = facts;
  const example = volumes[0]?.name;
  const httpUrl = `http://${formatTcpAddress(reachableAddress(facts.http))}`;
  return [
    `Drover ${version}, ${source}, cache ${formatSize(cacheBytes)}`,
    ...volumeLines(volumes),
    '',
    `Health, metrics, volumes: ${httpUrl}/healthz /readyz /metrics /v1/volumes`,
    `NBD: ${nbd.map((address) => exportUri(address, example ?? '')).join('  ')}`,
    ...(example === undefined || nbd.length === 0 ? [] : attachLines(nbd[0]!, example)),
    READY_LINE,
  ].join('\n');
}
