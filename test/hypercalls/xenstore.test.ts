import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { populateDomainTree } from '../../hypercalls/xenstore/domain_tree.ts';
import { XenStore } from '../../hypercalls/xenstore/store.ts';
import * as wire from '../../hypercalls/xenstore/wire.ts';
import { replay } from '../support/xenstore/replay.ts';
import { RingGuest } from '../support/xenstore/ring_guest.ts';
import { encodeMessage } from '../support/xenstore/session.ts';

const GOLDEN = 'test/golden/xenstore';

function storeWithDomain(id = 1, name = 'hello'): XenStore {
  const store = new XenStore();
  const rings = { store: { port: 1, mfn: 3 }, console: { port: 2, mfn: 4 } };
  populateDomainTree(
    store,
    { id, name },
    { memoryKib: 131072, vcpus: 2, kernel: '/guest/hello-pv64', cmdline: 'spin', startTime: 'TIME', ...rings },
  );
  return store;
}

const answer = (guest: RingGuest, type: number, body: string): string =>
  guest
    .ask(type, body)
    .map((message) => message.body)
    .join('|');

t.test('a guest hears what the C xenstored of Xen 4.17 said', (t) => {
  for (const file of readdirSync(GOLDEN)) {
    const session = readFileSync(`${GOLDEN}/${file}`, 'utf8');
    t.equal(replay(file.slice(0, -4), session), session, file);
  }
  t.end();
});

t.test('a path that is not one string is refused, where C xenstored dies', (t) => {
  const guest = new RingGuest(storeWithDomain(), 1);
  for (const type of [wire.XS_READ, wire.XS_DIRECTORY, wire.XS_GET_PERMS, wire.XS_MKDIR, wire.XS_RM]) {
    for (const body of ['', 'name', 'name\0more', 'name\0more\0'])
      t.equal(answer(guest, type, body), 'EINVAL\0', `${type} ${JSON.stringify(body)}`);
  }
  t.end();
});

t.test('the domain finds the tree that xl makes', (t) => {
  const store = storeWithDomain();
  const list = (path: string): string[] => [
    `${path} = "${store.read(path)}"   (${store.getPermissions(path)})`,
    ...store.directory(path)!.flatMap((name) => list(`${path}/${name}`)),
  ];
  const vm = store.read('/local/domain/1/vm')!;
  t.match(vm, /^\/vm\/[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  t.equal(storeWithDomain().read('/local/domain/1/vm'), vm, 'the same each time');
  t.not(storeWithDomain(2).read('/local/domain/2/vm'), vm);
  const lines = ['/local/domain/0/backend', '/local/domain/1', vm, '/libxl'].flatMap(list);
  const tree = lines.map((line) => line.replaceAll(vm.slice(4), 'UUID').replace(/(ring-ref = )"\d+"/, '$1"MFN"')).join('\n');
  t.equal(
    tree,
    readFileSync('test/golden/domain_tree.txt', 'utf8')
      .replace(/^#.*\n/gm, '')
      .trimEnd(),
  );
  t.end();
});

t.test('the host reads, writes and watches with the rights of domain 0', (t) => {
  const store = new XenStore();
  const heard: string[] = [];
  const stop = store.watch('/a', (path) => heard.push(path));
  store.write('/a/b/c', 'x');
  store.setPermissions('/a/b', ['n0', 'b3']);
  store.rm('/a/b');
  store.rm('/a/none');
  store.mkdir('/a/d');
  stop();
  store.write('/a/b', 'y');
  t.same(heard, ['/a', '/a/b/c', '/a/b', '/a/b', '/a/d']);
  t.equal(store.read('/a/b'), 'y');
  t.equal(store.read('/a/x'), undefined);
  t.same(store.directory('/a'), ['d', 'b']);
  t.throws(() => store.write('no/slash', ''), /bug:/);
  t.end();
});

t.test('a guest hears at once what the host writes, and of domains that come and go only with permission', (t) => {
  const store = storeWithDomain();
  const guest = new RingGuest(store, 1);
  guest.ask(wire.XS_WATCH, 'control/shutdown\0down\0');
  guest.ask(wire.XS_WATCH, '@introduceDomain\0new\0');
  const before = guest.notified;
  store.write('/local/domain/1/control/shutdown', 'poweroff');
  store.introduce(7);
  t.same(
    guest.receive().map((message) => message.body),
    ['control/shutdown\0down\0'],
  );
  t.ok(guest.notified > before);
  t.equal(answer(guest, wire.XS_READ, 'control/shutdown\0'), 'poweroff');
  t.end();
});

t.test('an event that nobody has read yet is not repeated', (t) => {
  const store = storeWithDomain();
  const guest = new RingGuest(store, 1);
  guest.ask(wire.XS_WATCH, `data\0${'t'.repeat(900)}\0`);
  for (let i = 0; i < 50; i++) store.write('/local/domain/1/data/x', String(i));
  t.equal(guest.receive().length, 3, 'one in the ring, one that is half in it, one that waits');
  t.end();
});

t.test('a guest that does not read its answers is not served further', (t) => {
  const guest = new RingGuest(storeWithDomain(), 1);
  const request = encodeMessage({ type: wire.XS_READ, requestId: 1, transactionId: 0, body: 'name\0' });
  for (let i = 0; i < 80; i++) {
    const produced = guest.peek(2052);
    if (produced + request.length - guest.peek(2048) > 1024) break;
    request.forEach((byte, j) => {
      guest.memory.bytes[(produced + j) % 1024] = byte;
    });
    guest.poke(2052, produced + request.length);
    guest.ring.onEvent();
  }
  t.equal(guest.peek(2060), 1024, 'its ring is full of answers');
  t.ok(guest.peek(2052) - guest.peek(2048) > 0, 'and requests lie unread');
  const answers = guest.receive();
  t.ok(answers.length > 60 && answers.every((message) => message.body === 'hello'), 'they are answered when it reads');
  t.end();
});

t.test('any bytes in the ring are survived, and cost at most the connection', (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ poke: fc.constantFrom(2048, 2052, 2056, 2060, 2064, 2068, 2072), value: fc.oneof(fc.nat(2100), fc.integer()) }),
          fc.record({ type: fc.nat(24), transactionId: fc.nat(3), body: fc.stringMatching(/^[-/@a-z0-9\0 nrwb~]{0,40}$/) }),
          fc.record({ bytes: fc.uint8Array({ maxLength: 60 }) }),
        ),
        { maxLength: 30 },
      ),
      (steps) => {
        const store = storeWithDomain();
        const guest = new RingGuest(store, 1);
        for (const step of steps) {
          if ('poke' in step) guest.poke(step.poke, step.value);
          else {
            const bytes = 'bytes' in step ? step.bytes : encodeMessage({ ...step, requestId: 1 });
            const produced = guest.peek(2052);
            bytes.forEach((byte, i) => {
              guest.memory.bytes[(produced + i) % 1024] = byte;
            });
            guest.poke(2052, produced + bytes.length);
          }
          guest.ring.onEvent();
        }
        return store.read('/local/domain/1/name') === 'hello' && store.read('/local/domain/0/backend/console/1/0/state') === '1';
      },
    ),
    { seed: 1, numRuns: 300 },
  );
  t.end();
});
