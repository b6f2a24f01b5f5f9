/** A saved domain goes on to the instruction: in another machine, on the other engine, and its guest cannot tell. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import t from 'tap';
import { hostFiles } from '../../emulator/cli/host_files.ts';
import type { EngineKind } from '../../emulator/cpu/index.ts';
import type { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { DataError, decode, encode } from '../../emulator/plain_data.ts';
import { runSlice } from '../../emulator/run.ts';
import { type SavedDomain, saveDomain } from '../../emulator/saved_domain.ts';
import { slotNames } from '../../emulator/slot.ts';
import { readDomainFile, readHostFile } from '../../emulator/toolstack/host_file.ts';
import { type Arguments, operations } from '../../emulator/toolstack/requests.ts';
import { writeSaveFile } from '../../emulator/toolstack/save_file.ts';
import type { SaveProgress } from '../../emulator/toolstack/saving.ts';
import { Toolstack } from '../../emulator/toolstack/toolstack.ts';
import { diskName } from '../../hypercalls/block/device_tree.ts';
import type { Disk } from '../../hypercalls/block/disk.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { Connection } from '../../hypercalls/xenstore/connection.ts';
import { XenStore } from '../../hypercalls/xenstore/store.ts';
import { MemoryDisk } from '../support/block_front.ts';
import { makeFatImage } from '../support/fat_image.ts';
import { GRUB, grubIsMissing, readable } from '../support/grub.ts';
import { guestKernel, guestVcpus } from '../support/guest_run.ts';
import { images } from '../support/small_images.ts';
import { quickOr } from '../support/thorough.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));

t.test('every slot says how it is kept', (t) => {
  const names = slotNames();
  t.notOk(names.includes(undefined), `${names.filter(Boolean).length} of ${names.length} do`);
  t.equal(new Set(names).size, names.length, 'under a name of its own');
  t.end();
});

/** One life of a domain in as many machines as it takes. */
class Life {
  console = '';
  readonly trace: string[] = [];
  machine: Machine;
  domain: Domain;
  readonly #vcpus: number;
  readonly #disks: readonly Disk[];

  constructor(image: Uint8Array, vcpus: number, disks: readonly Disk[] = []) {
    this.#vcpus = vcpus;
    this.#disks = disks;
    this.machine = this.#build('interpret');
    const spec = {
      name: 'guest',
      isInitial: false,
      memorySize: 24 * MIB,
      vcpus,
      disks: disks.map((disk, i) => ({ name: diskName(i), path: 'a.img', disk })),
    };
    this.domain = this.machine.createPvDomain(image, spec) as Domain;
  }

  #build(engine: EngineKind): Machine {
    return new Machine({
      memorySize: 32 * MIB,
      engine,
      topology: { sockets: 1, coresPerSocket: this.#vcpus },
      output: (_domain, bytes) => {
        this.console += Buffer.from(bytes).toString('latin1');
      },
      // Going on begins with waiting for a core, be it for no time: that is when the runstate began.
      traceHypercall: (line) => this.trace.push(line.replace(/state_entry_time=\d+/, '')),
    });
  }

  get isOver(): boolean {
    return this.domain.shutdownReason !== undefined;
  }

  run(instructions: number): void {
    const { cpu } = this.machine;
    const end = cpu.instructionCount + instructions;
    while (!this.isOver && cpu.instructionCount < end) {
      if (runSlice(this.machine, end - cpu.instructionCount).kind !== 'running') return;
    }
  }

