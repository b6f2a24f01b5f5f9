/**
 * Guests on the real Xen under QEMU, by the tool `real-xen`, which REAL_XEN names, as in .ci/run.
 * All domUs share one boot of Xen; as dom0 each has one of its own.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type Outcome, runCommand } from './command.ts';

const REAL_XEN = process.env.REAL_XEN ?? '';
const HOME = process.env.REAL_XEN_HOME ?? join(homedir(), '.cache/real-xen');

/** Why nothing can be compared here, if so. */
export const realXenIsMissing: string | false = !existsSync(REAL_XEN)
  ? `needs the real Xen: set REAL_XEN to the tool real-xen${REAL_XEN === '' ? '' : `; there is no ${REAL_XEN}`}`
  : !existsSync(join(HOME, 'packages.txt'))
    ? `needs the real Xen: ${HOME} is empty; run ${REAL_XEN} setup`
    : false;

export interface RealGuest {
  /** As Xen knows it. */
  readonly name: string;
  readonly kernel: string;
  readonly cmdline?: string;
  /** Typed at its console once that shows `when`. */
  readonly typed?: { readonly keys: string; readonly when: string };
}

/** Trouble with the set-up; the guest is not to blame. */
const EXIT_SETUP = 3;

async function realXen(args: readonly string[]): Promise<Outcome> {
  const outcome = await runCommand(REAL_XEN, args);
  return outcome.status === EXIT_SETUP ? runCommand(REAL_XEN, args) : outcome;
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'real-xen-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The consoles of guests that run one after the other with `vcpus` vCPUs, by name. */
export function consolesOf(as: 'domU' | 'dom0', guests: readonly RealGuest[], vcpus = 1): Promise<Map<string, string>> {
  return inFolder(async (folder) => {
    const kernels = guests.map(({ kernel }) => kernel);
    const { stderr } = await realXen(['run', '--as', as, '--vcpus', `${vcpus}`, '--timeout', '60', '--out', folder, ...kernels]);
    return new Map(
      guests.map(({ name }) => {
        const path = join(folder, `${name}.txt`);
        return [name, existsSync(path) ? readFileSync(path, 'latin1') : stderr];
      }),
    );
  });
}

const MARK = '@@@@@ console of ';

/** The consoles of domUs that run at the same time. */
export function consolesOfDomUs(guests: readonly RealGuest[]): Promise<Map<string, string>> {
  return inFolder(async (folder) => {
    const files = new Set<string>();
    const creates = guests.map(({ name, kernel, cmdline = '' }) => {
      files.add(kernel);
      return `create ${name} ${basename(kernel)} '${cmdline}'`;
    });
    const types = guests.flatMap(({ name, typed }) => {
      if (typed === undefined) return [];
      const keys = join(folder, `${name}.keys`);
      files.add(keys);
      writeFileSync(keys, typed.keys, 'latin1');
      return [`type ${name} '${typed.when}'`];
    });
    const shows = guests.map(({ name }) => `show ${name}`);
    const script = join(folder, 'run.sh');
    writeFileSync(script, [FUNCTIONS, ...creates, ...types, 'await_end', ...shows, ''].join('\n'));
    const { stdout, stderr } = await realXen(['dom0-shell', '--memory', '2560', '--timeout', '240', script, ...files]);
    const consoles = new Map<string, string>();
    for (const section of stdout.split(`\n${MARK}`).slice(1)) {
      const end = section.indexOf('\n');
      consoles.set(section.slice(0, end), section.slice(end + 1));
    }
    for (const { name } of guests) if (!consoles.has(name)) consoles.set(name, `${stderr}\n${stdout}`);
    return consoles;
  });
}

/** For the busybox of dom0, where starting a program is slow. */
const FUNCTIONS = `
log() { echo /var/log/xen/console/guest-$1.log; }
create() {
    xl create /dev/null "name='$1'" "type='pv'" "kernel='/guest/$2'" "memory=128" "extra='$3'" > $1.out 2>&1 || cp $1.out $(log $1)
}
type() {
    until grep -q "$2" $(log $1) 2>/dev/null; do sleep 0.2; done
    cat $1.keys > "$(xenstore-read /local/domain/$(xl domid $1)/console/tty)"
}
await_end() {
    while [ $(xenstore-list /local/domain | wc -l) -gt 1 ]; do sleep 0.5; done
}
show() {
    printf '\\n${MARK}%s\\n' $1
    cat $(log $1)
}
`;
