/** Where control sockets are: one for each host, in a folder that only its user can enter. */
import { existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ToolstackError } from './toolstack_error.ts';

const ENDING = '.sock';
/** sockaddr_un has room for so many bytes and a NUL. */
const MAX_PATH_SIZE = 107;

export function socketFolder(): string {
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime && existsSync(runtime) ? join(runtime, 'beneath') : `/tmp/beneath-${process.getuid!()}`;
}

export function socketPath(name: string): string {
  const path = join(socketFolder(), `${name}${ENDING}`);
  if (Buffer.byteLength(path) > MAX_PATH_SIZE)
    throw new ToolstackError(`${path}: a socket's path has at most ${MAX_PATH_SIZE} bytes; give a shorter --name or XDG_RUNTIME_DIR`);
  return path;
}

/** Makes the folder if it is missing; refuses one that somebody else could look into. */
export function makeSocketFolder(): void {
  const folder = socketFolder();
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new ToolstackError(`${folder}: the folder of control sockets cannot be made: ${(error as Error).message}; set XDG_RUNTIME_DIR`);
  }
  const { uid, mode } = lstatSync(folder);
  const isPrivate = lstatSync(folder).isDirectory() && uid === process.getuid!() && (mode & 0o077) === 0;
  if (!isPrivate) throw new ToolstackError(`${folder}: it is no folder of yours alone; remove it, or make it so with chmod 700`);
}

/** The names of all sockets that there are, dead ones too. */
export function socketNames(): readonly string[] {
  try {
    return readdirSync(socketFolder())
      .filter((file) => file.endsWith(ENDING))
      .map((file) => file.slice(0, -ENDING.length))
      .sort();
  } catch {
    return [];
  }
}