  /** Goes on in a new machine, on the other engine. */
  move(saved: SavedDomain): void {
    this.machine = this.#build(this.machine.cpu.engine === 'interpret' ? 'translate' : 'interpret');
    this.domain = this.machine.restoreDomain(saved, { disks: this.#disks }) as Domain;
  }
}

// biome-ignore format: a guest a line
const moves: readonly (readonly [guest: string, instructions: number, what: string])[] = [
  ['clock',      60_000, 'one whose timers drive it'],
  ['hypercalls', 60_000, 'one that makes hypercalls'],
  ['pagetables', 60_000, 'one that changes its page tables'],
  ['grants',     60_000, 'one that grants and maps'],
  ['smp',       200_000, 'one of several vCPUs'],
];

t.test('a domain that was moved does what it would have done', (t) => {
  let seed = 20_26;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fff_ffff;
    return seed % below;
  };
  for (const [guest, instructions, what] of moves) {
    const stayed = new Life(readFileSync(guestKernel(guest)), guestVcpus(guest));
    stayed.run(100_000_000);
    const moved = new Life(readFileSync(guestKernel(guest)), guestVcpus(guest));
    const at: number[] = [];
    for (let i = 0; i < quickOr(2, 3); i++) {
      const step = 1 + random(instructions);
      moved.run(step);
      if (moved.isOver) break;
      at.push(step);
      const saved = encode(saveDomain(moved.machine, moved.domain));
      t.ok(Buffer.from(saved).equals(encode(saveDomain(moved.machine, moved.domain))), `${guest}: saved again it is the same`);
      moved.move(decode(saved) as SavedDomain);
      t.equal(checkInvariants(moved.machine.memory), undefined, `${guest}: no frame is lost or counted twice`);
      moved.machine.unpause(moved.domain);
    }
    moved.run(100_000_000);
    t.equal(moved.console, stayed.console, `${what} prints the same, moved after ${at.join(', ')} instructions`);
    t.ok(moved.trace.join('\n') === stayed.trace.join('\n'), `${what} makes the same hypercalls`);
    t.equal(moved.domain.shutdownReason, stayed.domain.shutdownReason);
    t.equal(checkGrants(moved.machine), undefined);
  }
  t.end();
});

t.test('a disk goes along', { skip: grubIsMissing }, (t) => {
  const story = 'a line of the story\n'.repeat(1000);
  const life = new Life(readFileSync(GRUB), 1, [new MemoryDisk(makeFatImage([{ name: 'STORY   TXT', contents: story }]))]);
  life.machine.consoles.get(1)!.input(Buffer.from('cat (hd0,msdos1)/story.txt\n'));
  const isRead = (): boolean => life.console.includes('the story') && readable(life.console.slice(-100)).endsWith('grub> ');
  let moves = 0;
  for (let i = 0; i < 400 && !isRead(); i++) {
    life.run(500_000);
    if (moves === 5 || !life.console.includes('a line of the story')) continue;
    life.move(decode(encode(saveDomain(life.machine, life.domain))) as SavedDomain);
    t.equal(checkInvariants(life.machine.memory) ?? checkGrants(life.machine), undefined);
    life.machine.unpause(life.domain);
    moves++;
  }
  const saved = saveDomain(life.machine, life.domain);
  const other = new Machine({ memorySize: 32 * MIB, output: () => {} });
  t.match(other.restoreDomain(saved, { disks: [new MemoryDisk(8)] }), /^its disk xvda had \d+ sectors, and a\.img has not$/);
  t.equal(moves, 5);
  // GRUB shows its progress in the middle of a line.
  const shown = readable(life.console).replaceAll(/ +\[ .*?\]/g, '');
  t.equal(shown.split('a line of the story\n').length, 1001, 'all of the file is read');
  t.end();
});

t.test('what a guest has begun with xenstore goes on', (t) => {
  const begin = (): [XenStore, Connection] => {
    const store = new XenStore();
    store.introduce(1);
    store.write('/local/domain/1', '');
    store.setPermissions('/local/domain/1', ['n1']);
    return [store, new Connection(store, 1, () => {})];
  };
  for (const isDisturbed of [false, true]) {
    const [store, connection] = begin();
    store.write('/local/domain/1/a', '1');
    connection.watch({ path: '/local/domain/1/a', token: 't', hiddenSize: 0 });
    const id = connection.startTransaction();
    const transaction = connection.transactions.get(id)!;
    const node = transaction.get('/local/domain/1/a');
    if (typeof node === 'string') throw new Error(node);
    transaction.put('/local/domain/1/a', { ...node, value: Uint8Array.of(0x32) });
    if (isDisturbed) store.write('/local/domain/1/a', '3');
    const [other, there] = begin();
    other.loadTree(decode(encode(store.saveTree('/local/domain/1'))) as ReturnType<XenStore['saveTree']>);
    there.load(decode(encode(connection.save())) as ReturnType<Connection['save']>);
    t.equal(there.watches.length, 1);
    t.equal(there.transactions.get(id)!.commit(), isDisturbed ? 'EAGAIN' : undefined);
    t.equal(other.read('/local/domain/1/a'), isDisturbed ? '3' : '2', 'its own change counts, unless somebody else was faster');
  }
  t.end();
});

class TestHost {
  readonly toolstack: Toolstack;
  readonly told: SaveProgress[] = [];

  constructor(memory = '32M') {
    const read = (path: string, what: string): Uint8Array => images[path] ?? hostFiles.read(path, what);
    this.toolstack = new Toolstack(readHostFile('h.toml', `[host]\nmemory = "${memory}"\ncores = 2\nengine = "interpret"\n`), {
      files: { ...hostFiles, read },
    });
  }

