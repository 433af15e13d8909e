/**
 * Addresses to listen on, as people write them: `HOST:PORT`, `[::1]:PORT`, `unix:PATH`.
 *
 * Owns: reading and printing them. Port 0 lets the kernel choose.
 */
import { isIPv6 } from 'node:net';
import { z } from 'zod';

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export interface UnixAddress {
  readonly path: string;
}

export type ListenAddress = TcpAddress | UnixAddress;

/** `sun_path` of sockaddr_un, less its final zero. */
const UNIX_PATH_BYTES_MAX = 107;
const TCP = /^(?:\[([0-9a-f:.%]+)\]|([a-z0-9._-]+)):(\d{1,5})$/i;
const TCP_HINT = 'HOST:PORT with a port up to 65535, an IPv6 host in brackets';

function parseTcp(text: string): TcpAddress | undefined {
  const match = text.match(TCP);
  if (match === null) return undefined;
  const [, ipv6, name, port] = match;
  if (ipv6 !== undefined && !isIPv6(ipv6)) return undefined;
  return Number(port) > 65535 ? undefined : { host: ipv6 ?? name!, port: Number(port) };
}

function parseUnix(text: string): UnixAddress | undefined {
  const path = text.slice('unix:'.length);
  const length = Buffer.byteLength(path);
  return length === 0 || length > UNIX_PATH_BYTES_MAX || path.includes('\0') ? undefined : { path };
}

export const tcpAddressSchema = z.string().transform((text, context): TcpAddress => {
  const address = parseTcp(text);
  if (address !== undefined) return address;
  context.addIssue({ code: 'custom', message: TCP_HINT });
  return z.NEVER;
});

export const listenAddressSchema = z.string().transform((text, context): ListenAddress => {
  const address = text.startsWith('unix:') ? parseUnix(text) : parseTcp(text);
  if (address !== undefined) return address;
  const unixHint = `unix:PATH with a path of up to ${UNIX_PATH_BYTES_MAX} bytes`;
  context.addIssue({ code: 'custom', message: `${TCP_HINT}, or ${unixHint}` });
  return z.NEVER;
});

/** `host:port` as it stands in a URL. */
export function formatTcpAddress({ host, port }: TcpAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

export function formatListenAddress(address: ListenAddress): string {
  return 'path' in address ? `unix:${address.path}` : formatTcpAddress(address);
}

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** False if other machines can reach it. */
export function isLocal(address: ListenAddress): boolean {
  return 'path' in address || LOOPBACK.test(address.host);
}

const EVERY_INTERFACE: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Where a client on this machine connects to. */
export function reachableAddress({ host, port }: TcpAddress): TcpAddress {
  return { host: EVERY_INTERFACE[host] ?? host, port };
}
