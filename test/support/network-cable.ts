/**
 * A network namespace, as a machine of its own, and the cable to it, which a test can pull out.
 *
 * Owns: both, gone when the test is over. What is sent while the cable is out is lost in silence:
 * nothing is refused and no connection breaks.
 */
import { run } from './child-process.ts';
import type { TestScope } from './temp-folder.ts';

const COMMAND_LIMIT_MS = 30_000;

let cablesLaid = 0;

const FAR_DEVICE = 'eth0';

export class NetworkCable {
  readonly namespace: string;
  /** An interface's name has at most 15 characters. */
  readonly #nearDevice: string;
  /** Where the namespace reaches us. */
  readonly nearHost: string;
  /** Where we reach the namespace. */
  readonly farHost: string;

  static async lay(t: TestScope): Promise<NetworkCable> {
    cablesLaid += 1;
    const cable = new NetworkCable(process.pid, cablesLaid);
    const { namespace, nearHost, farHost } = cable;
    const nearDevice = cable.#nearDevice;
    await ip('netns', 'add', namespace);
    // The cable goes with the namespace.
    t.teardown(() => ip('netns', 'delete', namespace));
    const far = ['peer', 'name', FAR_DEVICE, 'netns', namespace];
    await ip('link', 'add', nearDevice, 'type', 'veth', ...far);
    await ip('address', 'add', `${nearHost}/30`, 'dev', nearDevice);
    await ip('link', 'set', nearDevice, 'up');
    await ip('-netns', namespace, 'address', 'add', `${farHost}/30`, 'dev', FAR_DEVICE);
    await ip('-netns', namespace, 'link', 'set', 'lo', 'up');
    await cable.plugIn();
    return cable;
  }

  private constructor(processId: number, number: number) {
    this.namespace = `drover${processId}-${number}`;
    this.#nearDevice = `dr${processId}-${number}`;
    // RFC 2544: addresses for tests of networks, 2^15 cables of four addresses each.
    const first = ((processId * 4 + number - 1) % 2 ** 15) * 4;
    const network = `198.${18 + (first >>> 16)}.${(first >>> 8) & 255}`;
    this.nearHost = `${network}.${(first & 255) + 1}`;
    this.farHost = `${network}.${(first & 255) + 2}`;
  }

  pullOut(): Promise<void> {
    return ip('-netns', this.namespace, 'link', 'set', FAR_DEVICE, 'down');
  }

  plugIn(): Promise<void> {
    return ip('-netns', this.namespace, 'link', 'set', FAR_DEVICE, 'up');
  }
}

async function ip(...args: string[]): Promise<void> {
  await run(COMMAND_LIMIT_MS, 'ip', args);
}
