/**
 * The states of a connection, by name, and the moves between them.
 */
import assert from 'node:assert/strict';

/**
 * `handshaking`: options are answered. A handshake has a time limit.
 * `opening`: the catalog attaches the export; the client's bytes wait.
 * `transmitting`: requests are carried out.
 * `draining`: no request is begun any more; those under way end, and the replies are sent.
 * `lingering`: all is sent and our side closed; the client may take what is still on its way.
 * `vanished`: the socket is gone; operations under way end unanswered.
 * `releasing`: the device is being closed.
 * `closed`: nothing is left.
 */
export type ConnectionState =
  | 'handshaking'
  | 'opening'
  | 'transmitting'
  | 'draining'
  | 'lingering'
  | 'vanished'
  | 'releasing'
  | 'closed';

const LEGAL_MOVES: Readonly<Record<ConnectionState, readonly ConnectionState[]>> = {
  handshaking: ['opening', 'draining', 'vanished'],
  opening: ['handshaking', 'transmitting', 'draining', 'vanished'],
  transmitting: ['draining', 'vanished'],
  draining: ['lingering', 'vanished'],
  lingering: ['vanished'],
  vanished: ['releasing'],
  releasing: ['closed'],
  closed: [],
};

export function assertLegalMove(from: ConnectionState, to: ConnectionState): void {
  const legal = LEGAL_MOVES[from];
  const names = legal.join(', ') || 'nowhere';
  assert(legal.includes(to), `a connection goes from ${from} to ${names}, not to ${to}`);
}
