/** The command's end of a control socket: asks a host, or looks at one of its consoles. */
import { connect, type Socket } from 'node:net';
import { socketNames, socketPath } from './socket_path.ts';
import { ERROR_FAIL, ToolstackError } from './toolstack_error.ts';

type Line = {
  progress?: unknown;
  result?: unknown;
  error?: string;
  code?: number;
  output?: string;
  trace?: string;
  lost?: boolean;
  end?: true;
};

export interface ConsoleStream {
  type(bytes: Uint8Array): void;
  /** Nothing more will be typed; the host then sends what it has, and ends the stream. */
  endInput(): void;
  leave(): void;
}

export interface TraceStream {
  /** Asks for the end: what belongs to it still comes. */
  stop(): void;
  /** Nothing more comes. False: it ended early. */
  readonly ended: Promise<boolean>;
}

export class Client {
  readonly name: string;
  readonly #socket: Socket;
  #text = '';
  #take: (line: Line) => void = () => {};
  #lost: () => void = () => {};

  private constructor(name: string, socket: Socket) {
    this.name = name;
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const lines = (this.#text + text).split('\n');
      this.#text = lines.pop()!;
      for (const line of lines) this.#take(JSON.parse(line) as Line);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#lost());
  }

  /** The host of that name, or the only one that runs. */
  static async open(name: string | undefined): Promise<Client> {
    const names = name === undefined ? socketNames() : [name];
    const found: Client[] = [];
    for (const each of names) {
      const socket = await reach(socketPath(each));
      if (socket !== undefined) found.push(new Client(each, socket));
    }
    const [client, ...others] = found;
    if (client === undefined)
      throw new ToolstackError(
        name === undefined
          ? 'no host runs; start one with beneath host HOST.toml'
          : `no host '${name}' runs; start it with beneath host HOST.toml --name ${name}`,
      );
    if (others.length === 0) return client;
    for (const each of found) each.close();
    throw new ToolstackError(`several hosts run: ${found.map((each) => each.name).join(', ')}; say which with --host NAME`);
  }

  /** `told` hears how far it is. */
  ask(operation: string, given: Readonly<Record<string, unknown>> = {}, told?: (progress: unknown) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#take = ({ progress, result, error, code }) => {
        if (progress !== undefined) told?.(progress);
        else if (error === undefined) resolve(result);
        else reject(new ToolstackError(error, code ?? ERROR_FAIL));
      };
      this.#lost = () => reject(new ToolstackError(`the host '${this.name}' has ended`));
      this.#socket.write(`${JSON.stringify({ operation, ...given })}\n`);
    });
  }

  /** Records the host, for so many seconds of virtual time or until it is stopped; `write` gets trace text. */
  async record(seconds: number | undefined, write: (text: string) => void): Promise<TraceStream> {
    let end: (isWhole: boolean) => void = () => {};
    const ended = new Promise<boolean>((resolve) => {
      end = resolve;
    });
    const take = (line: Line): void => {
      if (line.trace !== undefined) write(line.trace);
      if (line.end) end(line.lost !== true);
    };
    await this.#askThenTake('trace', { seconds }, take);
    this.#lost = () => end(true);
    return { stop: () => this.#socket.write(`${JSON.stringify({ operation: 'trace_stop' })}\n`), ended };
  }

  /** What comes after the answer goes to `take`: its first piece may come together with it. */
  async #askThenTake(operation: string, given: Readonly<Record<string, unknown>>, take: (line: Line) => void): Promise<void> {
    await new Promise((resolve, reject) => {
      this.ask(operation, given).then(resolve, reject);
      const answer = this.#take;
      this.#take = (line) => {
        this.#take = take;
        answer(line);
      };
    });
  }

  /** `ended` is called once: the domain is gone, or nothing more comes. */
  async viewConsole(domain: string, output: (bytes: Uint8Array) => void, ended: () => void): Promise<ConsoleStream> {
    const show = (line: Line): void => {
      if (line.output !== undefined) output(Buffer.from(line.output, 'base64'));
      if (line.end) this.close();
    };
    await this.#askThenTake('console', { domain }, show);
    this.#lost = ended;
    return {
      type: (bytes) => this.#socket.write(`${JSON.stringify({ input: Buffer.from(bytes).toString('base64') })}\n`),
      endInput: () => this.#socket.end(),
      leave: () => this.close(),
    };
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Whether somebody listens there. */
export async function isAnswered(path: string): Promise<boolean> {
  const socket = await reach(path);
  socket?.destroy();
  return socket !== undefined;
}

function reach(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(undefined));
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}
