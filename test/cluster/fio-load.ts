/**
 * fio on a volume of a gateway: writes every block of an area in random order, reads all of them
 * back and compares its checksums, again and again until it is stopped.
 *
 * Owns: the runs, each with a seed of its own. A block that reads wrong, an error and a run that
 * hangs reject `stop`.
 */
import { run } from '../support/child-process.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import type { GatewayProcess } from './gateway-process.ts';

export const FIO_VOLUME = 'fio=8M';
const AREA = '4M';
/** So that one run takes two seconds and leaves some of the machine to others. */
const WRITES_PER_SECOND = 512;
const RUN_LIMIT_MS = 120_000;
const SEED_MAX = 2 ** 31 - 1;

const ARGS = [
  ...['--name=job', '--ioengine=nbd', '--rw=randwrite', '--bs=4k', `--size=${AREA}`],
  ...['--iodepth=16', '--fsync=64', `--rate_iops=,${WRITES_PER_SECOND}`],
  ...['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--verify_state_save=0'],
];

export class FioLoad {
  readonly #uri: string;
  readonly #random: SeededRandom;
  readonly #ended: Promise<void>;
  readonly #folder: string;
  #isStopping = false;
  #runs = 0;
  #seed = 1;

  /** Starts at once. */
  constructor(gateway: GatewayProcess, random: SeededRandom, folder: string) {
    this.#uri = gateway.uri('fio');
    this.#random = random;
    this.#folder = folder;
    this.#ended = this.#runAgainAndAgain();
    this.#ended.catch(() => {
      // Told by `stop`.
    });
  }

  /** Resolves to the number of runs when the present one is over. */
  async stop(): Promise<number> {
    this.#isStopping = true;
    await this.#ended;
    return this.#runs;
  }

  /** Compares once more what the last run has written. */
  async verify(): Promise<void> {
    await this.#fio('--verify_only=1');
  }

  async #runAgainAndAgain(): Promise<void> {
    while (!this.#isStopping) {
      this.#seed = this.#random.between(1, SEED_MAX);
      await this.#fio();
      this.#runs += 1;
    }
  }

  async #fio(...more: string[]): Promise<void> {
    const args = [...ARGS, `--uri=${this.#uri}`, `--randseed=${this.#seed}`, ...more];
    await run(RUN_LIMIT_MS, 'fio', args, { cwd: this.#folder });
  }
}