  create(name: string, ...settings: string[]): Domain {
    return this.toolstack.create(readDomainFile('d.cfg', `name = "${name}"\nkernel = "spin"\nmemory = 4\n`, settings));
  }

  ask(operation: string, given: Arguments): unknown {
    const systemName = { host: 'h', release: 'r', version: 'v', machine: 'm' };
    return operations[operation]!({ toolstack: this.toolstack, systemName, resolvePath: (_folder, path) => path }, given, (progress) =>
      this.told.push(progress),
    );
  }

  run(): void {
    for (let i = 0; i < 5; i++) runSlice(this.toolstack.machine, 20_000);
  }
}

t.test('what the toolstack keeps of it goes along', async (t) => {
  const host = new TestHost();
  const file = join(folder, 'kept');
  host.create('a', 'vcpus=2', 'weight=512', 'cap=50', 'cpus=["0","0-1"]', 'on_crash="preserve"');
  host.run();
  await host.ask('save', { domain: 'a', file, afterwards: 'run' });
  t.match(host.ask('list', { domain: 'a' }), [{ paused: false }], '-c: it runs on');
  await host.ask('save', { domain: 'a', file, afterwards: 'pause' });
  t.match(host.ask('list', { domain: 'a' }), [{ paused: true }], '-p: it is paused');
  const kept = readFileSync(file);
  await host.ask('save', { domain: 'a', file });
  t.ok(readFileSync(file).equals(kept), 'twice in the same state gives the same bytes');
  t.match(host.told, new Array(3).fill({ done: 1026, total: 1026 }), 'and how far it is was told');
  t.same(host.ask('list', {}), [], 'without either it ends');
  const free = host.toolstack.machine.memory.freeCount;
  const other = new TestHost();
  for (const one of [host, other]) {
    t.match(one.ask('restore', { file, paused: true }), { domid: 1, name: 'a', store: { port: 1 }, console: { port: 2 } });
    t.match(one.ask('list', { domain: 'a' }), [{ paused: true, memory_kib: 4096 }]);
    t.match(one.ask('schedule', {}), { domains: [{ name: 'a', weight: 512, cap: 50 }] });
    t.match(one.ask('vcpus', {}), [{ hard_affinity: '0' }, { hard_affinity: 'all' }]);
    t.equal(one.toolstack.record(1).description.on_crash, 'preserve');
    one.ask('unpause', { domain: 'a' });
    one.run();
    t.throws(() => one.ask('restore', { file }), { message: 'Domain with name "a" already exists.' });
    one.ask('rename', { domain: 'a', to: 'b' });
    t.throws(() => one.ask('restore', { file }), {
      message: /^a cannot go on here: its guest knows itself as domain 1, and here that is b; restore it before others are made, /,
    });
    one.toolstack.destroy(1);
    t.equal(checkInvariants(one.toolstack.machine.memory), undefined);
  }
  t.equal(host.toolstack.machine.memory.freeCount, free, 'no frame is lost');
});

t.test('while one is saved the others run', async (t) => {
  const host = new TestHost();
  const file = join(folder, 'meanwhile');
  for (const name of ['a', 'b', 'c']) host.create(name);
  const timeOf = (domain: string): number => (host.ask('list', { domain }) as { cpu_time: number }[])[0]!.cpu_time;
  host.run();
  const [a, b] = [timeOf('a'), timeOf('b')];
  const savings = ['a', 'c'].map((domain) => host.ask('save', { domain, file: `${file}-${domain}` }));
  host.run();
  t.match(host.ask('list', { domain: 'a' }), [{ paused: true }]);
  t.equal(timeOf('a'), a, 'it stands still');
  t.ok(timeOf('b') > b);
  host.toolstack.destroy(3);
  await Promise.all(savings);
  t.match(host.ask('list', {}), [{ name: 'b' }], 'also one that was destroyed meanwhile is kept');
  for (const domain of ['a', 'c']) t.match(host.ask('restore', { file: `${file}-${domain}` }), { name: domain });
});

/** A file whose only part is `packed`. */
async function fileOf(packed: Uint8Array): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of writeSaveFile(undefined, { ...hostFiles, pack: async () => packed })) pieces.push(piece);
  return Buffer.concat(pieces);
}

t.test('frames that are free again are the last to be given away', async (t) => {
  const host = new TestHost();
  const file = join(folder, 'beside');
  host.create('a');
  host.run();
  for (const other of ['b', 'c']) {
    await host.ask('save', { domain: 'a', file });
    host.create(other);
    host.run();
    t.match(host.ask('restore', { file }), { domid: 1 }, `a goes on beside ${other}`);
    host.run();
  }
  t.equal(checkInvariants(host.toolstack.machine.memory), undefined);
});

