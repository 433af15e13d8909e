/**
 * Limits of the HTTP server. Worst case held for clients: 128 connections with a body of 64 KiB
 * and headers of 16 KiB each, 10 MiB.
 */
export const HTTP_CONNECTIONS_MAX = 128;
export const HTTP_BODY_BYTES_MAX = 64 * 1024;
/** From the first byte of a request to its last. */
export const HTTP_REQUEST_MS_MAX = 10_000;
export const HTTP_KEEP_ALIVE_MS = 30_000;
