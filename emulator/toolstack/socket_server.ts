/**
 * A host's end of its control socket. Whatever comes over it (garbage, halves, too much, a hundred at once, a sudden end) is
 * at worst the end of one connection.
 */
import { chmodSync, statSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { MAX_LINE_SIZE, type Reply } from './protocol.ts';
import { type Arguments, type Host, operations } from './requests.ts';
import { isAnswered } from './socket_client.ts';
import { makeSocketFolder, socketPath } from './socket_path.ts';
import { sendTrace, type TraceMessage } from './socket_trace.ts';
import { ERROR_INVAL, ToolstackError } from './toolstack_error.ts';

/** Who leaves so much unread gets no more answers until it is read; what a console prints meanwhile is lost for a viewer. */
const MAX_UNREAD = 4 * 1024 * 1024;

export interface ControlSocket {
  readonly path: string;
  close(): void;
}

/** What a host does about its requests. */
export interface SocketEvents {
  /** A request came. */
  asked(): void;
  /** It was acted on: the machine may have something to do. */
  acted(): void;
  /** A bug of ours came up in one. */
  failed(error: unknown): void;
}

/** Refuses a name under which another host answers. */
export async function serve(name: string, host: Host, events: SocketEvents): Promise<ControlSocket> {
  const path = socketPath(name);
  makeSocketFolder();
  const sessions = new Set<Session>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const session = new Session(socket, host, events);
    sessions.add(session);
    socket.on('close', () => sessions.delete(session));
  });
  if (!(await listen(server, path))) {
    const found = identityOf(path);
    if (await isAnswered(path)) throw new ToolstackError(`a host '${name}' runs already; give this one another --name`);
    // Nobody's, unless another host has put its own there meanwhile.
    if (found !== undefined && identityOf(path) === found) unlinkSync(path);
    if (!(await listen(server, path)))
      throw new ToolstackError(`a host '${name}' was started at the same moment; give this one another --name`);
  }
  chmodSync(path, 0o600);
  return {
    path,
    close() {
      server.close();
      for (const session of sessions) session.cut();
    },
  };
}

/** undefined: there is nothing. */
function identityOf(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${found.ino} ${found.birthtimeNs} ${found.ctimeNs}`;
}

/** False: the path is taken. */
function listen(server: Server, path: string): Promise<boolean> {
  const umask = process.umask(0o177);
  return new Promise<boolean>((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(new ToolstackError(`${path}: the control socket cannot be made: ${error.message}`));
    };
    server.once('error', onError);
    server.listen(path, () => {
      server.off('error', onError);
      resolve(true);
    });
  }).finally(() => process.umask(umask));
}

class Session {
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #events: SocketEvents;
  readonly #lines: string[] = [];
  #pending: Buffer[] = [];
  #pendingSize = 0;
  #isBusy = false;
  /** Of a console that is viewed. */
  #type: ((bytes: Uint8Array) => void) | undefined;
  /** Of a timeline that is recorded. */
  #stopTrace: (() => void) | undefined;

  constructor(socket: Socket, host: Host, events: SocketEvents) {
    this.#socket = socket;
    this.#host = host;
    this.#events = events;
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('end', () => this.#finish());
    socket.on('error', () => socket.destroy());
  }

  cut(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
      this.#pending.push(bytes.subarray(start, end));
      this.#lines.push(Buffer.concat(this.#pending).toString());
      this.#pending = [];
      this.#pendingSize = 0;
      start = end + 1;
    }
    const rest = bytes.subarray(start);
    this.#pendingSize += rest.length;
    if (this.#pendingSize > MAX_LINE_SIZE) {
      this.#send({ error: `a request has at most ${MAX_LINE_SIZE} bytes`, code: ERROR_INVAL });
      this.#socket.destroySoon();
      return;
    }
    if (rest.length > 0) this.#pending.push(rest);
    void this.#work();
  }

  /** One request after the other; nothing more is read while one is worked on. */
  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#socket.pause();
    for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
      if (line.trim() !== '') await this.#answer(line);
      if (this.#socket.writableLength > MAX_UNREAD) await this.#drained();
    }
    this.#isBusy = false;
    this.#socket.resume();
  }

  /** Also when nobody will read any more. */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#socket.off('drain', done).off('close', done);
        resolve();
      };
      this.#socket.on('drain', done).on('close', done);
    });
  }

  async #answer(line: string): Promise<void> {
    this.#events.asked();
    let request: unknown;
    try {
      request = JSON.parse(line);
    } catch {
      this.#send({ error: 'this is no JSON', code: ERROR_INVAL });
      return;
    }
    if (typeof request !== 'object' || request === null || Array.isArray(request)) {
      this.#send({ error: 'a request is an object with an operation', code: ERROR_INVAL });
      return;
    }
    const { operation, input } = request as Arguments;
    if (this.#type !== undefined && typeof input === 'string') {
      this.#type(Buffer.from(input, 'base64'));
      this.#events.acted();
      return;
    }
    if (this.#stopTrace !== undefined && operation === 'trace_stop') {
      this.#stopTrace();
      return;
    }
    try {
      const result = await this.#perform(String(operation), request as Arguments);
      this.#send({ result: result ?? null });
      if (operation === 'console') this.#view(result as { domid: number });
      if (operation === 'trace') this.#record(result as { seconds: number | null });
    } catch (error) {
      if (error instanceof ToolstackError) this.#send({ error: error.message, code: error.code });
      else this.#events.failed(error);
    }
    this.#events.acted();
  }

  async #perform(name: string, given: Arguments): Promise<unknown> {
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    if (operation === undefined) throw new ToolstackError(`there is no operation '${name}'`, ERROR_INVAL);
    const result = operation(this.#host, given, (progress) => this.#send({ progress }));
    // What takes time ends only when the domains go on meanwhile.
    if (result instanceof Promise) this.#events.acted();
    return result;
  }

  #view({ domid }: { readonly domid: number }): void {
    const { toolstack } = this.#host;
    const record = toolstack.find(String(domid));
    if (record === undefined) return;
    const leave = record.console.view({
      output: (bytes) => {
        if (this.#socket.writableLength < MAX_UNREAD) this.#send({ output: Buffer.from(bytes).toString('base64') });
      },
      end: () => {
        this.#type = undefined;
        this.#send({ end: true });
      },
    });
    this.#type = (bytes) => {
      if (toolstack.find(String(domid)) === record) toolstack.type(domid, bytes);
    };
    this.#socket.on('close', leave);
  }

  #record({ seconds }: { readonly seconds: number | null }): void {
    const socket = this.#socket;
    const { stop } = sendTrace(this.#host.toolstack.machine, seconds, {
      send: (message) => this.#send(message),
      get unread() {
        return socket.writableLength;
      },
    });
    this.#stopTrace = stop;
    socket.on('close', stop);
  }

  #send(message: Reply | { readonly progress: unknown } | { readonly output: string } | { readonly end: true } | TraceMessage): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /** The other end says no more: it gets what it has asked for. */
  async #finish(): Promise<void> {
    await this.#work();
    this.#socket.end();
  }
}