t.test('what cannot be is refused', async (t) => {
  const host = new TestHost();
  const file = join(folder, 'whole');
  host.create('a');
  host.run();
  await host.ask('save', { domain: 'a', file });
  host.create('gone', 'memory=24');
  host.ask('destroy', { domain: 'gone' });
  host.create('b', 'memory=16');
  const refusal = /^a cannot go on here: its guest knows machine frame 0x[0-9a-f]+ as its own, and here b has it; restore it before /;
  t.throws(() => host.ask('restore', { file }), { message: refusal });
  const large = new TestHost();
  large.create('large', 'memory=24');
  await large.ask('save', { domain: 'large', file: join(folder, 'large') });
  t.throws(() => new TestHost('4M').ask('restore', { file: join(folder, 'large') }), {
    message:
      /^large cannot go on here: its guest knows machine frame 0x[0-9a-f]+ as its own, and this host has no memory there; give it more$/,
  });
  host.create('end', 'kernel=poweroff');
  host.run();
  await t.rejects(host.ask('save', { domain: 'end', file }) as Promise<unknown>, { message: 'end cannot be saved: it has shut down' });
  await t.rejects(host.ask('save', { domain: 'b', file, afterwards: 'fly' }) as Promise<unknown>, {
    message: 'afterwards is no word of destroy, run and pause',
  });
  await t.rejects(host.ask('save', { domain: 'b', file: join(folder, 'no', 'where') }) as Promise<unknown>, {
    message: /cannot be written: there is no such file$/,
  });
  t.match(host.ask('list', { domain: 'b' }), [{ name: 'b', paused: false }], 'and lives on');

  const whole = readFileSync(file);
  let empty = new TestHost();
  const bad = (change: (bytes: Buffer) => Buffer): string => {
    const path = join(folder, 'bad');
    writeFileSync(path, change(Buffer.from(whole)));
    try {
      empty.ask('restore', { file: path });
    } catch (error) {
      return (error as Error).message.replace(path, 'FILE');
    }
    empty = new TestHost();
    return 'restored';
  };
  const withU32 = (at: number, value: number) => (bytes: Buffer) => {
    bytes.writeUInt32LE(value, at);
    return bytes;
  };
  t.equal(
    bad((bytes) => bytes),
    'restored',
  );
  t.equal(
    bad(() => Buffer.alloc(0)),
    'FILE holds no saved domain',
  );
  t.equal(bad(withU32(8, 7)), 'FILE has version 7 of the format, and this beneath reads version 3');
  t.match(bad(withU32(12, 0xf000_0000)), /^FILE holds 3840 MiB, more than this host has memory$/);
  const bombFile = await fileOf(deflateSync(Buffer.alloc(200 * MIB)));
  t.match(
    bad((bytes) => Buffer.concat([bytes.subarray(0, 16), bombFile.subarray(16)])),
    /is broken/,
    'what unpacks to more than it says',
  );
  for (let at = 0; at < whole.length; at += 1 + Math.floor(whole.length / 40)) {
    const flipped = bad((bytes) => {
      bytes[at]! ^= 0x10;
      return bytes;
    });
    t.match(flipped, /^FILE (is broken|holds|has version)/, `a bit flipped at ${at}`);
    t.match(
      bad((bytes) => bytes.subarray(0, at)),
      /^FILE (is broken|holds)/,
      `cut off at ${at}`,
    );
  }
  t.notOk(existsSync(`${file}.part`));
});

t.test('plain data', (t) => {
  const data = {
    list: [undefined, null, true, false, -0.5, Number.POSITIVE_INFINITY, -(2n ** 70n), 0n, 'text \u00ff\u{1f600}'],
    map: new Map<unknown, unknown>([[1, new Set(['a'])]]),
    arrays: [Uint8Array.of(1), Uint32Array.of(2), Int32Array.of(-3), Int16Array.of(-4), BigUint64Array.of(2n ** 63n)],
  };
  const bytes = encode(data);
  t.same(decode(bytes), data);
  t.throws(() => encode({ act: () => 1 }), /is no plain data/);
  t.throws(() => encode(new Date(0)), /Date is no plain data/);
  for (let at = 0; at < bytes.length; at++) {
    t.throws(() => decode(bytes.subarray(0, at)));
    const changed = bytes.slice();
    changed[at]! ^= 0xff;
    try {
      decode(changed);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
    }
  }
  t.end();
});
